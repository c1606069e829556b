//! The staged changes of a session: rows of its own, read in key order.
//!
//! Directories that the base has come first, then those that the commit makes, each with its
//! changes together. A second table finds the staged names of one link, a third has the records that
//! are staged for links without naming their names.

use lfsfs_meta_store::{Batch, KeyRange, MetaStore as _, MetaStoreExt as _};
use lfsfs_types::{DirId, LinkId, Name, Record, SessionId};

use super::Change;
use super::staging_store::StagingStore;
use crate::ahead::PAGE;
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{SCAN_PAGE, get_row};
use crate::rows::{Marker, RowValue, StagedRow};

/// The staged changes of one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staging<'a> {
    store: &'a StagingStore,
    session: SessionId,
}

/// A name that is staged with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkedName {
    pub(super) link: LinkId,
    pub(super) dir: DirId,
    pub(super) name: Option<Name>,
}

impl<'a> Staging<'a> {
    pub(super) fn new(store: &'a StagingStore) -> Self {
        let session = store.session();
        Self { store, session }
    }

    /// Adds changes, in batches that the engine takes.
    pub(super) fn add(&self, changes: &[Change]) -> Result<()> {
        // One change may be two rows.
        for some in changes.chunks(self.store.batch_ops_max() / 2) {
            let mut batch = Batch::new();
            for change in some {
                self.add_one(&mut batch, change);
            }
            self.store.write(batch)?;
        }
        Ok(())
    }

    fn add_one(&self, batch: &mut Batch, change: &Change) {
        if let Some(link) = change.of_link() {
            let state = change.state.clone();
            let key = keys::staged_link_record(self.session, link);
            batch.put(key, StagedRow { state }.encode());
            return;
        }
        let name = keys::name_bytes(change.name.as_ref());
        if let Some(link) = change.state.as_ref().and_then(|record| record.link) {
            let key = keys::staged_link(self.session, link.id, change.dir, name);
            batch.put(key, Marker.encode());
        }
        let row = StagedRow {
            state: change.state.clone(),
        };
        batch.put(keys::staged(self.session, change.dir, name), row.encode());
    }

