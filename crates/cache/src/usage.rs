//! How many bytes the cache takes, cheaply and for all processes together.
//!
//! A process counts what it writes by itself and adds it to the shared count once in a while. A
//! process that dies takes its uncounted part with it; the next eviction measures and corrects.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a small file costs on disk.
const FILE_UNIT: u64 = 4096;

/// The part of this process that is not in the shared count yet.
#[derive(Debug)]
pub(crate) struct Usage {
    pending: AtomicU64,
    step: u64,
}

impl Usage {
    /// Adds to the shared count whenever about `1/64` of the limit was written.
    pub(crate) fn new(size_max: u64) -> Self {
        Self {
            pending: AtomicU64::new(0),
            step: (size_max / 64).clamp(FILE_UNIT, 16 * 1024 * 1024),
        }
    }

    /// Counts a file or part of one. Returns true if it is time to [`publish`](Self::publish).
    pub(crate) fn add(&self, bytes: u64) -> bool {
        let bytes = bytes.next_multiple_of(FILE_UNIT);
        self.pending.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.step
    }

    /// Moves what is pending to the shared count and returns the sum. The caller holds the lock.
    ///
    /// `None` means that the sum is not known: the count is missing or makes no sense.
    pub(crate) fn publish(&self, path: &Path) -> io::Result<Option<u64>> {
        let Some(shared) = read(path)? else {
            return Ok(None);
        };
        let pending = self.pending.swap(0, Ordering::Relaxed);
        let total = shared.saturating_add(pending);
        write(path, total)?;
        Ok(Some(total))
    }

    /// Replaces the shared count by what was measured. The caller holds the lock.
    pub(crate) fn replace(&self, path: &Path, measured: u64) -> io::Result<()> {
        self.pending.store(0, Ordering::Relaxed);
        write(path, measured)
    }
}

fn read(path: &Path) -> io::Result<Option<u64>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.try_into().ok().map(u64::from_be_bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, total: u64) -> io::Result<()> {
    fs::write(path, total.to_be_bytes())
}
