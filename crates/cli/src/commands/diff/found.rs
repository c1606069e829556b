//! Differences: found, and written as lines.

use std::io;

use futures::TryStreamExt as _;
use lfsfs_client::Client;
use lfsfs_mount::{
    AnswerSink, ChangeItem, ChangeKind, ControlProgress, ControlRequest, Counted, Mount, call_with,
};
use lfsfs_remote::{Call, DiffEntry, RemoteError, Renames, Snapshot, VersionRange};
use lfsfs_types::{ObjectPath, PathError};
use serde::Serialize;

use super::DiffForm;
use crate::error::CommandError;
use crate::mounted::served;
use crate::output::{JsonPath, Line, Output, Style, quoted};
use crate::user;

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
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Stat {
    added: u64,
    removed: u64,
    modified: u64,
    touched: u64,
    renamed: u64,
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
    pub(super) fn below(&mut self, path: &ObjectPath) {
        self.below = path.clone();
    }

    /// Finds the differences between two versions of one project.
    pub(crate) async fn versions(
        &mut self,
        client: &Client,
        from: &Snapshot,
        to: &Snapshot,
        no_renames: bool,
    ) -> Result<(), CommandError> {
        if from.project.id != to.project.id {
            let (a, b) = (&from.project.name, &to.project.name);
            return Err(CommandError::usage(format!("{a} and {b} are two projects"))
                .hint("compare versions of one project; mount both to compare projects"));
        }
        let range = VersionRange {
            from: from.version.number,
            to: to.version.number,
        };
        let renames = if no_renames {
            Renames::Expanded
        } else {
            Renames::Shown
        };
        // What came before the stream broke comes again.
        let ask = || async {
            let entries = client.remote.diff(from.project.id, range, renames).await?;
            let mut found = self.empty();
            let mut entries = entries;
            while let Some(entry) = entries.try_next().await? {
                found.add(entry);
            }
            Ok::<_, RemoteError>(found)
        };
        *self = client.retry.run(Call::Diff, ask).await?;
        Ok(())
    }

    /// Returns a value that looks for the same, and has found nothing yet.
    fn empty(&self) -> Self {
        Self {
            stat: Stat::default(),
            entries: Vec::new(),
            counts_only: self.counts_only,
            below: self.below.clone(),
        }
    }

    /// Finds the uncommitted changes of a mount.
    pub(super) fn changes(&mut self, mount: &Mount) -> Result<(), CommandError> {
        served(mount)?;
        let _: Counted = call_with(mount, &ControlRequest::Changes, self)?;
        Ok(())
    }

    /// Adds a difference, if it is wanted.
    pub(crate) fn add(&mut self, entry: DiffEntry) {
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

    pub(crate) fn write(self, form: &DiffForm, out: &mut Output) -> Result<(), CommandError> {
        let stat = form.stat.then_some(self.stat);
        self.sorted()
            .iter()
            .try_for_each(|entry| write(out, form, entry))?;
        stat.map_or(Ok(()), |stat| write_stat(out, &stat, form.json))
    }

    /// Returns what was found in the order of paths. It came in the order of directory ids, which
    /// means nothing to a user.
    pub(super) fn sorted(mut self) -> Vec<DiffEntry> {
        self.entries.sort_by(|a, b| path_of(a).cmp(path_of(b)));
        self.entries
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

pub(super) fn path_of(entry: &DiffEntry) -> &ObjectPath {
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

pub(super) fn write(
    out: &mut Output,
    form: &DiffForm,
    entry: &DiffEntry,
) -> Result<(), CommandError> {
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
