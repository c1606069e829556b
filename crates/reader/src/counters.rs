//! Counts of what goes to servers, for people who look; nothing here decides anything.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that several threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a [`crate::ContentReader`] did so far, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Decoded blocks in memory.
    pub blocks: u64,
    /// Bytes of them.
    pub blocks_len: u64,
    /// Calls to resolve contents.
    pub resolves: u64,
    /// Calls to read from chunks.
    pub reads: u64,
    /// Bytes that these brought.
    pub bytes: u64,
    /// Answers of servers that were not what they should be; none was served.
    pub damaged: u64,
}

/// Counts what goes to servers.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) resolves: Counter,
    pub(crate) reads: Counter,
    pub(crate) bytes: Counter,
    pub(crate) damaged: Counter,
}
