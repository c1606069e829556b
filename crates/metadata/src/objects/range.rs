//! The objects that differ between two versions, in the order of their paths.
//!
//! The difference by plain paths comes in no order, and may be long. So it is run through several times: each time the
//! first paths behind those that were told are kept, as many as fit. What a path is now is looked up when it is told.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use lfsfs_meta_store::MetaError;
use lfsfs_types::{Kind, ObjectPath, Record};

use super::walk::is_empty;
use super::{ObjectSink, Selection, VersionedObject, marker};
use crate::diff::{DiffEntry, DiffLine, compare_paths};
use crate::error::Result;
use crate::side::Side;
use crate::view::View;

/// What paths that are kept at once may take, in bytes.
pub(super) const KEPT_MAX: usize = 4 << 20;
/// What a path takes beside its bytes.
const PATH_COST: usize = 96;

/// Tells the wanted objects of `to` that `from` has not, or has otherwise, and those that only `from` has.
pub(super) fn compare(
    from: View<'_>,
    to: View<'_>,
    selection: &Selection,
    sink: ObjectSink<'_>,
) -> Result<ControlFlow<()>> {
    compare_within(from, to, selection, KEPT_MAX, sink)
}

fn compare_within(
    from: View<'_>,
    to: View<'_>,
    selection: &Selection,
    kept_max: usize,
    sink: ObjectSink<'_>,
) -> Result<ControlFlow<()>> {
    let mut told = None;
    loop {
        let mut pass = Pass {
            from,
            to,
            selection,
            told,
            kept: BTreeMap::new(),
            bytes: 0,
            bytes_max: kept_max,
            left_out: false,
            above: None,
        };
        pass.run()?;
        told = pass.kept.last_key_value().map(|(path, _)| path.clone());
        for (path, fate) in pass.kept {
            let record = match fate {
                Fate::There => Some(object(to, &path)?),
                Fate::Removed => None,
            };
            if sink(VersionedObject { path, record }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if !pass.left_out {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is there, and is new or another one.
    There,
    /// It is not there any more.
    Removed,
}

/// One run through the difference.
struct Pass<'a> {
    from: View<'a>,
    to: View<'a>,
    selection: &'a Selection,
    /// The last path of the passes before.
    told: Option<Vec<u8>>,
    /// The first paths behind that one.
    kept: BTreeMap<Vec<u8>, Fate>,
    bytes: usize,
    bytes_max: usize,
    /// Whether there are more paths than are kept.
    left_out: bool,
    /// The directory last asked for, and whether it is there and empty in `to`.
    above: Option<(ObjectPath, bool)>,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<()> {
        if self.from.version == self.to.version {
            return Ok(());
        }
        let mut failed = None;
        let (from, to) = (Side::new(self.from), Side::new(self.to));
        let _ = compare_paths(from, to, &mut |entry| match self.take(&entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn take(&mut self, entry: &DiffEntry) -> Result<()> {
        let DiffEntry {
            line,
            path,
            before,
            after,
            ..
        } = entry;
        // The root is no object, and times are none of what an object is here.
        if path.is_root() || *line == DiffLine::Times {
            return Ok(());
        }
        if let Some(before) = before
            && after
                .as_ref()
                .is_none_or(|after| !same_place(before, after))
        {
            self.take_before(path, before, after.as_ref())?;
        }
        match after {
            Some(after) => self.take_after(path, after),
            None => self.take_above(path),
        }
    }

    /// Takes what was at a path, and is not any more.
    fn take_before(
        &mut self,
        path: &ObjectPath,
        before: &Record,
        after: Option<&Record>,
    ) -> Result<()> {
        let is_directory_now = after.is_some_and(|after| after.kind.is_directory());
        match before.kind {
            Kind::Directory { dir } if is_empty(self.from, dir)? => {
                self.keep(marker(path), Fate::Removed);
            }
            Kind::Directory { .. } => {}
            _ if is_directory_now => {}
            _ => self.keep(path.as_bytes().to_vec(), Fate::Removed),
        }
        Ok(())
    }

    fn take_after(&mut self, path: &ObjectPath, after: &Record) -> Result<()> {
        match after.kind {
            Kind::Directory { dir } if is_empty(self.to, dir)? => {
                self.keep(marker(path), Fate::There);
            }
            Kind::Directory { .. } => {}
            _ => self.keep(path.as_bytes().to_vec(), Fate::There),
        }
        Ok(())
    }

    /// Takes the marker of the directory above a path that is gone, if that has nothing else.
    fn take_above(&mut self, path: &ObjectPath) -> Result<()> {
        let Some((above, _)) = path.split_last() else {
            return Ok(());
        };
        if above.is_root() {
            return Ok(());
        }
        let is_empty = match &self.above {
            Some((known, is_empty)) if *known == above => *is_empty,
            _ => {
                let found = self.to.lookup(&above)?;
                match found.map(|found| found.record.kind) {
                    Some(Kind::Directory { dir }) => is_empty(self.to, dir)?,
                    _ => false,
                }
            }
        };
        if is_empty {
            self.keep(marker(&above), Fate::There);
        }
        self.above = Some((above, is_empty));
        Ok(())
    }

    fn keep(&mut self, path: Vec<u8>, fate: Fate) {
        let was_told = self.told.as_ref().is_some_and(|told| path <= *told);
        if was_told || !self.selection.wants(&path) {
            return;
        }
        if self.left_out
            && self
                .kept
                .last_key_value()
                .is_none_or(|(last, _)| path > *last)
        {
            return;
        }
        let cost = PATH_COST + path.len();
        if self.kept.insert(path, fate).is_none() {
            self.bytes += cost;
        }
        while self.bytes > self.bytes_max && self.kept.len() > 1 {
            if let Some((path, _)) = self.kept.pop_last() {
                self.bytes -= PATH_COST + path.len();
                self.left_out = true;
            }
        }
    }
}

/// Returns true if two records of one path are of one object: of a file each, or of a directory each.
fn same_place(before: &Record, after: &Record) -> bool {
    before.kind.is_directory() == after.kind.is_directory()
}

/// Returns what an object of a version is, whose path a difference has told.
fn object(view: View<'_>, path: &[u8]) -> Result<Record> {
    let known = ObjectPath::new(path).ok();
    let found = known.map(|path| view.lookup(&path)).transpose()?.flatten();
    match found {
        Some(found) => Ok(found.record),
        None => {
            Err(MetaError::corrupt("a difference with an object that is not there", path).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lfsfs_common::clock::{TestClock, WallTime};
    use lfsfs_meta_store::MemoryStore;
    use lfsfs_types::{ProjectName, Timestamp, VersionId, VersionNumber};

    use super::*;
    use crate::{Metadata, ObjectState, ProjectSettings, UpdateParams, UpdatePath};

    /// Publishes a version in which these paths are links.
    fn publish(metadata: &Metadata, version: u8, removed: &[String], links: &[String]) {
        let project = metadata.project(&ProjectName::new("app").unwrap()).unwrap();
        let mut update = metadata.begin_update().unwrap();
        let path = |path: &String| UpdatePath::new(path.as_bytes()).unwrap();
        for removed in removed {
            update.add(path(removed), ObjectState::Removed).unwrap();
        }
        for link in links {
            let target = b"target"[..].into();
            let state = ObjectState::Kind(Kind::Symlink { target }, Timestamp::default());
            update.add(path(link), state).unwrap();
        }
        let params = UpdateParams {
            project: project.id,
            version: VersionId([version; 16]),
            author: String::new(),
            message: String::new(),
        };
        assert!(update.publish(&params).unwrap().is_new);
    }

    #[test]
    fn however_few_paths_are_kept_all_are_told_in_order() {
        let clock = TestClock::new(WallTime::from_seconds(1));
        let metadata = Metadata::open(Arc::new(MemoryStore::new()), Arc::new(clock)).unwrap();
        let name = ProjectName::new("app").unwrap();
        let project = metadata.new_project(&name, ProjectSettings::default());
        let project = project.unwrap().id;
        let paths = |text: &str| {
            (0..40)
                .map(|at| format!("d{}/{text}{at}", at % 7))
                .collect()
        };
        let (old, new): (Vec<_>, Vec<_>) = (paths("old"), paths("new"));
        publish(&metadata, 1, &[], &old);
        publish(&metadata, 2, &old[..30], &new);
        let view = |version| metadata.view(project, VersionNumber(version)).unwrap();
        let all = Selection::default();
        for kept_max in [1, 1000, KEPT_MAX] {
            let mut told = Vec::new();
            let flow = compare_within(view(1), view(2), &all, kept_max, &mut |object| {
                told.push((object.path, object.record.is_some()));
                ControlFlow::Continue(())
            });
            assert!(flow.unwrap().is_continue());
            let there = new.iter().map(|path| (path.as_bytes().to_vec(), true));
            let gone = old[..30]
                .iter()
                .map(|path| (path.as_bytes().to_vec(), false));
            let mut expected: Vec<_> = there.chain(gone).collect();
            expected.sort_unstable();
            assert_eq!(told, expected, "{kept_max} bytes");
        }
    }
}
