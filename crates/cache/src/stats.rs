//! Counters of one process. No code decides by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the cache did for this process since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Blocks, footers, listings and places that were there and whole.
    pub hits: u64,
    /// Those that were not.
    pub misses: u64,
    /// Bytes that were read and verified.
    pub bytes_read: u64,
    /// Bytes that were stored.
    pub bytes_written: u64,
    /// Things that were there but not what their checksum says; each was removed.
    pub damaged: u64,
    /// Things that could not be stored.
    pub write_errors: u64,
    /// Files that this process evicted.
    pub evicted: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    damaged: AtomicU64,
    write_errors: AtomicU64,
    evicted: AtomicU64,
}

impl Counters {
    pub(crate) fn hit(&self, bytes: usize) {
        add(&self.hits, 1);
        add(&self.bytes_read, bytes as u64);
    }

    pub(crate) fn miss(&self) {
        add(&self.misses, 1);
    }

    pub(crate) fn damaged(&self) {
        add(&self.damaged, 1);
    }

    pub(crate) fn written(&self, bytes: u64) {
        add(&self.bytes_written, bytes);
    }

    pub(crate) fn write_error(&self) {
        add(&self.write_errors, 1);
    }

    pub(crate) fn evicted(&self, files: u64) {
        add(&self.evicted, files);
    }

    pub(crate) fn read(&self) -> CacheStats {
        CacheStats {
            hits: load(&self.hits),
            misses: load(&self.misses),
            bytes_read: load(&self.bytes_read),
            bytes_written: load(&self.bytes_written),
            damaged: load(&self.damaged),
            write_errors: load(&self.write_errors),
            evicted: load(&self.evicted),
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
