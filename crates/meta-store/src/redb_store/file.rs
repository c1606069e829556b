//! The file of redb, with counters of what is written to it.
//!
//! It is redb's own [`FileBackend`], which also holds the lock of the file; each call goes through
//! unchanged.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

use crate::DeviceFigures;
use crate::counted::{add, value};

/// What was written to a file.
#[derive(Debug, Default)]
pub(super) struct DeviceCounters {
    bytes: AtomicU64,
    syncs: AtomicU64,
}

impl DeviceCounters {
    pub(super) fn figures(&self) -> DeviceFigures {
        DeviceFigures {
            bytes: value(&self.bytes),
            syncs: value(&self.syncs),
        }
    }
}

/// A file of redb whose writes are counted.
#[derive(Debug)]
pub(super) struct CountedFile {
    file: FileBackend,
    counters: Arc<DeviceCounters>,
    is_durable: bool,
}

impl CountedFile {
    /// Opens the file, or creates it, as redb does by itself.
    pub(super) fn open(
        path: &Path,
        counters: Arc<DeviceCounters>,
        is_durable: bool,
    ) -> Result<Self, DatabaseError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let file = FileBackend::new(file)?;
        Ok(Self {
            file,
            counters,
            is_durable,
        })
    }
}

impl StorageBackend for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if !self.is_durable {
            return Ok(());
        }
        add(&self.counters.syncs, 1);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        add(&self.counters.bytes, data.len() as u64);
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
