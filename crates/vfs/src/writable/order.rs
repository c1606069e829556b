//! The order in which a directory is read, whatever happens to it meanwhile.
//!
//! Entries come in the order of a number that is drawn from the name alone, and that number is the
//! offset to go on behind. So an entry that keeps its name keeps its place, whatever happens to
//! others, to the base and to the caches, and a reader that goes to the end meets it exactly once.
//! There are no handles and no snapshots to keep. The numbers are keyed, so that no program can choose
//! names that share one; names that do share one are told apart by their rank.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_overlay::Slot;
use lfsfs_types::{Name, VersionId};
use lru::LruCache;

use crate::error::Interrupted;
use crate::inode::Place;
use crate::merged::{MergedDir, MergedView};

/// `.` and `..` have the offsets 1 and 2; entries come behind them.
pub(super) const DOTS: u64 = 2;
/// Ranks of names that share a number.
const RANKS: u64 = 1 << 4;
/// Offsets stay positive for callers with signed ones.
const HASH_MAX: u64 = (1 << 58) - 1;
/// Orders of directories that are kept between two parts of a listing.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");
/// Orders of smaller directories are made anew.
const KEPT_LEN_MIN: usize = 128;

/// Entries of a directory by offset.
pub(super) type Order = Arc<Vec<OrderedEntry>>;

/// An entry, and the offset to go on behind it.
#[derive(Debug, Clone)]
pub(super) struct OrderedEntry {
    pub(super) offset: u64,
    pub(super) source: EntrySource,
}

/// Where an entry comes from.
#[derive(Debug, Clone)]
pub(super) enum EntrySource {
    /// A slot of the overlay.
    Slot(Name),
    /// An entry of the base's listing.
    Base(Place),
}

/// What an order holds for: a base, and the generation of the changes above it; 0 without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation {
    base: VersionId,
    changes: u64,
}

/// The orders of large directories that were read last, and the key of the numbers.
#[derive(Debug)]
pub(super) struct Orders {
    key: RandomState,
    /// By inode, with what they hold for.
    kept: Mutex<LruCache<u64, (Generation, Order)>>,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self {
            key: RandomState::new(),
            kept: Mutex::new(LruCache::new(KEPT)),
        }
    }

    /// Returns the entries of a directory as they are now.
    pub(super) fn of(
        &self,
        merged: &MergedView<'_>,
        dir: &MergedDir<'_>,
    ) -> Result<Order, Interrupted> {
        let generation = Generation {
            base: merged.state.base().id,
            changes: dir.upper.map_or(0, |(inode, _)| inode.generation),
        };
        let kept = self.lock().get(&dir.ino).cloned();
        if let Some((_, order)) = kept.filter(|it| it.0 == generation) {
            return Ok(order);
        }
        let order = Arc::new(self.sort(sources(merged, dir)?));
        if order.len() >= KEPT_LEN_MIN {
            self.lock().put(dir.ino, (generation, Arc::clone(&order)));
        }
        Ok(order)
    }

    fn sort(&self, sources: Vec<(Name, EntrySource)>) -> Vec<OrderedEntry> {
        let hashed = sources.into_iter().map(|(name, source)| {
            let hash = self.key.hash_one(name.as_bytes()) & HASH_MAX;
            (hash, name, source)
        });
        let mut hashed: Vec<_> = hashed.collect();
        hashed.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut order: Vec<OrderedEntry> = Vec::with_capacity(hashed.len());
        for (hash, _, source) in hashed {
            let first = hash * RANKS + DOTS + 1;
            let next = order.last().map_or(0, |last| last.offset + 1);
            let offset = first.max(next);
            order.push(OrderedEntry { offset, source });
        }
        order
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u64, (Generation, Order)>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

/// Returns the entries of a directory with their names.
fn sources(
    merged: &MergedView<'_>,
    dir: &MergedDir<'_>,
) -> Result<Vec<(Name, EntrySource)>, Interrupted> {
    let mut sources = Vec::new();
    for (name, slot) in dir
        .upper
        .into_iter()
        .flat_map(|(_, data)| data.entries.iter())
    {
        if matches!(slot, Slot::Inode { .. }) {
            sources.push((name.clone(), EntrySource::Slot(name.clone())));
        }
    }
    let Some(base) = dir.base else {
        return Ok(sources);
    };
    let listing = merged.listing(base)?;
    for index in 0..listing.len() {
        let name = listing.entry_name(index)?;
        if dir.slot(&name).is_none() {
            sources.push((name, EntrySource::Base(Place { dir: base, index })));
        }
    }
    Ok(sources)
}
