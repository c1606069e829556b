//! Where a session stages: in memory as long as that is little, then in the scratch store.
//!
//! Most commits are small. All sessions together have a part of the server's memory; a session that finds
//! none left moves what it has to the scratch store, and goes on there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_meta_store::{
    Applied, Batch, EngineFigures, KeyRange, MemoryStore, MetaError, MetaStore, MetaStoreExt as _,
    Read, Rows, Write,
};
use lfsfs_types::SessionId;

use crate::keys;
use crate::metadata::SCAN_PAGE;
use crate::staging_space::StagingSpace;

/// What a row takes beside its bytes.
const ROW_COST: usize = 128;

/// The rows of one session. They go when it is dropped.
#[derive(Debug)]
pub(super) struct StagingStore {
    session: SessionId,
    space: Arc<StagingSpace>,
    rows: Mutex<Place>,
}

/// Where the rows are.
#[derive(Debug)]
enum Place {
    /// In memory, of which so much was taken for them; what is removed or written again still counts.
    Memory(MemoryStore, usize),
    Scratch(Arc<dyn MetaStore>),
}

impl Place {
    fn store(&self) -> &dyn MetaStore {
        match self {
            Self::Memory(rows, _) => rows,
            Self::Scratch(store) => store.as_ref(),
        }
    }
}

impl StagingStore {
    pub(super) fn new(session: SessionId, space: Arc<StagingSpace>) -> Self {
        Self {
            session,
            space,
            rows: Mutex::new(Place::Memory(MemoryStore::new(), 0)),
        }
    }

    /// Returns the session that stages.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// Moves all rows to the scratch store.
    fn move_out(&self, rows: &MemoryStore) -> Result<Arc<dyn MetaStore>, MetaError> {
        let store = self.space.enter()?;
        let moved = copy(rows, store.as_ref());
        if moved.is_err() {
            self.leave(store.as_ref());
        }
        moved.map(|()| store)
    }

    /// Removes the rows from the scratch store.
    fn leave(&self, store: &dyn MetaStore) {
        if !self.space.leave() {
            return;
        }
        for rows in keys::STAGED_TABLES {
            let prefix = keys::session(rows, self.session);
            if let Err(error) = store.delete_range(KeyRange::prefix(&prefix)) {
                tracing::warn!(%error, "staged changes stay as long as others are staged");
            }
        }
    }

    /// No method panics between two changes of it.
    fn rows(&self) -> MutexGuard<'_, Place> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(rows: &MemoryStore, to: &dyn MetaStore) -> Result<(), MetaError> {
    let mut batch = Batch::new();
    for row in rows.scan_all(KeyRange::all(), SCAN_PAGE) {
        let (key, value) = row?;
        batch.put(key, value);
        if batch.len() >= to.batch_ops_max() {
            to.write(std::mem::take(&mut batch))?;
        }
    }
    to.write(batch)
}

impl Drop for StagingStore {
    fn drop(&mut self) {
        match &*self.rows() {
            Place::Memory(_, taken) => self.space.give_memory_back(*taken),
            Place::Scratch(store) => self.leave(store.as_ref()),
        }
    }
}

impl MetaStore for StagingStore {
    fn name(&self) -> &'static str {
        self.rows().store().name()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        self.rows().store().batch_ops_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.rows().store().get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.rows().store().read(reads)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        let mut place = self.rows();
        if let Place::Memory(rows, taken) = &mut *place {
            let cost = batch.writes.iter().map(cost).sum();
            if self.space.take_memory(cost) {
                *taken += cost;
                return rows.apply(batch);
            }
            let store = self.move_out(rows)?;
            self.space.give_memory_back(*taken);
            *place = Place::Scratch(store);
        }
        place.store().apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        Ok(())
    }

    fn figures(&self) -> EngineFigures {
        self.rows().store().figures()
    }
}

fn cost(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => ROW_COST + key.len() + value.len(),
        Write::Delete(_) => 0,
    }
}
