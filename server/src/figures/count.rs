//! A number that many tasks add to. It has no order among other numbers: figures of one moment may differ by what
//! happens at that moment.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that many tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts one until what is returned is dropped.
    pub(crate) fn begin(&self) -> Counting<'_> {
        self.add(1);
        Counting(self)
    }

    pub(crate) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted.
#[derive(Debug)]
pub(crate) struct Counting<'a>(&'a Count);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}
