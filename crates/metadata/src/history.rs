//! The versions that changed a path.
//!
//! Each version is compared with the one before it: what the path is in both, and, if it is the same
//! directory in both, whether a change row of the version is about something in or below it. So it
//! costs the changes of the versions that are looked at, and stops with the caller. Where directories
//! were moved in it or replaced by others, the two versions are compared by path.

use std::ops::ControlFlow;

use lfsfs_types::{DirId, ObjectPath, ProjectId, VersionNumber, VersionRecord};

use crate::changed::ChangedNames;
use crate::diff::{compare_paths, line_between};
use crate::error::Result;
use crate::metadata::Metadata;
use crate::side::Side;
use crate::view::Found;

/// Versions whose records are read together.
const VERSIONS_AT_ONCE: usize = 32;

impl Metadata {
    /// Tells `sink` the versions that made, removed or changed what is at a path, or something below
    /// it, the newest first, from below `before` on, until it breaks. Every version changed the root. A version is
    /// compared with the one before it that is there.
    ///
    /// What counts is what a difference by plain paths from the version before shows.
    pub fn log_of_path(
        &self,
        project: ProjectId,
        path: &ObjectPath,
        before: Option<VersionNumber>,
        sink: &mut dyn FnMut(VersionRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let _reading = self.reading();
        let view = |number| PathAt::find(Side::new(self.view_unchecked(project, number)), path);
        let mut newer: Option<(VersionRecord, PathAt<'_>)> = None;
        let mut before = before;
        loop {
            let page = self.log(project, before, VERSIONS_AT_ONCE)?;
            before = page.items.last().map(|record| record.number);
            for record in page.items {
                let mut older = view(record.number)?;
                if let Some((record, mut version)) = newer.take()
                    && version.differs(&mut older, path)?
                    && sink(record).is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                newer = Some((record, older));
            }
            if !page.more {
                break;
            }
        }
        let Some((record, mut oldest)) = newer else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut empty = view(VersionNumber::ZERO)?;
        match oldest.differs(&mut empty, path)? {
            true => Ok(sink(record)),
            false => Ok(ControlFlow::Continue(())),
        }
    }
}

/// What a path is in a version.
struct PathAt<'a> {
    side: Side<'a>,
    found: Option<Found>,
}

impl<'a> PathAt<'a> {
    fn find(side: Side<'a>, path: &ObjectPath) -> Result<Self> {
        let found = side.view.lookup(path)?;
        Ok(Self { side, found })
    }

    /// Returns true if a version made something else of a path than it was in the version before.
    fn differs(&mut self, before: &mut Self, path: &ObjectPath) -> Result<bool> {
        if *path == ObjectPath::ROOT {
            return Ok(true);
        }
        let (old, new) = match (&before.found, &self.found) {
            (None, None) => return Ok(false),
            (Some(old), Some(new)) => (&old.record, &new.record),
            _ => return Ok(true),
        };
        if line_between(old, new).is_some() {
            return Ok(true);
        }
        let below = match (old.dir(), new.dir()) {
            (Some(old), Some(new)) if old == new => self.below(before, new)?,
            (Some(_), Some(_)) => Below::Unclear,
            _ => Below::Same,
        };
        match below {
            Below::Same => Ok(false),
            Below::Differs => Ok(true),
            Below::Unclear => self.differs_by_path(before, path),
        }
    }

    /// Finds out from change rows whether something in or below a directory of both versions differs.
    fn below(&mut self, before: &mut Self, top: DirId) -> Result<Below> {
        let (old, new) = (before.side.view, self.side.view);
        let mut found = Below::Same;
        let mut names = ChangedNames::between(old, new)?;
        while let Some((dir, name)) = names.next()? {
            if !self.side.is_below(dir, top)? && !before.side.is_below(dir, top)? {
                continue;
            }
            let stays = self.side.path_of(dir)? == before.side.path_of(dir)?;
            let differs = match (
                old.state(dir, name.as_ref())?,
                new.state(dir, name.as_ref())?,
            ) {
                (None, None) => continue,
                (Some(old), Some(new)) if line_between(&old, &new).is_none() => {
                    if old.dir() == new.dir() {
                        continue;
                    }
                    // Another directory that looks like the one before: what is below it counts.
                    false
                }
                _ => stays,
            };
            if differs {
                return Ok(Below::Differs);
            }
            found = Below::Unclear;
        }
        Ok(found)
    }

    /// Compares the versions by plain paths.
    fn differs_by_path(&self, before: &Self, path: &ObjectPath) -> Result<bool> {
        let (old, new) = (before.side.view, self.side.view);
        let names = path.names().count();
        let compared = compare_paths(Side::new(old), Side::new(new), &mut |entry| {
            let is_below = entry.path.names().take(names).eq(path.names());
            if is_below {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        Ok(compared?.is_break())
    }
}

/// What change rows tell of what is below a directory.
enum Below {
    /// Nothing differs.
    Same,
    /// Something does.
    Differs,
    /// Directories came, went or moved; whether paths differ takes a look at all of them.
    Unclear,
}
