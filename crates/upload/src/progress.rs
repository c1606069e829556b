//! How far an import or a commit is, for whoever draws a bar.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that grow while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    entries: AtomicU64,
    bytes_read: AtomicU64,
    bytes_sent: AtomicU64,
    contents_sent: AtomicU64,
    changes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressFigures {
    /// Entries looked at.
    pub entries: u64,
    /// Bytes of files read and hashed.
    pub bytes_read: u64,
    /// Bytes of chunks sent.
    pub bytes_sent: u64,
    /// Contents sent in them.
    pub contents_sent: u64,
    /// Entries that differ.
    pub changes: u64,
}

impl Progress {
    /// Returns the counters.
    #[must_use]
    pub fn figures(&self) -> ProgressFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressFigures {
            entries: read(&self.entries),
            bytes_read: read(&self.bytes_read),
            bytes_sent: read(&self.bytes_sent),
            contents_sent: read(&self.contents_sent),
            changes: read(&self.changes),
        }
    }

    /// Counts an entry that was looked at.
    pub fn entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read and hashed.
    pub fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes and contents that were sent.
    pub fn sent(&self, bytes: u64, contents: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.contents_sent.fetch_add(contents, Ordering::Relaxed);
    }

    /// Counts an entry that differs.
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}
