//! The memory for what commit sessions stage.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that all sessions together may take.
#[derive(Debug)]
pub(crate) struct StagingMemory {
    left: AtomicUsize,
}

impl StagingMemory {
    /// Returns so much memory, of which nothing is taken.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            left: AtomicUsize::new(bytes),
        }
    }

    /// Takes some of it, if so much is left.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
