//! The difference by plain paths, which knows no renames.
//!
//! A path can differ only if its name has a change row, or if it lies in a directory that both
//! versions have at different paths: a *moved* one. So beside the changed names, the entries of moved
//! directories are compared at both ends: it costs what was changed and what lies below directories
//! that moved. What the second version has is compared with what the first has at the same path;
//! what only the first has is removed. Each path is looked at once at each end.

use std::ops::ControlFlow;

use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, Record};

use super::{DiffLine, Sink, line_of, one_sided};
use crate::changed::ChangedNames;
use crate::error::Result;
use crate::side::Side;

/// One of the two versions, seen from the other.
pub(super) struct End<'a> {
    side: Side<'a>,
    /// What becomes of a path that only this version has.
    line: DiffLine,
    /// The directory last asked for and the one that the other version has at its path.
    opposite: Option<(DirId, Option<DirId>)>,
}

/// Compares two versions, neither of them 0.
pub(crate) fn compare<'a>(a: Side<'a>, b: Side<'a>, sink: Sink<'_>) -> Result<ControlFlow<()>> {
    let mut changes = ChangedNames::between(a.view, b.view)?;
    let end = |side, line| End {
        side,
        line,
        opposite: None,
    };
    let (mut a, mut b) = (end(a, DiffLine::Removed), end(b, DiffLine::Added));
    while let Some((dir, name)) = changes.next()? {
        let name = name.as_ref();
        if a.look_at(&mut b, dir, name, sink)?.is_break()
            || b.look_at(&mut a, dir, name, sink)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

impl End<'_> {
    /// Looks at a changed name of this version, and below it if it is the top of what moved.
    fn look_at(
        &mut self,
        other: &mut Self,
        dir: DirId,
        name: Option<&Name>,
        sink: Sink<'_>,
    ) -> Result<ControlFlow<()>> {
        let Some(record) = self.side.view.state(dir, name)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let below = record.dir();
        if !self.has_moved(other, dir)? && self.tell(other, dir, name, record, sink)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match below {
            Some(below) if self.has_moved(other, below)? && !self.is_below_moved(other, dir)? => {
                self.walk(other, below, sink)
            }
            _ => Ok(ControlFlow::Continue(())),
        }
    }

    /// Returns true if both versions have a directory, at different paths.
    fn has_moved(&mut self, other: &mut Self, dir: DirId) -> Result<bool> {
        if dir == DirId::ABOVE_ROOT || !other.side.has(dir)? {
            return Ok(false);
        }
        Ok(self.side.path_of(dir)? != other.side.path_of(dir)?)
    }

    /// Returns true if the walk that comes by a directory begins above it: if it has moved itself, or
    /// is new and lies in one that has.
    fn is_below_moved(&mut self, other: &mut Self, dir: DirId) -> Result<bool> {
        let mut dir = dir;
        while !other.side.has(dir)? {
            let Some((above, _)) = self.side.place(dir)? else {
                return Ok(false);
            };
            dir = above;
        }
        self.has_moved(other, dir)
    }

    /// Looks at all entries of the moved directories in and below one.
    fn walk(&mut self, other: &mut Self, top: DirId, sink: Sink<'_>) -> Result<ControlFlow<()>> {
        let mut found = vec![top];
        while let Some(dir) = found.pop() {
            // The names of a directory that only this version has are changed names.
            let tells = other.side.has(dir)?;
            let mut after = None;
            loop {
                let view = self.side.view;
                let (entries, more) = view.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
                after = entries.last().map(|(name, _)| name.clone());
                for (name, record) in entries {
                    if let Some(below) = record.dir()
                        && (!other.side.has(below)? || self.has_moved(other, below)?)
                    {
                        found.push(below);
                    }
                    if tells && self.tell(other, dir, Some(&name), record, sink)?.is_break() {
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

    /// Tells what became of one path.
    fn tell(
        &mut self,
        other: &mut Self,
        dir: DirId,
        name: Option<&Name>,
        record: Record,
        sink: Sink<'_>,
    ) -> Result<ControlFlow<()>> {
        let there = match self.opposite(other, dir)? {
            Some(dir) => other.side.view.state(dir, name)?,
            None => None,
        };
        let path = self.side.path(dir, name)?;
        let line = match (self.line, there) {
            (DiffLine::Removed, Some(_)) => None,
            (DiffLine::Removed, None) => Some(one_sided(DiffLine::Removed, path, record)),
            (_, there) => line_of(path, there, record),
        };
        Ok(line.map_or(ControlFlow::Continue(()), sink))
    }

    /// Returns the directory that the other version has at the path of one of this.
    fn opposite(&mut self, other: &mut Self, dir: DirId) -> Result<Option<DirId>> {
        if let Some((_, found)) = self.opposite.filter(|(known, _)| *known == dir) {
            return Ok(found);
        }
        let found = if other.side.has(dir)? && !self.has_moved(other, dir)? {
            Some(dir)
        } else if let Some(path) = self.side.path_of(dir)? {
            let found = other.side.view.lookup(&path)?;
            found.and_then(|found| found.record.dir())
        } else {
            None
        };
        self.opposite = Some((dir, found));
        Ok(found)
    }
}
