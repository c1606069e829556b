//! Which directories are being drained: what is said about their entries must not be kept.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use lfsfs_types::DirId;

/// The directories whose entries are about to change.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// So that a mount that drains nothing, which is nearly always, pays one load.
    is_active: AtomicBool,
    directories: RwLock<HashSet<DirId>>,
}

/// Ends the drain when it is dropped.
#[derive(Debug)]
pub(super) struct Drained(Arc<Drain>);

impl Drain {
    /// Begins to drain these directories; one drain at a time.
    pub(super) fn begin(self: &Arc<Self>, directories: HashSet<DirId>) -> Drained {
        self.set(directories);
        self.is_active.store(true, Ordering::SeqCst);
        Drained(Arc::clone(self))
    }

    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::SeqCst)
    }

    pub(super) fn covers(&self, dir: DirId) -> bool {
        let directories = self.directories.read();
        directories
            .expect("no holder of this lock panics")
            .contains(&dir)
    }

    fn set(&self, directories: HashSet<DirId>) {
        let mut guard = self
            .directories
            .write()
            .expect("no holder of this lock panics");
        *guard = directories;
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.0.is_active.store(false, Ordering::SeqCst);
        self.0.set(HashSet::new());
    }
}
