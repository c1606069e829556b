//! The staged changes of a session: rows of its own, written unflushed, read in key order.
//!
//! Directories that the base has come first, then those that the commit makes, each with its
//! changes together. A second table finds the staged names of one link, a third has the records that
//! are staged for links without naming their names.

use std::time::Duration;

use lfsfs_meta_store::{Applied, Batch, KeyRange, MetaStore, MetaStoreExt as _};
use lfsfs_types::{DirId, LinkId, Name, Record, SessionId};

use super::Change;
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE, get_row};
use crate::rows::{Marker, RowValue, SessionRow, StagedRow};

/// The staged changes of one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staging<'a> {
    store: &'a dyn MetaStore,
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
    pub(super) fn new(store: &'a dyn MetaStore, session: SessionId) -> Self {
        Self { store, session }
    }

    /// Returns the key of the row without which the staged changes may have been swept.
    pub(super) fn session_key(&self) -> Vec<u8> {
        keys::session(table::SESSION, self.session)
    }

    /// Adds changes, in batches that the engine takes; fails if the session was swept.
    pub(super) fn add(&self, changes: &[Change], touch: Option<Vec<u8>>) -> Result<()> {
        let session = self.session_key();
        let mut batch = Batch::new();
        if let Some(row) = touch {
            batch.put(&*session, row);
        }
        let mut changes = changes.iter().peekable();
        loop {
            while batch.len() + 2 <= self.store.batch_ops_max() {
                let Some(change) = changes.next() else { break };
                self.add_one(&mut batch, change);
            }
            batch.require_present(&*session);
            match self.store.apply(std::mem::take(&mut batch))? {
                Applied::Done if changes.peek().is_none() => return Ok(()),
                Applied::Done => {}
                Applied::Conflict { .. } => return Err(MetadataError::SessionExpired),
            }
        }
    }

    /// Writes the row of a session that is new.
    pub(super) fn open(&self, row: &SessionRow) -> Result<()> {
        let key = self.session_key();
        let mut batch = Batch::new();
        batch.require_absent(&*key).put(&*key, row.encode());
        match self.store.apply(batch)? {
            Applied::Done => Ok(()),
            Applied::Conflict { .. } => Err(MetadataError::SessionExpired),
        }
    }

    /// Notes that the session is in use; fails if it was swept.
    pub(super) fn renew(&self, row: Vec<u8>) -> Result<()> {
        let session = self.session_key();
        let mut batch = Batch::new();
        batch.require_present(&*session).put(&*session, row);
        match self.store.apply(batch)? {
            Applied::Done => Ok(()),
            Applied::Conflict { .. } => Err(MetadataError::SessionExpired),
        }
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
        self.scan(KeyRange::prefix(&keys::session(
            table::STAGED,
            self.session,
        )))
    }

    /// Returns the changes in directories that the base has.
    pub(super) fn in_base_directories(&self) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.scan(KeyRange::new(
            keys::session(table::STAGED, self.session),
            keys::staged_in(self.session, DirId::SESSION_FIRST),
        ))
    }

    /// Returns the changes in one directory.
    pub(super) fn in_directory(
        &self,
        dir: DirId,
    ) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.scan(KeyRange::prefix(&keys::staged_in(self.session, dir)))
    }

    fn scan(&self, range: KeyRange) -> impl Iterator<Item = Result<Change>> + use<'a> {
        self.store.scan_all(range, SCAN_PAGE).map(|row| {
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

    /// Removes everything, first what lets further changes in.
    pub(super) fn remove(&self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(keys::session(table::SESSION, self.session));
        self.store.write(batch)?;
        self.remove_rows()?;
        Ok(())
    }

    fn remove_rows(&self) -> Result<u64> {
        let mut removed = 0;
        for rows in keys::STAGED_TABLES {
            let prefix = keys::session(rows, self.session);
            removed += self.store.delete_range(KeyRange::prefix(&prefix))?;
        }
        Ok(removed)
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

/// Removes what the sessions left of which `is_over` says so. Returns how many rows that was.
pub(super) fn sweep(
    metadata: &Metadata,
    is_over: impl Fn(SessionId) -> Result<bool>,
) -> Result<u64> {
    let mut removed = 0;
    for rows in [table::SESSION].into_iter().chain(keys::STAGED_TABLES) {
        let mut rest = KeyRange::prefix(&[rows]);
        while let Some((key, _)) = metadata.store().first(rest.clone())? {
            let session = session_of(rows, &key)?;
            if is_over(session)? {
                removed += sweep_rows(metadata, session)?;
            }
            if metadata.stops() {
                return Ok(removed);
            }
            let behind = KeyRange::prefix(&keys::session(rows, session)).end;
            rest.start = behind.unwrap_or_else(|| vec![rows + 1]);
        }
    }
    Ok(removed)
}

/// Removes the staged rows of one session, until the process ends.
fn sweep_rows(metadata: &Metadata, session: SessionId) -> Result<u64> {
    let mut removed = 0;
    for rows in keys::STAGED_TABLES {
        let range = KeyRange::prefix(&keys::session(rows, session));
        let mut more = true;
        while more && !metadata.stops() {
            let page = metadata.store().delete_page(range.clone())?;
            removed += page.removed;
            more = page.more;
        }
    }
    Ok(removed)
}

fn session_of(rows: u8, key: &[u8]) -> Result<SessionId> {
    let mut reader = lfsfs_meta_store::KeyReader::new(key);
    reader.expect_tag(rows)?;
    Ok(SessionId(reader.fixed()?))
}

/// Returns true if a session has no row, or had one that its client did not use for `idle`. It has
/// none on return.
pub(super) fn is_over(metadata: &Metadata, session: SessionId, idle: Duration) -> Result<bool> {
    let key = keys::session(table::SESSION, session);
    let Some(value) = metadata.store().get(&key)? else {
        return Ok(true);
    };
    let touched = SessionRow::decode(&key, &value)?.touched;
    let idle = i64::try_from(idle.as_secs()).unwrap_or(i64::MAX);
    if metadata.now().secs.saturating_sub(touched.secs) < idle {
        return Ok(false);
    }
    let mut batch = Batch::new();
    batch.require_equals(&*key, value).delete(&*key);
    Ok(metadata.store().apply(batch)?.is_done())
}

/// Returns true if an earlier process drew the id of a session. It has no row on return.
pub(super) fn is_earlier(metadata: &Metadata, session: SessionId) -> Result<bool> {
    if metadata.is_own(session) {
        return Ok(false);
    }
    let mut batch = Batch::new();
    batch.delete(keys::session(table::SESSION, session));
    metadata.store().write(batch)?;
    Ok(true)
}
