//! `lfsfs diff`: what changed between two versions, or in a mount.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_client::{DiffEntry, Remote as _};
use lfsfs_mount::{
    AnswerSink, ChangeItem, ChangeKind, ControlProgress, ControlRequest, Counted, call_with,
    find_mount,
};
use lfsfs_types::{ObjectPath, PathError, Source};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::{places, served};
use crate::output::{JsonPath, Output, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    override_usage = "lfsfs diff [OPTIONS] <VERSION> <VERSION>\n       lfsfs diff [OPTIONS] [DIR]",
    after_help = "Lines: A added, D removed, M modified (content, kind, mode, owner, xattr), \
    T times alone, R a directory that moved: old path, tab, new path.\n\n\
    Examples:\n  \
    lfsfs diff app@v1 app@v2              two versions of one project\n  \
    lfsfs diff /mnt/app                   what is not committed yet in a mount\n  \
    lfsfs diff --stat                     the same of the mount of this directory, counted"
)]
pub(crate) struct DiffArgs {
    /// Two versions, such as app@v1 and app@v2; or a path in a mount [default: .]
    #[arg(value_name = "WHAT", num_args = 0..=2)]
    what: Vec<OsString>,
    /// Only count
    #[arg(long)]
    stat: bool,
    /// Show a moved directory as the removals and additions it amounts to
    #[arg(long)]
    no_renames: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
enum Sides {
    /// Two versions, by their sources.
    Versions(Source, Source),
    /// A mount and the version below its changes.
    Mount(PathBuf),
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

    fn sides(&self) -> Result<Sides, CommandError> {
        let source = |text: &OsString| -> Result<Source, CommandError> {
            Ok(text.to_string_lossy().parse()?)
        };
        match &self.what[..] {
            [] => Ok(Sides::Mount(".".into())),
            [dir] => Ok(Sides::Mount(dir.into())),
            [from, to] => Ok(Sides::Versions(source(from)?, source(to)?)),
            more => {
                let count = more.len();
                Err(CommandError::usage(format!("{count} things to compare")))
            }
        }
    }
}

pub(crate) async fn run(server: ServerArgs, args: DiffArgs) -> Result<(), CommandError> {
    let mut found = Found::new(args.stat);
    match args.sides()? {
        Sides::Versions(from, to) => versions(&server, &args, (&from, &to), &mut found).await?,
        Sides::Mount(path) => changes(&path, &args, &mut found)?,
    }
    found.write(&args)
}

async fn versions(
    server: &ServerArgs,
    args: &DiffArgs,
    (from, to): (&Source, &Source),
    found: &mut Found,
) -> Result<(), CommandError> {
    let remote = server.remote()?;
    let (from, to) = (
        remote.resolve_source(from).await?,
        remote.resolve_source(to).await?,
    );
    if from.project.id != to.project.id {
        let (a, b) = (from.project.name, to.project.name);
        return Err(CommandError::usage(format!("{a} and {b} are two projects"))
            .hint("compare versions of one project; mount both to compare projects"));
    }
    let range = (from.version.number, to.version.number);
    let sink = |entry: DiffEntry| {
        found.add(entry);
        true
    };
    Ok(remote
        .diff(from.project.id, range, args.no_renames, sink)
        .await?)
}

fn changes(path: &Path, args: &DiffArgs, found: &mut Found) -> Result<(), CommandError> {
    if args.no_renames {
        return Err(CommandError::usage("--no-renames is for two versions")
            .hint("commit first, and compare the two versions"));
    }
    let mount = find_mount(path, &places()?).map_err(|error| {
        CommandError::from(error).hint("two versions are compared with: lfsfs diff app@v1 app@v2")
    })?;
    served(&mount)?;
    let _: Counted = call_with(&mount, &ControlRequest::Changes, found)?;
    Ok(())
}

/// The differences found so far.
#[derive(Debug)]
struct Found {
    stat: Stat,
    entries: Vec<DiffEntry>,
    counts_only: bool,
}

impl Found {
    fn new(counts_only: bool) -> Self {
        Self {
            stat: Stat::default(),
            entries: Vec::new(),
            counts_only,
        }
    }

    fn add(&mut self, entry: DiffEntry) {
        self.stat.count(&entry);
        if !self.counts_only {
            self.entries.push(entry);
        }
    }

    fn write(mut self, args: &DiffArgs) -> Result<(), CommandError> {
        // They come in the order of directory ids, which means nothing to a reader.
        self.entries.sort_by(|a, b| path_of(a).cmp(path_of(b)));
        let mut out = Output::new();
        self.entries
            .iter()
            .try_for_each(|entry| write(&mut out, args, entry))?;
        if args.stat {
            write_stat(&mut out, &self.stat, args.json)?;
        }
        out.finish()
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

fn write(out: &mut Output, args: &DiffArgs, entry: &DiffEntry) -> Result<(), CommandError> {
    let (letter, path, old): (_, _, Option<&ObjectPath>) = match entry {
        DiffEntry::Added(path) => ("A", path, None),
        DiffEntry::Removed(path) => ("D", path, None),
        DiffEntry::Modified(path) => ("M", path, None),
        DiffEntry::Touched(path) => ("T", path, None),
        DiffEntry::Renamed { old, new } => ("R", new, Some(old)),
    };
    if args.json {
        let old = old.map(|old| JsonPath::new(old.as_bytes()));
        return out.json(&JsonDiff {
            change: letter,
            path: JsonPath::new(path.as_bytes()),
            old,
        });
    }
    if args.nul {
        let old = old
            .map(|old| [old.as_bytes(), b"\0"].concat())
            .unwrap_or_default();
        return out.bytes(&[letter.as_bytes(), b" ", &old, path.as_bytes(), b"\0"].concat());
    }
    let old = old
        .map(|old| quoted(old.as_bytes()) + "\t")
        .unwrap_or_default();
    out.line(format!("{letter} {old}{}", quoted(path.as_bytes())))
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
            stat: false,
            no_renames: false,
            nul: false,
            json: false,
        }
    }

    #[test]
    fn two_words_are_versions_and_fewer_a_mount() {
        let sides = |what: &[&str]| args(what).sides();
        assert_eq!(sides(&[]).expect("sides"), Sides::Mount(".".into()));
        assert_eq!(
            sides(&["/mnt"]).expect("sides"),
            Sides::Mount("/mnt".into())
        );
        let source = |text: &str| text.parse().expect("a source");
        assert_eq!(
            sides(&["app@v1", "app"]).expect("sides"),
            Sides::Versions(source("app@v1"), source("app@latest"))
        );
        assert_eq!(
            sides(&["/mnt", "app"]).expect_err("no source").exit_code(),
            2
        );
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
