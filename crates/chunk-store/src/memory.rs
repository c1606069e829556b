//! Chunks in memory: for tests, and as the shortest description of what a store does.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lfsfs_types::ChunkId;

use crate::verify::{check_len, check_range, verify};
use crate::{
    ChunkReader, ChunkStamp, ChunkStore, ChunkStoreError, ChunkWriter, StoreStats, StoredChunk,
};

/// Keeps chunks as long as it lives, up to a number of bytes.
#[derive(Debug, Clone)]
pub struct MemoryChunkStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chunks: BTreeMap<ChunkId, Bytes>,
    capacity: u64,
    used: u64,
}

impl MemoryChunkStore {
    /// Creates an empty store for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let state = State {
            chunks: BTreeMap::new(),
            capacity,
            used: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Replaces the bytes of a stored chunk, as a failing disk would.
    pub fn damage(&self, id: ChunkId, bytes: Bytes) {
        self.lock().chunks.insert(id, bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two related changes of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: ChunkId) -> Result<Bytes, ChunkStoreError> {
        let found = self.lock().chunks.get(&id).cloned();
        found.ok_or(ChunkStoreError::NotFound { id })
    }

    fn remove(&self, id: ChunkId) -> bool {
        let mut state = self.lock();
        let removed = state.chunks.remove(&id);
        state.used -= removed.as_ref().map_or(0, |bytes| bytes.len() as u64);
        removed.is_some()
    }
}

impl ChunkStore for MemoryChunkStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn begin(&self, id: ChunkId, len: u64) -> Result<Box<dyn ChunkWriter>, ChunkStoreError> {
        check_len(len)?;
        let mut state = self.lock();
        let free = state.capacity - state.used;
        if len > free {
            return Err(ChunkStoreError::Full {
                free,
                reserve: 0,
                needed: len,
            });
        }
        state.used += len;
        drop(state);
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            id,
            len,
            bytes: Vec::new(),
            is_stored: false,
        }))
    }

    fn open(&self, id: ChunkId) -> Result<Box<dyn ChunkReader>, ChunkStoreError> {
        let bytes = self.find(id)?;
        Ok(Box::new(MemoryReader { id, bytes }))
    }

    fn verify(&self, id: ChunkId) -> Result<StoredChunk, ChunkStoreError> {
        let bytes = self.find(id)?;
        let len = bytes.len() as u64;
        verify(id, Cursor::new(bytes), len)
            .map_err(|source| ChunkStoreError::Damaged { id, source })
    }

    fn quarantine(&self, id: ChunkId) -> Result<(), ChunkStoreError> {
        if self.remove(id) {
            Ok(())
        } else {
            Err(ChunkStoreError::NotFound { id })
        }
    }

    fn delete(&self, id: ChunkId) -> Result<bool, ChunkStoreError> {
        Ok(self.remove(id))
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkStoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.lock();
        let ids = state.chunks.range((start, Bound::Unbounded)).take(limit);
        Ok(ids.map(|(id, _)| *id).collect())
    }

    fn stats(&self) -> Result<StoreStats, ChunkStoreError> {
        let state = self.lock();
        Ok(StoreStats {
            total_bytes: state.capacity,
            free_bytes: state.capacity - state.used,
            chunks: state.chunks.len() as u64,
            chunk_bytes: state.chunks.values().map(|chunk| chunk.len() as u64).sum(),
            is_full: state.used == state.capacity,
            failed_disks: 0,
        })
    }
}

#[derive(Debug)]
struct MemoryWriter {
    store: MemoryChunkStore,
    id: ChunkId,
    len: u64,
    bytes: Vec<u8>,
    is_stored: bool,
}

impl ChunkWriter for MemoryWriter {
    fn write(&mut self, data: &[u8]) -> Result<(), ChunkStoreError> {
        let written = self.bytes.len() as u64 + data.len() as u64;
        if written > self.len {
            let len = self.len;
            return Err(ChunkStoreError::WrongLength { written, len });
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<StoredChunk, ChunkStoreError> {
        let (id, len, written) = (self.id, self.len, self.bytes.len() as u64);
        if written != len {
            return Err(ChunkStoreError::WrongLength { written, len });
        }
        let stored = verify(id, Cursor::new(&self.bytes), len)
            .map_err(|source| ChunkStoreError::Rejected { id, source })?;
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        // The space set aside becomes the chunk's own, unless the chunk was there already.
        self.is_stored = self.store.lock().chunks.insert(id, bytes).is_none();
        Ok(stored)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        if !self.is_stored {
            self.store.lock().used -= self.len;
        }
    }
}

#[derive(Debug)]
struct MemoryReader {
    id: ChunkId,
    bytes: Bytes,
}

impl ChunkReader for MemoryReader {
    fn chunk_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn stamp(&self) -> ChunkStamp {
        // Bytes that are written anew lie elsewhere.
        let file = self.bytes.as_ptr().addr() as u64;
        ChunkStamp { file, changed: 0 }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, ChunkStoreError> {
        let range = check_range(self.id, range, self.chunk_len())?;
        Ok(self.bytes.slice(range))
    }
}
