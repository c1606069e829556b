//! The difference between two versions, read from the change rows between them.
//!
//! It costs what was changed between the two, however many versions lie between and however large
//! the tree is. Each name that a change row names is compared at both ends:
//!
//! - a directory that both versions have is at most *renamed*: one line, whatever is below it;
//! - all else is compared by path after the renames: what one version has at a place and the other
//!   does not is added or removed, what both have is modified, has other times, or is equal.
//!
//! A directory that was removed and made again under another id is the same place for what is
//! below it: its *counterpart* is found by its path. Lines come in no particular order.
//!
//! For a caller that wants plain paths, [`paths`] tells every moved directory as removals and
//! additions.

mod paths;

use std::ops::ControlFlow;

use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{Aspect, DirId, Name, ObjectPath, ProjectId, Record, VersionNumber};

pub(crate) use self::paths::compare as compare_paths;
use crate::changed::ChangedNames;
use crate::error::Result;
use crate::metadata::Metadata;
use crate::side::{Side, join};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiffLine {
    /// It is in the second version only.
    Added,
    /// It is in the first version only.
    Removed,
    /// Content, kind, mode, owner or extended attributes differ.
    Modified,
    /// Only the modification time differs.
    Times,
    /// A directory has another path and kept its identity.
    Renamed,
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffEntry {
    /// What became of it.
    pub line: DiffLine,
    /// The path: in the first version for what was removed, else in the second.
    pub path: ObjectPath,
    /// The path in the first version of a renamed directory.
    pub old_path: Option<ObjectPath>,
    /// What it was in the first version.
    pub before: Option<Record>,
    /// What it is in the second version.
    pub after: Option<Record>,
}

/// Where the lines of a difference go; it may break off.
type Sink<'s> = &'s mut dyn FnMut(DiffEntry) -> ControlFlow<()>;

/// Whether a directory that kept its identity at another path has a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renames {
    /// One line, [`DiffLine::Renamed`], whatever is below it.
    Told,
    /// It is removals and additions, as a comparison by path finds them.
    Expanded,
}

