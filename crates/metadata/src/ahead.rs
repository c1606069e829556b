//! Reads what many steps will look at in one trip, ahead of them.
//!
//! Planning and publishing look at each change by itself: what its name was before, where its directory
//! lies. In a store on the network each look would be a trip. So they go over changes by pages, and
//! [`ReadAhead`] first reads all that a page will look at. It stands in front of the store; what was not
//! read ahead is read when it is asked for, so a page that foresees too little only costs trips.
//!
//! It answers from what it has read. So what is read ahead must not change until the next page: states of
//! published versions, under the lease of their project.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_meta_store::{Applied, Batch, EngineFigures, MetaError, MetaStore, Read, Rows};
use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, VersionNumber};

use crate::error::Result;
use crate::view::View;

/// How many changes are looked at together.
pub(crate) const PAGE: usize = 4000;

/// How many bytes the entries that are read ahead have, as a rule.
const ENTRY_BYTES_MAX: usize = 4 << 20;

/// How many rows of directories are kept from page to page: what lies above is needed again and again.
const DIRECTORIES_MAX: usize = 65_536;

/// A store, with what was read of it ahead.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    store: Arc<dyn MetaStore>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of this page.
    names: HashMap<Read, Rows>,
    directories: HashMap<Read, Rows>,
}

impl Known {
    fn find(&self, read: &Read) -> Option<&Rows> {
        self.names.get(read).or_else(|| self.directories.get(read))
    }
}

impl ReadAhead {
    pub(crate) fn new(store: Arc<dyn MetaStore>) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// Reads what these names are in the views, and where these directories lie, and forgets the names of
    /// the page before.
    ///
    /// The names have the bytes of their keys. The views must read through this store.
    pub(crate) fn load(
        &self,
        views: &[View<'_>],
        names: &[(DirId, Vec<u8>)],
        directories: &BTreeSet<DirId>,
    ) -> Result<()> {
        self.known().names.clear();
        for view in views {
            self.load_names(view, names)?;
            self.load_directories(view, directories)?;
        }
        Ok(())
    }

    fn load_names(&self, view: &View<'_>, names: &[(DirId, Vec<u8>)]) -> Result<()> {
        if view.version == VersionNumber::ZERO {
            return Ok(());
        }
        let reads = names
            .iter()
            .flat_map(|(dir, name)| view.reads_of(*dir, name));
        let found = self.fetch(reads.collect())?;
        let closed = self.load_closed(view, &found)?;
        let mut known = self.known();
        known.names.extend(found);
        known.names.extend(closed);
        Ok(())
    }

    /// Reads the closed rows that names had in an older version; `found` has the two reads of each name.
    fn load_closed(&self, view: &View<'_>, found: &[(Read, Rows)]) -> Result<Vec<(Read, Rows)>> {
        let mut reads = Vec::new();
        for [(_, live), (_, closed)] in found.as_chunks().0 {
            reads.extend(view.read_of_closed(live, closed)?);
        }
        self.fetch(reads)
    }

    fn load_directories(&self, view: &View<'_>, wanted: &BTreeSet<DirId>) -> Result<()> {
        if self.known().directories.len() > DIRECTORIES_MAX {
            self.known().directories.clear();
        }
        self.load_unknown(wanted.iter().map(|dir| view.read_of_directory(*dir)))?;
        // A directory without a row is in a pack, and the row of its root is looked at.
        let mut packed = BTreeSet::new();
        for dir in wanted.iter().filter(|dir| **dir > DirId::ROOT) {
            if view.directory_row(*dir)?.is_none() {
                packed.insert(*dir);
            }
        }
        self.load_unknown(packed.iter().map(|dir| view.read_of_first_pack(*dir)))?;
        let mut roots = BTreeSet::new();
        for dir in packed {
            roots.extend(view.first_pack_root(dir)?);
        }
        self.load_unknown(roots.iter().map(|root| view.read_of_directory(*root)))
    }

    fn load_unknown(&self, reads: impl Iterator<Item = Read>) -> Result<()> {
        let unknown = reads.filter(|read| self.known().find(read).is_none());
        let found = self.fetch(unknown.collect())?;
        self.known().directories.extend(found);
        Ok(())
    }

    /// Reads where directories lie, then where those above them do, up to the root or one that `is_known`.
    pub(crate) fn load_above(
        &self,
        view: &View<'_>,
        directories: BTreeSet<DirId>,
        is_known: impl Fn(DirId) -> bool,
    ) -> Result<()> {
        let mut level = directories;
        let mut seen = HashSet::new();
        loop {
            level.retain(|dir| *dir != DirId::ROOT && !is_known(*dir) && seen.insert(*dir));
            if level.is_empty() {
                return Ok(());
            }
            self.load_directories(view, &level)?;
            let mut above = BTreeSet::new();
            for dir in level {
                let place = view.directory(dir)?.and_then(|row| row.place);
                above.extend(place.map(|(above, _)| above));
            }
            level = above;
        }
    }

    /// Reads the first entries of directories, of the first of them at least, and forgets the names of the
    /// page before. What is known of the first one stays as it is.
    pub(crate) fn load_entries(&self, view: &View<'_>, directories: &[DirId]) -> Result<()> {
        let reads_of = |dir: &DirId| view.reads_of_entries(*dir, PAGE_ENTRIES_MAX);
        let first = directories.first().map(reads_of);
        if first.is_none_or(|reads| reads.iter().all(|read| self.known().find(read).is_some())) {
            return Ok(());
        }
        let reads: Vec<_> = directories.iter().flat_map(reads_of).collect();
        let found = self.store.read_within(&reads, ENTRY_BYTES_MAX)?;
        let mut known = self.known();
        known.names.clear();
        known.names.extend(reads.into_iter().zip(found));
        Ok(())
    }

    fn fetch(&self, reads: Vec<Read>) -> Result<Vec<(Read, Rows)>> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.read(&reads)?;
        Ok(reads.into_iter().zip(found).collect())
    }

    /// No method panics while it holds it.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for ReadAhead {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn is_exclusive(&self) -> bool {
        self.store.is_exclusive()
    }

    fn batch_ops_max(&self) -> usize {
        self.store.batch_ops_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        let rows = self.read(&[Read::get(key)])?;
        Ok(rows.into_iter().next().and_then(Rows::into_value))
    }

    /// Reads of one call are of one point in time: all are known, or all are read.
    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        let known = self.known();
        let found: Option<Vec<_>> = reads.iter().map(|read| known.find(read).cloned()).collect();
        drop(known);
        found.map_or_else(|| self.store.read(reads), Ok)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}
