//! Chunks on several disks, each with a store of its own.
//!
//! A new chunk goes to the disk with the most free space. One is looked for on every disk, since an operator may
//! have moved files. A disk that cannot even be listed has failed: the chunks on it are not there any more, so that
//! other datanodes copy theirs. One that can be read and not written gets no more chunks.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use lfsfs_types::ChunkId;

use crate::disk::DiskChunkStore;
use crate::{ChunkReader, ChunkStore, ChunkStoreError, ChunkWriter, StoreStats, StoredChunk};

/// Keeps chunks in several directories, each on a disk of its own.
#[derive(Debug)]
pub struct SpreadChunkStore {
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    dir: PathBuf,
    store: DiskChunkStore,
    /// It cannot be read any more.
    has_failed: AtomicBool,
    /// It takes nothing any more.
    is_read_only: AtomicBool,
}

impl Disk {
    fn is_live(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed)
    }

    /// Looks whether the disk can be read at all, after something on it could not. Returns false if it has
    /// failed.
    fn still_lives(&self) -> bool {
        if !self.is_live() {
            return false;
        }
        match self.store.check_readable() {
            Ok(()) => true,
            Err(error) if !error.is_of_disk() => true,
            Err(error) => {
                self.has_failed.store(true, Ordering::Relaxed);
                let (dir, reason) = (self.dir.display(), error.to_string());
                tracing::error!(%dir, reason, "a data directory has failed; its chunks count as lost");
                false
            }
        }
    }

    fn set_read_only(&self, error: &ChunkStoreError) {
        if !self.is_read_only.swap(true, Ordering::Relaxed) {
            let (dir, reason) = (self.dir.display(), error.to_string());
            tracing::error!(%dir, reason, "a data directory takes no more chunks");
        }
    }

    /// Orders disks for a new chunk: the most free space first, then the fewest bytes of chunks.
    fn rank(&self) -> (Reverse<u64>, u64) {
        let stats = self.store.stats();
        stats.map_or((Reverse(0), 0), |stats| {
            (Reverse(stats.free_bytes), stats.chunk_bytes)
        })
    }
}

impl SpreadChunkStore {
    /// Opens the stores in these directories, as [`DiskChunkStore::open`] does. `reserve` bytes of each disk stay
    /// free. A directory that cannot be opened is left out, as long as one can.
    ///
    /// # Errors
    /// That of the last directory, if none can be opened; and a store of another format.
    pub fn open(dirs: &[PathBuf], reserve: u64) -> Result<Self, ChunkStoreError> {
        let (mut disks, mut failure) = (Vec::new(), None);
        for dir in dirs {
            match DiskChunkStore::open(dir, reserve) {
                Ok(store) => disks.push(Disk {
                    dir: dir.clone(),
                    store,
                    has_failed: AtomicBool::new(false),
                    is_read_only: AtomicBool::new(false),
                }),
                Err(error @ ChunkStoreError::Io(_)) => {
                    let (dir, reason) = (dir.display(), error.to_string());
                    tracing::error!(%dir, reason, "a data directory is left out; its chunks count as lost");
                    failure = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match failure {
            Some(error) if disks.is_empty() => Err(error),
            _ => Ok(Self { disks }),
        }
    }

    fn live(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.is_live())
    }

    /// Does something on the first disk that has the chunk.
    fn on_holder<T>(
        &self,
        id: ChunkId,
        act: impl Fn(&DiskChunkStore) -> Result<T, ChunkStoreError>,
    ) -> Result<T, ChunkStoreError> {
        for disk in self.live() {
            match act(&disk.store) {
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_of_disk() && !disk.still_lives() => {}
                done => return done,
            }
        }
        Err(ChunkStoreError::NotFound { id })
    }
}

impl ChunkStore for SpreadChunkStore {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn begin(&self, id: ChunkId, len: u64) -> Result<Box<dyn ChunkWriter>, ChunkStoreError> {
        let is_open = |disk: &&Disk| !disk.is_read_only.load(Ordering::Relaxed);
        let mut open: Vec<_> = self.live().filter(is_open).collect();
        // One that is there already is replaced. Two writers at the same time may store it twice, which takes space and
        // does no harm.
        open.sort_by_key(|disk| (disk.store.open(id).is_err(), disk.rank()));
        let mut failure = None;
        for disk in open {
            match disk.store.begin(id, len) {
                Err(error) if error.is_full() => {
                    failure.get_or_insert(error);
                }
                Err(error) if error.is_of_disk() => {
                    if disk.still_lives() {
                        disk.set_read_only(&error);
                    }
                    failure.get_or_insert(error);
                }
                begun => return begun,
            }
        }
        Err(failure.unwrap_or(ChunkStoreError::Full {
            free: 0,
            reserve: 0,
            needed: len,
        }))
    }

    fn open(&self, id: ChunkId) -> Result<Box<dyn ChunkReader>, ChunkStoreError> {
        self.on_holder(id, |store| store.open(id))
    }

    fn verify(&self, id: ChunkId) -> Result<StoredChunk, ChunkStoreError> {
        self.on_holder(id, |store| store.verify(id))
    }

    fn drop_cached(&self, id: ChunkId) {
        self.live().for_each(|disk| disk.store.drop_cached(id));
    }

    fn quarantine(&self, id: ChunkId) -> Result<(), ChunkStoreError> {
        self.on_holder(id, |store| store.quarantine(id))
    }

    fn delete(&self, id: ChunkId) -> Result<bool, ChunkStoreError> {
        let mut is_deleted = false;
        for disk in self.live() {
            match disk.store.delete(id) {
                Err(error) if error.is_of_disk() && !disk.still_lives() => {}
                deleted => is_deleted |= deleted?,
            }
        }
        Ok(is_deleted)
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkStoreError> {
        let mut ids = BTreeSet::new();
        for disk in self.live() {
            match disk.store.list(after, limit) {
                Err(error) if error.is_of_disk() && !disk.still_lives() => {}
                listed => ids.extend(listed?),
            }
        }
        Ok(ids.into_iter().take(limit).collect())
    }

    /// Returns the sum of all disks. Directories on one disk count its space once.
    fn stats(&self) -> Result<StoreStats, ChunkStoreError> {
        let (mut sum, mut devices) = (StoreStats::default(), BTreeSet::new());
        sum.is_full = true;
        for disk in self.live() {
            let (stats, device) = match (disk.store.stats(), disk.store.device()) {
                (Ok(stats), Ok(device)) => (stats, device),
                (Err(error), _) | (_, Err(error)) => {
                    if disk.still_lives() {
                        return Err(error);
                    }
                    continue;
                }
            };
            sum.chunks += stats.chunks;
            sum.chunk_bytes += stats.chunk_bytes;
            if disk.is_read_only.load(Ordering::Relaxed) {
                continue;
            }
            sum.is_full &= stats.is_full;
            if devices.insert(device) {
                sum.total_bytes += stats.total_bytes;
                sum.free_bytes += stats.free_bytes;
            }
        }
        sum.failed_disks = self.disks.iter().filter(|disk| !disk.is_live()).count();
        Ok(sum)
    }
}
