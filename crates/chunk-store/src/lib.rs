//! Where a datanode keeps its chunks.
//!
//! [`ChunkStore`] is the seam: immutable containers, named by the SHA-256 of their bytes, written
//! once, read in ranges. A chunk is there only when it is whole, verified down to the hash of every
//! content in it, and durable. [`DiskChunkStore`] keeps them as files (docs/formats.md "Chunk
//! store"), [`MemoryChunkStore`] in memory; `contract` (feature `testing`) is the suite that both
//! pass.
//!
//! This crate knows no network and no metadata. All calls block: callers on an async runtime use
//! `spawn_blocking`.

#![forbid(unsafe_code)]

#[cfg(feature = "testing")]
pub mod contract;
mod disk;
mod error;
mod memory;
mod spread;
mod verify;

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use lfsfs_types::{ChunkId, ChunkInfo, ContentPlace};

pub use disk::DiskChunkStore;
pub use error::ChunkStoreError;
pub use memory::MemoryChunkStore;
pub use spread::SpreadChunkStore;
pub use verify::ChunkDamage;

/// A chunk that was verified, with all that its footer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    /// What it takes to read and check it.
    pub info: ChunkInfo,
    /// Every content in it, and where.
    pub contents: Vec<ContentPlace>,
}

/// What changes when the file of a chunk is replaced or written to. Damage of the disk does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStamp {
    /// The number of the file.
    pub file: u64,
    /// When it was changed last, in nanoseconds.
    pub changed: i128,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// What its disk can hold.
    pub total_bytes: u64,
    /// What of that is free.
    pub free_bytes: u64,
    /// How many chunks there are.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub chunk_bytes: u64,
    /// True if no chunk, however small, would be taken.
    pub is_full: bool,
    /// Disks that cannot be read any more; what is on them is not counted.
    pub failed_disks: usize,
}

/// Keeps chunks. Every method may be called from many threads at once.
pub trait ChunkStore: Send + Sync + Debug + 'static {
    /// Returns the name of the kind of store, which lies beside its data and is checked on open.
    fn name(&self) -> &'static str;

    /// Starts to write a chunk of `len` bytes, whose space is set aside at once.
    ///
    /// No reader sees the chunk before [`ChunkWriter::commit`]. Several writers of one chunk do not
    /// disturb each other.
    ///
    /// # Errors
    /// [`ChunkStoreError::Full`] if less than the reserve would stay free.
    fn begin(&self, id: ChunkId, len: u64) -> Result<Box<dyn ChunkWriter>, ChunkStoreError>;

    /// Opens a chunk for reading. It can be read through to its end even if it is deleted meanwhile.
    fn open(&self, id: ChunkId) -> Result<Box<dyn ChunkReader>, ChunkStoreError>;

    /// Reads a whole chunk and verifies it: its id, its blocks, and the hash of each content.
    ///
    /// # Errors
    /// [`ChunkStoreError::Damaged`] if it is not what it was; it stays where it is.
    fn verify(&self, id: ChunkId) -> Result<StoredChunk, ChunkStoreError>;

    /// Lets the next read of a chunk come from the disk, where that can be done.
    fn drop_cached(&self, id: ChunkId) {
        let _ = id;
    }

    /// Moves a damaged chunk aside, so that it can be stored again. It is absent afterwards.
    fn quarantine(&self, id: ChunkId) -> Result<(), ChunkStoreError>;

    /// Removes a chunk, durably on return. Returns false if there was none.
    fn delete(&self, id: ChunkId) -> Result<bool, ChunkStoreError>;

    /// Returns up to `limit` ids in their order, those above `after`.
    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkStoreError>;

    /// Returns how full the store is.
    fn stats(&self) -> Result<StoreStats, ChunkStoreError>;
}

/// A chunk being written. Dropping it leaves nothing behind.
pub trait ChunkWriter: Send + Debug {
    /// Appends bytes.
    fn write(&mut self, data: &[u8]) -> Result<(), ChunkStoreError>;

    /// Verifies the chunk and makes it visible. On return it is durable.
    ///
    /// # Errors
    /// [`ChunkStoreError::Rejected`] if the bytes are not the chunk that was announced.
    fn commit(self: Box<Self>) -> Result<StoredChunk, ChunkStoreError>;
}

/// An open chunk.
pub trait ChunkReader: Send + Sync + Debug {
    /// Returns its length in bytes.
    fn chunk_len(&self) -> u64;

    /// Returns what tells its file from another one, and from itself before it was written to.
    fn stamp(&self) -> ChunkStamp;

    /// Reads a range, exactly.
    ///
    /// A range alone cannot be verified. Its receiver verifies it, by footer and block hashes.
    ///
    /// # Errors
    /// [`ChunkStoreError::Range`] if it does not lie in the chunk.
    fn read(&self, range: Range<u64>) -> Result<Bytes, ChunkStoreError>;
}