impl Metadata {
    /// Tells `sink` the lines of the difference from version `a` to version `b`, until it breaks.
    ///
    /// Each version may be the older one. With version 0 the lines are the listing of the other.
    pub fn diff(
        &self,
        project: ProjectId,
        a: VersionNumber,
        b: VersionNumber,
        renames: Renames,
        sink: &mut dyn FnMut(DiffEntry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let _reading = self.reading();
        let a = Side::new(self.view(project, a)?);
        let b = Side::new(self.view(project, b)?);
        let zero = VersionNumber::ZERO;
        match (a.view.version, b.view.version) {
            (from, to) if from == to => Ok(ControlFlow::Continue(())),
            (from, _) if from == zero => list_all(&b, DiffLine::Added, sink),
            (_, to) if to == zero => list_all(&a, DiffLine::Removed, sink),
            _ => match renames {
                Renames::Told => Comparison { a, b }.run(sink),
                Renames::Expanded => compare_paths(a, b, sink),
            },
        }
    }
}

/// Tells all objects of a version as added or removed, and what the root became.
fn list_all(side: &Side<'_>, line: DiffLine, sink: Sink<'_>) -> Result<ControlFlow<()>> {
    let root = side.view.root()?;
    let empty = crate::view::root_of_version_zero();
    if !root.same_state(&empty) {
        let (before, after) = match line {
            DiffLine::Removed => (root, empty),
            _ => (empty, root),
        };
        let entry = DiffEntry {
            line: DiffLine::Modified,
            path: ObjectPath::ROOT,
            old_path: None,
            before: Some(before),
            after: Some(after),
        };
        if sink(entry).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let mut found = vec![(DirId::ROOT, ObjectPath::ROOT)];
    while let Some((dir, path)) = found.pop() {
        let mut after = None;
        loop {
            let (entries, more) = side.view.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
            after = entries.last().map(|(name, _)| name.clone());
            for (name, record) in entries {
                let path = join(&path, &name)?;
                found.extend(record.dir().map(|below| (below, path.clone())));
                if sink(one_sided(line, path, record)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn one_sided(line: DiffLine, path: ObjectPath, record: Record) -> DiffEntry {
    let (before, after) = match line {
        DiffLine::Removed => (Some(record), None),
        _ => (None, Some(record)),
    };
    DiffEntry {
        line,
        path,
        old_path: None,
        before,
        after,
    }
}

/// A name in a directory of one of two versions; without a name the root.
#[derive(Debug, Clone, Copy)]
struct PlaceIn<'a> {
    dir: DirId,
    name: Option<&'a Name>,
}

/// The comparison of two versions, neither of them 0.
#[derive(Debug)]
struct Comparison<'a> {
    a: Side<'a>,
    b: Side<'a>,
}

impl Comparison<'_> {
    fn run(mut self, sink: Sink<'_>) -> Result<ControlFlow<()>> {
        let mut changes = ChangedNames::between(self.a.view, self.b.view)?;
        while let Some((dir, name)) = changes.next()? {
            for entry in self.compare(dir, name.as_ref())? {
                if sink(entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the lines of one changed name: what the second version has there, and what the first
    /// had and the second has nothing for.
    fn compare(&mut self, dir: DirId, name: Option<&Name>) -> Result<Vec<DiffEntry>> {
        let before = self.a.view.state(dir, name)?;
        let after = self.b.view.state(dir, name)?;
        let mut lines = Vec::new();
        if let Some(after) = after {
            self.compare_after(dir, name, after, &mut lines)?;
        }
        if let Some(before) = before {
            lines.extend(self.removal(dir, name, before)?);
        }
        Ok(lines)
    }

    /// Compares what the second version has with what the first had at the same place.
    fn compare_after(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
        after: Record,
        lines: &mut Vec<DiffEntry>,
    ) -> Result<()> {
        let kept = match after.dir() {
            Some(below) => self.a.place(below)?,
            None => None,
        };
        let path = self.b.path(dir, name)?;
        let before = match kept {
            Some((old_dir, old_name)) => {
                let old = PlaceIn {
                    dir: old_dir,
                    name: old_name.as_ref(),
                };
                if self.has_moved(old, PlaceIn { dir, name })? {
                    lines.push(DiffEntry {
                        line: DiffLine::Renamed,
                        path: path.clone(),
                        old_path: Some(self.a.path(old_dir, old_name.as_ref())?),
                        before: None,
                        after: None,
                    });
                }
                self.a.view.state(old_dir, old_name.as_ref())?
            }
            None => Self::counterpart(&mut self.a, &mut self.b, dir, name)?,
        };
        lines.extend(line_of(path, before, after));
        Ok(())
    }

    /// Returns true if a directory that both versions have does not simply follow the one above it.
    fn has_moved(&mut self, old: PlaceIn<'_>, new: PlaceIn<'_>) -> Result<bool> {
        if old.name != new.name {
            return Ok(true);
        }
        Ok(Self::stand_in(&mut self.a, &mut self.b, new.dir)? != Some(old.dir))
    }

    /// Returns the line of something that the first version had, if nothing in the second stands
    /// for it.
    fn removal(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
        before: Record,
    ) -> Result<Option<DiffEntry>> {
        if let Some(below) = before.dir()
            && self.b.has(below)?
        {
            return Ok(None);
        }
        if Self::counterpart(&mut self.b, &mut self.a, dir, name)?.is_some() {
            return Ok(None);
        }
        let path = self.a.path(dir, name)?;
        Ok(Some(one_sided(DiffLine::Removed, path, before)))
    }

    /// Returns what `there` has at the place that `here` calls (`dir`, `name`), unless that is a
    /// directory which both have: that one stands for itself, wherever it is.
    fn counterpart(
        there: &mut Side<'_>,
        here: &mut Side<'_>,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<Option<Record>> {
        let Some(stand_in) = Self::stand_in(there, here, dir)? else {
            return Ok(None);
        };
        let found = there.view.state(stand_in, name)?;
        match found.as_ref().and_then(Record::dir) {
            Some(below) if here.has(below)? => Ok(None),
            _ => Ok(found),
        }
    }

    /// Returns the directory of `there` that is at the place of a directory of `here`: itself, or
    /// one that only `there` has, below the stand-in of the directory above, under the same name.
    fn stand_in(there: &mut Side<'_>, here: &mut Side<'_>, dir: DirId) -> Result<Option<DirId>> {
        let mut names = Vec::new();
        let mut dir = dir;
        while !there.has(dir)? {
            let Some((above, name)) = here.place(dir)? else {
                return Ok(None);
            };
            names.push(name);
            dir = above;
        }
        for name in names.iter().rev() {
            let found = there.view.state(dir, name.as_ref())?;
            match found.as_ref().and_then(Record::dir) {
                Some(below) if !here.has(below)? => dir = below,
                _ => return Ok(None),
            }
        }
        Ok(Some(dir))
    }
}

/// Returns the line that two states at one path make.
fn line_of(path: ObjectPath, before: Option<Record>, after: Record) -> Option<DiffEntry> {
    let Some(before) = before else {
        return Some(one_sided(DiffLine::Added, path, after));
    };
    let line = line_between(&before, &after)?;
    Some(DiffEntry {
        line,
        path,
        old_path: None,
        before: Some(before),
        after: Some(after),
    })
}

/// Returns which line two states of one path make, if they make one.
///
/// A reader of a diff sees no link, no ctime and no hash: what they tell of is told by lines of other
/// paths, or not at all.
pub(crate) fn line_between(before: &Record, after: &Record) -> Option<DiffLine> {
    let directories = before.kind.is_directory() && after.kind.is_directory();
    let differences = before.differences(after);
    let is_other = |aspect: &Aspect| match aspect {
        // A directory that was made anew at its old path is the same one to a reader.
        Aspect::Directory if directories => false,
        aspect => differences.has(*aspect),
    };
    if Aspect::STATE.iter().any(is_other) {
        Some(DiffLine::Modified)
    } else if differences.has(Aspect::Mtime) && !directories {
        Some(DiffLine::Times)
    } else {
        None
    }
}
