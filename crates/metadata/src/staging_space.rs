//! The space for what commit sessions stage: some memory, and a scratch store beyond it.
//!
//! What is staged need not survive the process. So it is not in the store of the metadata, which would grow
//! by it and make it durable. The scratch store is there as long as some session has rows in it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_meta_store::{Engine, MemoryStore, MetaError, MetaStore, OpenOptions};

/// How much memory commits may stage in, and where they stage what does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingPlace {
    /// Bytes of memory, of all commits together.
    pub memory: usize,
    /// The directory of the scratch store, which is this process's own: what is in it is removed. Without
    /// one the scratch store is in memory, too.
    pub scratch: Option<PathBuf>,
    /// Bytes of memory for pages of the scratch store.
    pub cache_bytes: usize,
}

impl Default for StagingPlace {
    /// Everything in memory.
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            scratch: None,
            cache_bytes: 8 << 20,
        }
    }
}

/// The space of one process.
#[derive(Debug)]
pub(crate) struct StagingSpace {
    place: StagingPlace,
    memory_left: AtomicUsize,
    scratch: Mutex<Scratch>,
}

/// The scratch store, and how many sessions have rows in it.
#[derive(Debug, Default)]
struct Scratch {
    store: Option<Arc<dyn MetaStore>>,
    sessions: usize,
}

impl StagingSpace {
    /// Removes what an earlier process left in the place.
    pub(crate) fn new(place: StagingPlace) -> Result<Self, MetaError> {
        let space = Self {
            memory_left: AtomicUsize::new(place.memory),
            place,
            scratch: Mutex::default(),
        };
        space.remove_directory()?;
        Ok(space)
    }

    /// Takes some memory, if so much is left.
    pub(crate) fn take_memory(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self
            .memory_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }

    pub(crate) fn give_memory_back(&self, bytes: usize) {
        self.memory_left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lets one more session have rows in the scratch store.
    pub(crate) fn enter(&self) -> Result<Arc<dyn MetaStore>, MetaError> {
        let mut scratch = self.scratch();
        let store = match &scratch.store {
            Some(store) => Arc::clone(store),
            None => Arc::clone(scratch.store.insert(self.new_store()?)),
        };
        scratch.sessions += 1;
        Ok(store)
    }

    /// Says that a session ends that has rows in the scratch store. Returns true if others have, and its
    /// rows must be removed; the store is gone if none has.
    pub(crate) fn leave(&self) -> bool {
        let mut scratch = self.scratch();
        scratch.sessions -= 1;
        if scratch.sessions > 0 {
            return true;
        }
        // Removed before it is closed: what is closed is written once more.
        if let Err(error) = self.remove_directory() {
            tracing::warn!(%error, "staged changes stay until the next start");
        }
        scratch.store = None;
        false
    }

    fn new_store(&self) -> Result<Arc<dyn MetaStore>, MetaError> {
        let Some(directory) = &self.place.scratch else {
            return Ok(Arc::new(MemoryStore::new()));
        };
        self.remove_directory()?;
        let options = OpenOptions {
            cache_bytes: self.place.cache_bytes,
            ..OpenOptions::scratch()
        };
        Engine::Redb.open_with(directory, options)
    }

    fn remove_directory(&self) -> Result<(), MetaError> {
        match &self.place.scratch {
            Some(directory) => remove(directory),
            None => Ok(()),
        }
    }

    /// No method panics between two changes of it.
    fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(directory: &Path) -> Result<(), MetaError> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(MetaError::Io {
            act: "remove",
            path: directory.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

impl Drop for StagingSpace {
    fn drop(&mut self) {
        let _ = self.remove_directory();
    }
}
