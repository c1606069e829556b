//! The ordered key-value seam under all metadata, and its engines.
//!
//! [`MetaStore`] is deliberately narrow: bytes in key order, several ranges read at one point in
//! time, and atomic batches with preconditions. Everything that knows what a project or a version
//! is lives above it and is written once; an engine is a few hundred lines below it. `contract`
//! (feature `testing`) is the suite that every engine must pass.
//!
//! This crate owns the seam, the key codec ([`KeyBuilder`], [`KeyReader`]) and the engines. It must
//! not know what any key means. All calls block: callers on an async runtime use `spawn_blocking`.

#![forbid(unsafe_code)]

mod backup;
mod checksum;
#[cfg(feature = "testing")]
pub mod contract;
mod copy;
mod counted;
mod directory;
mod engine;
mod error;
mod ext;
mod figures;
mod guarded;
mod key;
mod memory_store;
mod panics;
mod redb_store;
mod sled_store;
mod snapshot;
mod txn;
mod write_behind;

use std::fmt::Debug;

pub use backup::{BackupError, BackupHead, BackupReader, BackupSummary, BackupWriter};
pub use copy::{CopyError, copy};
pub use counted::SLOW_CALL;
pub use engine::{Engine, OpenOptions, UnknownEngine};
pub use error::MetaError;
pub use ext::{Deleted, MetaStoreExt, ScanAll};
pub use figures::{CacheFigures, CallFigures, DeviceFigures, EngineFigures};
pub use key::{KeyBuilder, KeyReader};
pub use memory_store::MemoryStore;
pub use redb_store::RedbStore;
pub use sled_store::SledStore;
pub use snapshot::{Snapshot, Still};
pub use txn::{Applied, Batch, KeyRange, Precondition, Read, Row, Rows, Write};
pub use write_behind::WriteBehind;

/// How many rows are verified between two questions whether to go on.
const VERIFIED_AT_ONCE: usize = 1000;

/// An ordered byte key-value store with atomic conditional batches.
///
/// Keys compare as unsigned bytes; the empty key is never there. Reads and batches are serializable: each sees all of a batch or
/// nothing of it, and a batch is visible to every read that starts after `apply` returned. What is
/// visible is not yet durable; see [`MetaStore::flush`].
pub trait MetaStore: Send + Sync + Debug + 'static {
    /// Returns the engine's name, which is kept beside the data and checked when it is opened.
    fn name(&self) -> &'static str;

    /// Returns true if no other process can have this store open.
    ///
    /// A process that opens an exclusive store may treat the leases of earlier processes as dead.
    fn is_exclusive(&self) -> bool;

    /// Returns how many writes, and how many preconditions, one batch may have.
    fn batch_ops_max(&self) -> usize;

    /// Returns the value of `key`, or `None` if there is none.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError>;

    /// Reads several keys and ranges at one point in time; one [`Rows`] per read, in their order.
    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError>;

    /// As [`read`](Self::read), but an engine may end after the first read with which the values found have
    /// `bytes` bytes together. There is at least one answer if there is a question.
    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        let _ = bytes;
        self.read(reads)
    }

    /// Makes all writes of a batch if all its preconditions hold, else none.
    ///
    /// Returns [`Applied::Conflict`] with the index of the first precondition that failed. After an
    /// error other than [`MetaError::TooLarge`] and [`MetaError::EmptyKey`] the batch may or may not have been made, entirely.
    /// Of several writes to one key the last one counts.
    fn apply(&self, batch: Batch) -> Result<Applied, MetaError>;

    /// Makes everything durable that was applied before this call.
    ///
    /// After a crash a store holds the batches up to some point in their order, each whole, and
    /// all of those applied before the last successful flush. An error means that nothing since
    /// then may be taken for durable.
    fn flush(&self) -> Result<(), MetaError>;

    /// Returns the rows as they are now: all of each batch that was made before, and nothing of later ones,
    /// which go on meanwhile. An engine that cannot do that fails with [`MetaError::NoSnapshot`].
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, MetaError> {
        Err(MetaError::NoSnapshot {
            engine: self.name(),
        })
    }

    /// Returns what the store holds and what it did since it was opened. Counts nothing anew, so it is
    /// cheap, also for a large store. Calls are counted for a store that [`Engine::open`] returned.
    fn figures(&self) -> EngineFigures;

    /// Reads everything, beside other calls, and fails at the first damage. Returns false if `goes_on`,
    /// which is asked from time to time, ended it before.
    fn verify(&self, goes_on: &dyn Fn() -> bool) -> Result<bool, MetaError> {
        let mut range = KeyRange::all();
        while goes_on() {
            let found = self.scan(range.clone(), VERIFIED_AT_ONCE)?;
            match found.rows.last() {
                Some((last, _)) if found.more => range = range.beyond(last, false),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}
