//! Repacking: packs follow the patterns of their project after these have changed.
//!
//! The newest version becomes another one that shows just the same. Only what must be kept elsewhere is written: names
//! whose directory comes into a pack, leaves one, or comes into another one. Older versions stay as they are kept until
//! they expire.

use std::collections::HashMap;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::limits::PACK_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, ProjectId, Record};

use super::{Change, CommitSession, MadeParams, Mode, Published};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::pack::is_packable;
use crate::pack::patterns::PackPatterns;
use crate::view::View;

impl Metadata {
    /// Publishes a version that is kept as the pack patterns of the project say, and shows what the newest one does.
    ///
    /// Publishes nothing if all is kept so already.
    pub fn repack(&self, params: &MadeParams) -> Result<Published> {
        let mark = keys::repack(params.project);
        let seen = self.store().get(&mark)?;
        let published = self.publish_repacked(params)?;
        if let Some(seen) = seen {
            let mut batch = Batch::new();
            // After a conflict the patterns have changed again, and the next call follows them.
            batch.require_equals(&*mark, seen).delete(mark.as_slice());
            self.store().apply(batch).map(drop)?;
        }
        Ok(published)
    }

    /// Returns the projects whose packs do not follow their patterns yet.
    pub fn projects_to_repack(&self) -> Result<Vec<ProjectId>> {
        let marks = self
            .store()
            .scan_all(KeyRange::prefix(&[table::REPACK]), SCAN_PAGE);
        let ids = marks.map(|row| Ok(ProjectId(keys::decode_id(table::REPACK, &row?.0)?)));
        ids.collect()
    }

    fn publish_repacked(&self, params: &MadeParams) -> Result<Published> {
        let patterns = self.pack_patterns(params.project)?;
        let commit = |base| params.commit(base);
        self.publish_on_newest(params.project, Mode::Repack, commit, |session, newest| {
            let repacked = plan(newest, &patterns)?;
            stage(session, newest, &repacked)?;
            session.repacked = repacked;
            Ok(())
        })
    }
}

/// In which packs the directories of a version come.
#[derive(Debug, Default)]
pub(super) struct Repacked {
    /// The root of the pack of each directory, if it comes into one.
    roots: HashMap<DirId, Option<DirId>>,
}

impl Repacked {
    pub(super) fn root_of(&self, dir: DirId) -> Option<DirId> {
        self.roots.get(&dir).copied().flatten()
    }

    /// Returns all directories, each with the root of the pack that it comes into.
    pub(super) fn dirs(&self) -> impl Iterator<Item = (DirId, Option<DirId>)> {
        self.roots.iter().map(|(dir, root)| (*dir, *root))
    }

    /// Returns whether a pack has an object of a directory afterwards.
    fn takes(&self, dir: DirId, record: &Record) -> bool {
        let root = self.root_of(dir);
        let below_too = record.dir().is_none_or(|below| self.root_of(below) == root);
        root.is_some() && is_packable(record) && below_too
    }
}

/// Decides the packs of a version.
fn plan(version: View<'_>, patterns: &PackPatterns) -> Result<Repacked> {
    let mut roots = HashMap::from([(DirId::ROOT, None)]);
    let mut sizes = HashMap::<DirId, usize>::new();
    let mut found = vec![(DirId::ROOT, Vec::new())];
    while let Some((dir, path)) = found.pop() {
        let above = roots.get(&dir).copied().flatten();
        version.for_each_entry(dir, |name, record| {
            if let Some(root) = above {
                *sizes.entry(root).or_default() += 1;
            }
            let Some(below) = record.dir() else {
                return Ok(());
            };
            let path = joined(&path, &name);
            let root = match above {
                Some(root) => Some(root).filter(|_| is_packable(&record)),
                None => patterns.matches(&path).then_some(below),
            };
            roots.insert(below, root);
            found.push((below, path));
            Ok(())
        })?;
    }
    let is_too_large = |root: &DirId| sizes.get(root).is_some_and(|size| *size > PACK_ENTRIES_MAX);
    for root in roots.values_mut() {
        *root = root.filter(|root| !is_too_large(root));
    }
    Ok(Repacked { roots })
}

/// Stages the names that are kept elsewhere afterwards, as they are.
fn stage(session: &mut CommitSession, version: View<'_>, repacked: &Repacked) -> Result<()> {
    let mut changes = Vec::new();
    for (dir, root) in repacked.dirs() {
        let pack = version.pack_of(dir)?;
        if pack.is_none() && root.is_none() {
            continue;
        }
        version.for_each_entry(dir, |name, record| {
            let pack = pack.as_ref();
            let pack = pack.filter(|pack| pack.get(dir, &name).is_some());
            let before = pack.map(|pack| pack.root());
            let after = root.filter(|_| repacked.takes(dir, &record));
            if before != after {
                changes.push(Change {
                    dir,
                    name: Some(name),
                    state: Some(record),
                });
            }
            if changes.len() >= SCAN_PAGE {
                session.stage(std::mem::take(&mut changes))?;
            }
            Ok(())
        })?;
    }
    session.stage(changes)
}

fn joined(path: &[u8], name: &Name) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name.as_bytes());
    joined
}
