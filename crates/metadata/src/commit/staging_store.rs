//! Where a session stages: in memory as long as that is little, then in the store.
//!
//! Staged rows need not survive anything. Most commits are small, and would write each change to the store
//! twice and read it back four times. All sessions together have a part of the server's memory; a session
//! that finds none left moves what it has to the store, and goes on there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_meta_store::{
    Applied, Batch, EngineFigures, KeyRange, MemoryStore, MetaError, MetaStore, MetaStoreExt as _,
    Read, Rows, Write,
};

use crate::metadata::SCAN_PAGE;
use crate::staging_memory::StagingMemory;

/// What a row takes beside its bytes.
const ROW_COST: usize = 128;

/// The rows of one session.
#[derive(Debug)]
pub(super) struct StagingStore {
    store: Arc<dyn MetaStore>,
    memory: Arc<StagingMemory>,
    /// `None` once they are in the store.
    rows: Mutex<Option<InMemory>>,
}

#[derive(Debug, Default)]
struct InMemory {
    rows: MemoryStore,
    /// What was taken for them; what is removed or written again still counts.
    taken: usize,
}

impl StagingStore {
    pub(super) fn new(store: Arc<dyn MetaStore>, memory: Arc<StagingMemory>) -> Self {
        Self {
            store,
            memory,
            rows: Mutex::new(Some(InMemory::default())),
        }
    }

    /// Returns true if the rows are in the store, where a sweep may find them.
    pub(super) fn is_stored(&self) -> bool {
        self.rows().is_none()
    }

    /// Moves all rows to the store: the session's own row first, as the order of keys is, so that no sweep
    /// takes the others for rows without a session.
    fn move_to_store(&self, rows: &MemoryStore) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        for row in rows.scan_all(KeyRange::all(), SCAN_PAGE) {
            let (key, value) = row?;
            batch.put(key, value);
            if batch.len() >= self.store.batch_ops_max() {
                self.store.write(std::mem::take(&mut batch))?;
            }
        }
        self.store.write(batch)
    }

    /// No method panics between two changes of it.
    fn rows(&self) -> MutexGuard<'_, Option<InMemory>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StagingStore {
    fn drop(&mut self) {
        if let Some(rows) = self.rows().take() {
            self.memory.give_back(rows.taken);
        }
    }
}

impl MetaStore for StagingStore {
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
        match &*self.rows() {
            Some(memory) => memory.rows.get(key),
            None => self.store.get(key),
        }
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        match &*self.rows() {
            Some(memory) => memory.rows.read(reads),
            None => self.store.read(reads),
        }
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        let mut rows = self.rows();
        if let Some(memory) = &mut *rows {
            let cost = batch.writes.iter().map(cost).sum();
            if self.memory.take(cost) {
                memory.taken += cost;
                return memory.rows.apply(batch);
            }
            self.move_to_store(&memory.rows)?;
            self.memory.give_back(memory.taken);
            *rows = None;
        }
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

fn cost(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => ROW_COST + key.len() + value.len(),
        Write::Delete(_) => 0,
    }
}
