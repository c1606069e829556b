//! The versions that changed a path.
//!
//! Each version is compared with the one before it: what the path is in both, and, if it is the same
//! directory in both, whether a change row of the version is about something in or below it. So it
//! costs the changes of the versions that are looked at, and stops with the caller.

use std::ops::ControlFlow;

use lfsfs_types::{DirId, ObjectPath, ProjectId, VersionNumber, VersionRecord};

use crate::changed::ChangedNames;
use crate::diff::line_between;
use crate::error::Result;
use crate::metadata::Metadata;
use crate::side::Side;
use crate::view::Found;

impl Metadata {
    /// Tells `sink` the versions that made, removed or changed what is at a path, or something below
    /// it, the newest first, from below `before` on, until it breaks. Every version changed the root.
    ///
    /// What counts is what a difference between the version and the one before it shows.
    pub fn log_of_path(
        &self,
        project: ProjectId,
        path: &ObjectPath,
        before: Option<VersionNumber>,
        sink: &mut dyn FnMut(VersionRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let head = self.head(project)?.number;
        let end = before.map_or(head.next(), |before| before.min(head.next()));
        let mut newer = None;
        for number in (1..end.0).rev().map(VersionNumber) {
            let view = |number| self.view_unchecked(project, number);
            let mut version = match newer.take() {
                Some(version) => version,
                None => PathAt::find(Side::new(view(number)), path)?,
            };
            let mut older = PathAt::find(Side::new(view(VersionNumber(number.0 - 1))), path)?;
            if (*path == ObjectPath::ROOT || version.differs(&mut older)?)
                && sink(self.version(project, number)?).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            newer = Some(older);
        }
        Ok(ControlFlow::Continue(()))
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
    fn differs(&mut self, before: &mut Self) -> Result<bool> {
        let (old, new) = match (&before.found, &self.found) {
            (None, None) => return Ok(false),
            (Some(old), Some(new)) => (&old.record, &new.record),
            _ => return Ok(true),
        };
        if old.dir() != new.dir() || line_between(old, new).is_some() {
            return Ok(true);
        }
        match new.dir() {
            Some(dir) => self.differs_below(before, dir),
            None => Ok(false),
        }
    }

    /// Returns true if a version changed something in or below a directory.
    fn differs_below(&mut self, before: &mut Self, top: DirId) -> Result<bool> {
        let (old, new) = (before.side.view, self.side.view);
        let mut names = ChangedNames::between(new.store, new.project, old.version, new.version)?;
        while let Some((dir, name)) = names.next()? {
            if !self.side.is_below(dir, top)? && !before.side.is_below(dir, top)? {
                continue;
            }
            let [old, new] = [old, new].map(|view| view.state(dir, name.as_ref()));
            let differs = match (old?, new?) {
                (None, None) => false,
                (Some(old), Some(new)) => {
                    old.dir() != new.dir() || line_between(&old, &new).is_some()
                }
                _ => true,
            };
            if differs {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
