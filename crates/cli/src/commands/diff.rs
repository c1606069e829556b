//! `lfsfs diff`: what changed between two versions.

use clap::Args;
use lfsfs_client::{DiffEntry, Remote as _};
use lfsfs_types::{ObjectPath, Source};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{JsonPath, Output, quoted};

#[derive(Debug, Args)]
#[command(
    after_help = "Lines: A added, D removed, M modified (content, kind, mode, owner, xattr), \
    T times alone, R a directory that moved: old path, tab, new path."
)]
pub(crate) struct DiffArgs {
    /// First version, such as app@v1
    from: String,
    /// Second version, such as app@v2
    to: String,
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

pub(crate) async fn run(server: ServerArgs, args: DiffArgs) -> Result<(), CommandError> {
    let remote = server.remote()?;
    let (from, to): (Source, Source) = (args.from.parse()?, args.to.parse()?);
    let (from, to) = (
        remote.resolve_source(&from).await?,
        remote.resolve_source(&to).await?,
    );
    if from.project.id != to.project.id {
        let (a, b) = (from.project.name, to.project.name);
        return Err(CommandError::usage(format!("{a} and {b} are two projects"))
            .hint("compare versions of one project; mount both to compare projects"));
    }
    let range = (from.version.number, to.version.number);
    let mut stat = Stat::default();
    let mut entries = Vec::new();
    let sink = |entry: DiffEntry| {
        stat.count(&entry);
        if !args.stat {
            entries.push(entry);
        }
        true
    };
    remote
        .diff(from.project.id, range, args.no_renames, sink)
        .await?;
    // They come in the order of directory ids, which means nothing to a reader.
    entries.sort_by(|a, b| path_of(a).cmp(path_of(b)));
    let mut out = Output::new();
    entries
        .iter()
        .try_for_each(|entry| write(&mut out, &args, entry))?;
    if args.stat {
        write_stat(&mut out, &stat, args.json)?;
    }
    out.finish()
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