    /// Returns all changes in key order. Rows may be added and removed meanwhile.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.scan(self.everything(), SCAN_PAGE)
    }

    /// Returns all changes in key order, many at once. Rows may be added and removed between two pages.
    pub(super) fn pages(&self) -> impl Iterator<Item = Result<Vec<Change>>> + use<'a> {
        self.pages_of(self.everything())
    }

    /// Returns the changes in directories that the base has, many at once.
    pub(super) fn pages_in_base_directories(
        &self,
    ) -> impl Iterator<Item = Result<Vec<Change>>> + use<'a> {
        self.pages_of(self.base_directories())
    }

    /// Returns the changes in one directory, many at once.
    pub(super) fn pages_in_directory(
        &self,
        dir: DirId,
    ) -> impl Iterator<Item = Result<Vec<Change>>> + use<'a> {
        self.pages_of(KeyRange::prefix(&keys::staged_in(self.session, dir)))
    }

    fn pages_of(&self, range: KeyRange) -> impl Iterator<Item = Result<Vec<Change>>> + use<'a> {
        let mut all = self.scan(range, PAGE);
        std::iter::from_fn(move || {
            let page: Result<Vec<_>> = all.by_ref().take(PAGE).collect();
            let is_end = page.as_ref().is_ok_and(Vec::is_empty);
            (!is_end).then_some(page)
        })
    }

    /// Returns all changes if there are at most `max` of them.
    pub(super) fn few(&self, max: usize) -> Result<Option<Vec<Change>>> {
        let first = self.scan(self.everything(), max + 1).take(max + 1);
        let found: Vec<_> = first.collect::<Result<_>>()?;
        Ok(Some(found).filter(|found| found.len() <= max))
    }

    fn everything(&self) -> KeyRange {
        KeyRange::prefix(&keys::session(table::STAGED, self.session))
    }

    fn base_directories(&self) -> KeyRange {
        KeyRange::new(
            keys::session(table::STAGED, self.session),
            keys::staged_in(self.session, DirId::SESSION_FIRST),
        )
    }

    /// Returns the changes in directories that the base has.
    pub(super) fn in_base_directories(&self) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.scan(self.base_directories(), SCAN_PAGE)
    }

    /// Returns the changes in one directory.
    pub(super) fn in_directory(
        &self,
        dir: DirId,
    ) -> impl Iterator<Item = Result<Change>> + use<'a> {
        let prefix = keys::staged_in(self.session, dir);
        self.scan(KeyRange::prefix(&prefix), SCAN_PAGE)
    }

    fn scan(&self, range: KeyRange, page: usize) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.store.scan_all(range, page).map(|row| {
            let (key, value) = row?;
            let (dir, name) = keys::decode_staged(&key)?;
            let state = StagedRow::decode(&key, &value)?.state;
            Ok(Change { dir, name, state })
        })
    }

    /// Returns the names staged with a link, those of one link together.
    pub(super) fn linked_names(&self) -> impl Iterator<Item = Result<LinkedName>> + use<'a> {
        self.scan_links(&keys::session(table::STAGED_LINK, self.session))
    }

    /// Returns the names staged with one link.
    pub(super) fn linked_names_of(
        &self,
        link: LinkId,
    ) -> impl Iterator<Item = Result<LinkedName>> + use<'a> {
        self.scan_links(&keys::staged_links_of(self.session, link))
    }

    /// Returns the records that are staged for links, in the order of the links.
    pub(super) fn link_records(&self) -> impl Iterator<Item = Result<Record>> + use<'a> {
        let prefix = keys::session(table::STAGED_LINK_RECORD, self.session);
        let rows = self.store.scan_all(KeyRange::prefix(&prefix), SCAN_PAGE);
        rows.filter_map(|row| {
            let decoded = row
                .map_err(MetadataError::from)
                .and_then(|(key, value)| Ok(StagedRow::decode(&key, &value)?.state));
            decoded.transpose()
        })
    }

    /// Returns the record that is staged for a link.
    pub(super) fn link_record(&self, link: LinkId) -> Result<Option<Record>> {
        let key = keys::staged_link_record(self.session, link);
        let row: Option<StagedRow> = get_row(self.store, &key)?;
        Ok(row.and_then(|row| row.state))
    }

    fn scan_links(&self, prefix: &[u8]) -> impl Iterator<Item = Result<LinkedName>> + use<'a> {
        let range = KeyRange::prefix(prefix);
        self.store.scan_all(range, SCAN_PAGE).map(|row| {
            let (link, dir, name) = keys::decode_staged_link(&row?.0)?;
            Ok(LinkedName { link, dir, name })
        })
    }

    /// Returns the change staged for a name.
    pub(super) fn get(&self, dir: DirId, name: Option<&Name>) -> Result<Option<StagedRow>> {
        let key = keys::staged(self.session, dir, keys::name_bytes(name));
        get_row(self.store, &key)
    }
}

/// Changes of staged rows that are collected into batches.
#[derive(Debug)]
pub(super) struct StagingEdits<'a> {
    staging: Staging<'a>,
    batch: Batch,
}

impl<'a> StagingEdits<'a> {
    pub(super) fn new(staging: Staging<'a>) -> Self {
        Self {
            staging,
            batch: Batch::new(),
        }
    }

    /// Takes a change back.
    pub(super) fn drop_change(&mut self, dir: DirId, name: Option<&Name>) -> Result<()> {
        let key = keys::staged(self.staging.session, dir, keys::name_bytes(name));
        self.batch.delete(key);
        self.write_if_full()
    }

    /// Sets what a name shall be.
    pub(super) fn set(&mut self, change: &Change) -> Result<()> {
        self.staging.add_one(&mut self.batch, change);
        self.write_if_full()
    }

    /// Adds the removal of a name.
    pub(super) fn remove_name(&mut self, dir: DirId, name: &Name) -> Result<()> {
        let key = keys::staged(self.staging.session, dir, name.as_bytes());
        self.batch.put(key, StagedRow { state: None }.encode());
        self.write_if_full()
    }

    /// Makes all changes visible.
    pub(super) fn finish(&mut self) -> Result<()> {
        Ok(self.staging.store.write(std::mem::take(&mut self.batch))?)
    }

    fn write_if_full(&mut self) -> Result<()> {
        // One more change may be two rows.
        if self.batch.len() + 1 < self.staging.store.batch_ops_max() {
            return Ok(());
        }
        self.finish()
    }
}
