//! Entries of a directory while others come and go.
//!
//! Entries come in the order of a number that is drawn from the name alone, and that number is the
//! offset to go on behind. So an entry that keeps its name keeps its place, whatever happens to
//! others, to the base and to the caches, and whoever reads a directory to its end meets it exactly
//! once. There are no handles and no snapshots to keep. The numbers are keyed, so that nobody can
//! choose names that share one; names that do share one are told apart by their rank.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lfsfs_overlay::Slot;
use lfsfs_types::{Name, VersionId, nodeid};
use lru::LruCache;

use crate::attr::FileKind;
use crate::directory::{DirEntry, EntrySink};
use crate::error::{Stop, VfsError};
use crate::inode::Place;
use crate::writable::scene::{Dir, Held, Object, Scene};
use crate::writable::{WritableVfs, scene};

/// `.` and `..` have the offsets 1 and 2; entries come behind them.
const DOTS: u64 = 2;
/// Ranks of names that share a number.
const RANKS: u64 = 1 << 4;
/// Offsets stay positive for callers with signed ones.
const HASH_MAX: u64 = (1 << 58) - 1;
/// Orders of directories that are kept between two parts of a listing.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");
/// Orders of smaller directories are made anew.
const KEPT_LEN_MIN: usize = 128;

/// Entries of a directory by offset.
type Order = Arc<Vec<(u64, Source)>>;

/// What an order holds for: a base, and the generation of the changes above it; 0 without any.
type Generation = (VersionId, u64);

/// Where an entry comes from.
#[derive(Debug, Clone)]
enum Source {
    /// A slot of the overlay.
    Slot(Name),
    /// An entry of the base's listing.
    Base(u32),
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
    fn of(&self, scene: &Scene<'_>, dir: &Dir<'_>) -> Result<Order, Stop> {
        let changes = dir.upper.map_or(0, |(inode, _)| inode.generation);
        let generation = (scene.state.base().id, changes);
        let kept = self.lock().get(&dir.ino).cloned();
        if let Some((_, order)) = kept.filter(|it| it.0 == generation) {
            return Ok(order);
        }
        let order = Arc::new(self.sort(sources(scene, dir)?));
        if order.len() >= KEPT_LEN_MIN {
            self.lock().put(dir.ino, (generation, Arc::clone(&order)));
        }
        Ok(order)
    }

    fn sort(&self, sources: Vec<(Name, Source)>) -> Vec<(u64, Source)> {
        let hashed = sources.into_iter().map(|(name, source)| {
            let hash = self.key.hash_one(name.as_bytes()) & HASH_MAX;
            (hash, name, source)
        });
        let mut hashed: Vec<_> = hashed.collect();
        hashed.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut order: Vec<(u64, Source)> = Vec::with_capacity(hashed.len());
        for (hash, _, source) in hashed {
            let first = hash * RANKS + DOTS + 1;
            let next = order.last().map_or(0, |(offset, _)| offset + 1);
            order.push((first.max(next), source));
        }
        order
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<u64, (Generation, Order)>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

/// Returns the entries of a directory with their names.
fn sources(scene: &Scene<'_>, dir: &Dir<'_>) -> Result<Vec<(Name, Source)>, Stop> {
    let mut sources = Vec::new();
    for (name, slot) in dir.upper.into_iter().flat_map(|(_, data)| &data.entries) {
        if matches!(slot, Slot::Inode { .. }) {
            sources.push((name.clone(), Source::Slot(name.clone())));
        }
    }
    let Some(base) = dir.base else {
        return Ok(sources);
    };
    let listing = scene.listing(base)?;
    for index in 0..listing.len() {
        let name = listing.name(index).map_err(VfsError::damaged_record)?;
        let name = Name::new(name).map_err(|_| VfsError::Stale)?;
        if dir.slot(&name).is_none() {
            sources.push((name, Source::Base(index)));
        }
    }
    Ok(sources)
}

impl WritableVfs {
    /// Gives the entries of a directory from `offset` on to `sink` until it is full.
    ///
    /// With `plus` entries have attributes, and each that `sink` takes, except `.` and `..`, counts
    /// one lookup.
    pub async fn readdir(
        &self,
        ino: u64,
        offset: u64,
        plus: bool,
        sink: &mut EntrySink<'_>,
    ) -> Result<(), VfsError> {
        loop {
            let held = self.with_listings(|held| self.hold(held, ino)).await?;
            let Ok(moment) = self.moment_above(&held.ground) else {
                continue;
            };
            let reader = Reader {
                vfs: self,
                scene: scene(moment.state(), &held),
                plus,
            };
            match reader.read(ino, offset, sink) {
                Ok(()) => return Ok(()),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Moved | Stop::Listing(_)) => {}
            }
        }
    }

    /// Returns what is needed to read a directory.
    fn hold(&self, held: &Held, ino: u64) -> Result<Held, Stop> {
        let moment = self.moment_above(&held.ground)?;
        let scene = scene(moment.state(), held);
        let mut needed = Held::new(Arc::clone(&held.ground));
        if let Some(base) = scene.directory(ino)?.base {
            needed.listings.insert(base, scene.listing(base)?);
        }
        Ok(needed)
    }
}

/// A directory that is being read.
struct Reader<'a> {
    vfs: &'a WritableVfs,
    scene: Scene<'a>,
    plus: bool,
}

