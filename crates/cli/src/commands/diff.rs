//! `lfsfs diff`: what changed between two versions, or in a mount.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use clap::Args;
use lfsfs_client::{DiffEntry, GrpcRemote, Snapshot};
use lfsfs_mount::{
    AnswerSink, ChangeItem, ChangeKind, ControlProgress, ControlRequest, Counted, Mount, call_with,
};
use lfsfs_types::{ObjectPath, PathError};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::{locate, served};
use crate::named::{self, Named};
use crate::output::{JsonPath, Line, Output, Style, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    override_usage = "lfsfs diff [OPTIONS] <SOURCE> <SOURCE>\n       lfsfs diff [OPTIONS] [PATH]",
    after_help = "Lines: A added, D removed, M modified (content, kind, mode, owner, xattr), \
    T times alone, R a directory that moved: old path, tab, new path. A mount as one of two \
    SOURCEs is the version that it shows, without its changes.\n\n\
    Examples:\n  \
    lfsfs diff app@v1 v2                  two versions of one project\n  \
    lfsfs diff /mnt/app                   what is not committed yet in a mount\n  \
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
    stat: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
enum Sides<'a> {
    /// Two versions, as typed.
    Versions(&'a OsStr, &'a OsStr),
    /// A mount and the version below its changes. Without a path: the mount of this directory.
    Mount(Option<&'a Path>),
}

/// One difference in JSON.
#[derive(Debug, Serialize)]
struct JsonDiff {
    change: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<JsonPath>,
}

/// How many lines of each kind there are.
#[derive(Debug, Default, Serialize)]
struct Stat {
    added: u64,
    removed: u64,
    modified: u64,
    touched: u64,
    renamed: u64,
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
    let mut found = Found::new(&args.form);
    match args.sides()? {
        Sides::Versions(from, to) => {
            let from = Named::find(&server, Some(from))?;
            let to = from.find_beside(&server, to)?;
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
                .versions(&from.remote, &a, &b, args.no_renames)
                .await?;
        }
        Sides::Mount(_) if args.no_renames => {
            return Err(CommandError::usage("--no-renames is for two versions")
                .hint("commit first, and compare the two versions"));
        }
        Sides::Mount(path) => {
            let located = locate(path.unwrap_or(Path::new("."))).map_err(|error| {
                error.hint("two versions are compared with: lfsfs diff app@v1 v2")
            })?;
            // Without a path all changes are meant, wherever in the mount the command is typed.
            if path.is_some() {
                found.below(&located.path);
            }
            found.changes(&located.mount)?;
        }
    }
    let mut out = Output::new();
    found.write(&args.form, &mut out)?;
    out.finish()
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

/// The differences found so far.
#[derive(Debug)]
pub(crate) struct Found {
    stat: Stat,
    entries: Vec<DiffEntry>,
    counts_only: bool,
    below: ObjectPath,
}

impl Found {
    pub(crate) fn new(form: &DiffForm) -> Self {
        Self {
            stat: Stat::default(),
            entries: Vec::new(),
            counts_only: form.stat,
            below: ObjectPath::ROOT,
        }
    }

    /// Takes only what is at a path or below it from now on.
    fn below(&mut self, path: &ObjectPath) {
        self.below = path.clone();
    }

    /// Finds the differences between two versions of one project.
    pub(crate) async fn versions(
        &mut self,
        remote: &GrpcRemote,
        from: &Snapshot,
        to: &Snapshot,
        no_renames: bool,
    ) -> Result<(), CommandError> {
        if from.project.id != to.project.id {
            let (a, b) = (&from.project.name, &to.project.name);
            return Err(CommandError::usage(format!("{a} and {b} are two projects"))
                .hint("compare versions of one project; mount both to compare projects"));
        }
        let range = (from.version.number, to.version.number);
        let sink = |entry: DiffEntry| {
            self.add(entry);
            true
        };
        Ok(remote
            .diff(from.project.id, range, no_renames, sink)
            .await?)
    }

    /// Finds the uncommitted changes of a mount.
    fn changes(&mut self, mount: &Mount) -> Result<(), CommandError> {
        served(mount)?;
        let _: Counted = call_with(mount, &ControlRequest::Changes, self)?;
        Ok(())
    }

    fn add(&mut self, entry: DiffEntry) {
        if !self.is_wanted(&entry) {
            return;
        }
        self.stat.count(&entry);
        if !self.counts_only {
            self.entries.push(entry);
        }
    }

    fn is_wanted(&self, entry: &DiffEntry) -> bool {
        let is_below = |path: &ObjectPath| {
            let rest = path.as_bytes().strip_prefix(self.below.as_bytes());
            self.below.is_root() || rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        let old = match entry {
            DiffEntry::Renamed { old, .. } => Some(old),
            _ => None,
        };
        is_below(path_of(entry)) || old.is_some_and(is_below)
    }

    pub(crate) fn write(mut self, form: &DiffForm, out: &mut Output) -> Result<(), CommandError> {
        // They come in the order of directory ids, which means nothing to a reader.
        self.entries.sort_by(|a, b| path_of(a).cmp(path_of(b)));
        self.entries
            .iter()
            .try_for_each(|entry| write(out, form, entry))?;
        if form.stat {
            write_stat(out, &self.stat, form.json)?;
        }
        Ok(())
    }
}

impl AnswerSink for Found {
    type Item = ChangeItem;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn warn(&mut self, text: &str) {
        user::warn(&format!("{text}; that is not in the list"));
    }

    fn item(&mut self, item: ChangeItem) -> io::Result<()> {
        self.add(entry(&item).map_err(io::Error::other)?);
        Ok(())
    }
}

fn entry(item: &ChangeItem) -> Result<DiffEntry, PathError> {
    let path = ObjectPath::new(&item.path)?;
    Ok(match (item.kind, &item.old) {
        (ChangeKind::Renamed, Some(old)) => DiffEntry::Renamed {
            old: ObjectPath::new(old)?,
            new: path,
        },
        (ChangeKind::Added, _) => DiffEntry::Added(path),
        (ChangeKind::Removed, _) => DiffEntry::Removed(path),
        (ChangeKind::Times, _) => DiffEntry::Touched(path),
        // A directory that moved from nowhere is still one that differs.
        (ChangeKind::Modified | ChangeKind::Renamed, _) => DiffEntry::Modified(path),
    })
}

fn path_of(entry: &DiffEntry) -> &ObjectPath {
    match entry {
        DiffEntry::Added(path)
        | DiffEntry::Removed(path)
        | DiffEntry::Modified(path)
        | DiffEntry::Touched(path)
        | DiffEntry::Renamed { new: path, .. } => path,
    }
}

impl Stat {
    fn count(&mut self, entry: &DiffEntry) {
        *match entry {
            DiffEntry::Added(_) => &mut self.added,
            DiffEntry::Removed(_) => &mut self.removed,
            DiffEntry::Modified(_) => &mut self.modified,
            DiffEntry::Touched(_) => &mut self.touched,
            DiffEntry::Renamed { .. } => &mut self.renamed,
        } += 1;
    }
}

fn write(out: &mut Output, form: &DiffForm, entry: &DiffEntry) -> Result<(), CommandError> {
    let (letter, style, path, old) = match entry {
        DiffEntry::Added(path) => ("A", Style::Added, path, None),
        DiffEntry::Removed(path) => ("D", Style::Removed, path, None),
        DiffEntry::Modified(path) => ("M", Style::Modified, path, None),
        DiffEntry::Touched(path) => ("T", Style::Plain, path, None),
        DiffEntry::Renamed { old, new } => ("R", Style::Renamed, new, Some(old)),
    };
    if form.json {
        let old = old.map(|old| JsonPath::new(old.as_bytes()));
        return out.json(&JsonDiff {
            change: letter,
            path: JsonPath::new(path.as_bytes()),
            old,
        });
    }
    if form.nul {
        let old = old
            .map(|old| [old.as_bytes(), b"\0"].concat())
            .unwrap_or_default();
        return out.bytes(&[letter.as_bytes(), b" ", &old, path.as_bytes(), b"\0"].concat());
    }
    let mut line = Line::new().styled(style, letter).text(" ");
    if let Some(old) = old {
        line = line.text(quoted(old.as_bytes())).tab();
    }
    out.line(line.text(quoted(path.as_bytes())))
}

fn write_stat(out: &mut Output, stat: &Stat, json: bool) -> Result<(), CommandError> {
    if json {
        return out.json(stat);
    }
    let Stat {
        added,
        removed,
        modified,
        touched,
        renamed,
    } = stat;
    out.line(format!(
        "{added} added, {removed} removed, {modified} modified, {touched} touched, {renamed} renamed"
    ))
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

    #[test]
    fn only_what_is_at_a_path_or_below_it_is_taken() {
        let path = |text: &str| ObjectPath::new(text.as_bytes()).expect("a path");
        let mut found = Found::new(&DiffForm::default());
        found.below(&path("a"));
        for text in ["a", "a/b", "ab", "b"] {
            found.add(DiffEntry::Added(path(text)));
        }
        let renamed = |old, new| DiffEntry::Renamed {
            old: path(old),
            new: path(new),
        };
        found.add(renamed("a/c", "d"));
        found.add(renamed("e", "f"));
        let taken: Vec<_> = found.entries.iter().map(path_of).collect();
        assert_eq!(taken, [&path("a"), &path("a/b"), &path("d")]);
    }

    #[test]
    fn changes_of_a_mount_are_the_lines_of_any_diff() {
        let path = |text: &str| ObjectPath::new(text.as_bytes()).expect("a path");
        let item = |kind, old: Option<&str>| ChangeItem {
            kind,
            path: b"new".to_vec(),
            old: old.map(|old| old.as_bytes().to_vec()),
        };
        let entry = |kind, old| entry(&item(kind, old)).expect("a line");
        assert_eq!(
            entry(ChangeKind::Times, None),
            DiffEntry::Touched(path("new"))
        );
        assert_eq!(
            entry(ChangeKind::Renamed, Some("old")),
            DiffEntry::Renamed {
                old: path("old"),
                new: path("new")
            }
        );
    }
}
