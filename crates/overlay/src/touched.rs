//! Which files were written to, for what follows the writers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::operation::{Change, FileRange, Operation};

/// The inodes of files whose bytes changed since the last look. A file is in it once, however often it is written.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    is_watched: AtomicBool,
    files: Mutex<BTreeSet<u64>>,
}

impl Touched {
    /// Notes from now on what is written.
    pub(crate) fn watch(&self) {
        self.is_watched.store(true, Ordering::Release);
    }

    /// Notes the files that changes are about. It is called for each write.
    pub(crate) fn note(&self, changes: &[Change<'_>]) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        for change in changes {
            if let Operation::Write { ino, .. }
            | Operation::Truncate { ino, .. }
            | Operation::Share { ino, .. }
            | Operation::Fallocate { ino, .. }
            | Operation::ShareContent {
                from: FileRange { ino, .. },
                ..
            } = &change.operation
            {
                self.files().insert(*ino);
            }
        }
    }

    /// Returns what was noted, and forgets it.
    pub(crate) fn take(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *self.files())
    }

    fn files(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.files.lock().expect("no holder of this lock panics")
    }
}
