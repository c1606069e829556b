//! Packs that were read lately, decoded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_types::{DirId, ProjectId, VersionNumber};
use lru::LruCache;

use super::Pack;

/// So many objects are held: of a few hundred bytes each.
const OBJECTS_MAX: usize = 1 << 16;
/// What an empty pack counts.
const PACK_COST: usize = 4;

/// A pack, by its project, its root and the version that wrote its row.
type Key = (ProjectId, DirId, VersionNumber);

/// Packs that were read lately.
#[derive(Debug)]
pub(crate) struct PackCache {
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    packs: LruCache<Key, Arc<Pack>>,
    cost: usize,
}

impl PackCache {
    pub(crate) fn new() -> Self {
        let packs = LruCache::unbounded();
        Self {
            held: Mutex::new(Held { packs, cost: 0 }),
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Pack>> {
        self.held().packs.get(&key).cloned()
    }

    pub(crate) fn put(&self, key: Key, pack: Arc<Pack>) {
        let mut held = self.held();
        held.cost += cost(&pack);
        if let Some(before) = held.packs.put(key, pack) {
            held.cost -= cost(&before);
        }
        while held.cost > OBJECTS_MAX && held.packs.len() > 1 {
            let Some((_, oldest)) = held.packs.pop_lru() else {
                return;
            };
            held.cost -= cost(&oldest);
        }
    }

    /// No method panics between two changes of it.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(pack: &Pack) -> usize {
    PACK_COST + pack.len()
}
