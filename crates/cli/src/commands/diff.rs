//! `lfsfs diff`: what changed between two versions, or in a mount.

mod found;
mod patch;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Args;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::locate;
use crate::named::{self, Named};
use crate::output::Output;

pub(crate) use found::Found;
pub(crate) use patch::Patch;

#[derive(Debug, Args)]
#[command(
    override_usage = "lfsfs diff [OPTIONS] <SOURCE> <SOURCE>\n       lfsfs diff [OPTIONS] [PATH]",
    after_help = "Lines: A added, D removed, M modified (content, kind, mode, owner, xattr), \
    T times alone, R a directory that moved: old path, tab, new path. A mount as one of two \
    SOURCEs is the version that it shows, without its changes. With --patch, files and symbolic \
    links are written as git writes them, and all else as these lines. Two versions compared with \
    --no-renames give a patch that git apply and patch -p1 take.\n\n\
    Examples:\n  \
    lfsfs diff app@v1 v2                  two versions of one project\n  \
    lfsfs diff /mnt/app                   what is not committed yet in a mount\n  \
    lfsfs diff --patch /mnt/app/src       line by line, below one directory\n  \
    lfsfs diff /mnt/app latest            what others published since the version of a mount\n  \
    lfsfs diff --stat                     the changes of the mount of this directory, counted"
)]
pub(crate) struct DiffArgs {
    /// Two versions, or a path in a mount [default: the mount of this directory]
    #[arg(value_name = "SOURCE", num_args = 0..=2)]
    what: Vec<OsString>,
    #[command(flatten)]
    form: DiffForm,
    /// Show a moved directory as removals and additions
    #[arg(long)]
    no_renames: bool,
}

/// How differences are written.
#[derive(Debug, Default, Args)]
pub(crate) struct DiffForm {
    /// Only count
    #[arg(long)]
    pub(crate) stat: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    pub(crate) nul: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what changed in files, as git does
    #[arg(short, long, conflicts_with_all = ["stat", "nul", "json"])]
    pub(crate) patch: bool,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
enum Sides<'a> {
    /// Two versions, as typed.
    Versions(&'a OsStr, &'a OsStr),
    /// A mount and the version below its changes. Without a path: the mount of this directory.
    Mount(Option<&'a Path>),
}

impl DiffArgs {
    /// Returns true if the changes of a mount are wanted.
    pub(crate) fn is_of_mount(&self) -> bool {
        matches!(self.sides(), Ok(Sides::Mount(_)))
    }

    fn sides(&self) -> Result<Sides<'_>, CommandError> {
        match &self.what[..] {
            [] => Ok(Sides::Mount(None)),
            [path] if names_a_path(path) => Ok(Sides::Mount(Some(Path::new(path)))),
            [version] => {
                let version = version.to_string_lossy();
                Err(
                    CommandError::usage(format!("{version} is not a path in a mount")).hint(
                        format!(
                            "two versions are compared with: lfsfs diff app@v1 v2; what one version \
                             changed is shown with: lfsfs show {version}"
                        ),
                    ),
                )
            }
            [from, to] => Ok(Sides::Versions(from, to)),
            more => {
                let count = more.len();
                Err(CommandError::usage(format!("{count} things to compare")))
            }
        }
    }
}

/// A word alone can only be a path, so one that is there needs no slash.
fn names_a_path(word: &OsStr) -> bool {
    named::is_path(word) || Path::new(word).symlink_metadata().is_ok()
}

pub(crate) async fn run(server: ServerArgs, args: DiffArgs) -> Result<(), CommandError> {
    let compared = match args.sides()? {
        Sides::Versions(from, to) => Compared::versions(&server, &args, from, to).await?,
        Sides::Mount(_) if args.no_renames => {
            return Err(CommandError::usage("--no-renames is for two versions")
                .hint("commit first, and compare the two versions"));
        }
        Sides::Mount(path) => Compared::mount(&server, &args, path).await?,
    };
    let mut out = Output::new();
    match compared.patch {
        Some(patch) => patch.write(compared.found, &mut out).await?,
        None => compared.found.write(&args.form, &mut out)?,
    }
    out.finish()
}

/// The differences, and the two sides of their contents where those are wanted.
struct Compared {
    found: Found,
    patch: Option<Patch>,
}

impl Compared {
    async fn versions(
        server: &ServerArgs,
        args: &DiffArgs,
        from: &OsStr,
        to: &OsStr,
    ) -> Result<Self, CommandError> {
        let from = Named::find(server, Some(from))?;
        let to = from.find_beside(server, to)?;
        let mut found = Found::new(&args.form);
        found.below(match (from.path.is_root(), to.path.is_root()) {
            (true, _) => &to.path,
            (false, true) => &from.path,
            (false, false) if from.path == to.path => &to.path,
            (false, false) => {
                return Err(CommandError::usage("the two paths are not the same")
                    .hint("compare one path in two versions: lfsfs diff /mnt/app/src v2"));
            }
        });
        let (a, b) = (from.snapshot().await?, to.snapshot().await?);
        found
            .versions(&from.client, &a, &b, args.no_renames)
            .await?;
        let patch = if args.form.patch {
            Some(Patch::between(from.client.remote, a, b)?)
        } else {
            None
        };
        Ok(Self { found, patch })
    }

    async fn mount(
        server: &ServerArgs,
        args: &DiffArgs,
        path: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let here = path.unwrap_or(Path::new("."));
        let located = locate(here)
            .map_err(|error| error.hint("two versions are compared with: lfsfs diff app@v1 v2"))?;
        let mut found = Found::new(&args.form);
        // Without a path all changes are meant, wherever in the mount the command is typed.
        if path.is_some() {
            found.below(&located.path);
        }
        found.changes(&located.mount)?;
        let patch = if args.form.patch {
            let base = Named::find(server, Some(located.mount.entry.dir.as_os_str()))?;
            let snapshot = base.snapshot().await?;
            Some(Patch::of_mount(
                base.client.remote,
                snapshot,
                located.mount.entry,
            )?)
        } else {
            None
        };
        Ok(Self { found, patch })
    }
}

/// Writes the uncommitted changes of the mount that a path lies in, a line each.
pub(crate) fn write_changes(path: &Path) -> Result<(), CommandError> {
    let form = DiffForm::default();
    let mut found = Found::new(&form);
    found.changes(&locate(path)?.mount)?;
    let mut out = Output::new();
    found.write(&form, &mut out)?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(what: &[&str]) -> DiffArgs {
        DiffArgs {
            what: what.iter().map(OsString::from).collect(),
            form: DiffForm::default(),
            no_renames: false,
        }
    }

    #[test]
    fn two_words_are_versions_and_one_is_a_path() {
        assert_eq!(args(&[]).sides().expect("sides"), Sides::Mount(None));
        for path in ["/mnt", "./gone", "src"] {
            // `src` is there: tests run in the directory of the crate.
            let args = args(&[path]);
            let sides = args.sides().expect("sides");
            assert_eq!(sides, Sides::Mount(Some(Path::new(path))));
        }
        let two = args(&["app@v1", "v2"]);
        let versions = Sides::Versions(OsStr::new("app@v1"), OsStr::new("v2"));
        assert_eq!(two.sides().expect("sides"), versions);
        let one = args(&["app@v1"]);
        let error = one.sides().expect_err("one version");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("lfsfs show app@v1"), "{error}");
    }
}