impl Reader<'_> {
    fn read(&self, ino: u64, offset: u64, sink: &mut EntrySink<'_>) -> Result<(), Stop> {
        let dir = self.scene.directory(ino)?;
        let shows_dots = !dir.is_removed() && offset < DOTS;
        if shows_dots && !self.show_dots(ino, offset, sink) {
            return Ok(());
        }
        let order = self.vfs.orders.of(&self.scene, &dir)?;
        let first = order.partition_point(|(at, _)| *at <= offset);
        for (position, (at, source)) in order[first..].iter().enumerate() {
            let (name, object) = match self.entry(&dir, source) {
                // What was shown is true; the caller comes back for the rest.
                Err(Stop::Moved) if position > 0 || shows_dots => break,
                entry => entry?,
            };
            if !self.show(ino, *at, &name, &object, sink) {
                break;
            }
        }
        Ok(())
    }

    /// Shows `.` and `..`; returns false if the sink is full.
    fn show_dots(&self, ino: u64, offset: u64, sink: &mut EntrySink<'_>) -> bool {
        let parent = self.vfs.lock_known().parent(&self.vfs.inodes, ino);
        let dots: [(&[u8], u64); 2] = [(b".", ino), (b"..", parent.unwrap_or(nodeid::ROOT))];
        (0..DOTS).zip(dots).all(|(position, (name, ino))| {
            position < offset
                || sink(DirEntry {
                    ino,
                    offset: position + 1,
                    kind: FileKind::Directory,
                    name,
                    attr: None,
                })
        })
    }

    fn entry<'a>(&'a self, dir: &Dir<'_>, source: &Source) -> Result<(Name, Object<'a>), Stop> {
        match (source, dir.base) {
            (Source::Slot(name), _) => {
                let object = self.scene.find_known(dir, name)?;
                Ok((name.clone(), object))
            }
            (Source::Base(index), Some(base)) => {
                let listing = self.scene.listing(base)?;
                let place = Place {
                    dir: base,
                    index: *index,
                };
                let name = listing.name(*index).map_err(VfsError::damaged_record)?;
                let name = Name::new(name).map_err(|_| VfsError::Stale)?;
                Ok((name, self.scene.entry(dir.ino, place, &listing)?))
            }
            (Source::Base(_), None) => Err(VfsError::Stale.into()),
        }
    }

    /// Shows an entry; returns false if the sink is full. It counts a lookup before it is shown, so
    /// that nobody is forgotten in between.
    fn show(
        &self,
        parent: u64,
        offset: u64,
        name: &Name,
        object: &Object<'_>,
        sink: &mut EntrySink<'_>,
    ) -> bool {
        let attr = match self.plus && !object.is_pack() {
            true => self.count_shown((parent, name), object),
            false => None,
        };
        let is_taken = sink(DirEntry {
            ino: attr.map_or(object.ino(), |attr| attr.ino),
            offset,
            kind: object.attr().kind,
            name: name.as_bytes(),
            attr,
        });
        if let Some(attr) = attr.filter(|_| !is_taken) {
            self.vfs.forget(attr.ino, 1);
        }
        is_taken
    }

    /// Counts a lookup, unless the object was dropped or changed its place since the scene.
    fn count_shown(
        &self,
        (parent, name): (u64, &Name),
        object: &Object<'_>,
    ) -> Option<crate::attr::Attr> {
        let mut known = self.vfs.lock_known();
        let ground = &self.scene.held.ground;
        self.vfs.expect_current(ground).ok()?;
        let moment = self.vfs.moment_above(ground).ok()?;
        let state = moment.state();
        let is_current = match object {
            Object::Upper { ino, .. } => state.inode(*ino).is_some_and(|it| !it.is_orphan()),
            Object::Base(found) => {
                state.adopted(&found.object.key()).is_none() && !state_removed(state, parent, found)
            }
        };
        let scene = scene(state, self.scene.held);
        let counted = is_current.then(|| self.vfs.count(&mut known, scene, (parent, name, object)));
        counted?.ok()
    }
}

/// Returns true if the name of an object of the base was taken away from its directory.
fn state_removed(
    state: &lfsfs_overlay::State,
    parent: u64,
    found: &crate::writable::scene::BaseFound,
) -> bool {
    let slot = found.object.name.as_ref().and_then(|name| {
        let data = state.inode(parent)?.directory()?;
        data.entries.get(name).copied()
    });
    slot.is_some()
}
