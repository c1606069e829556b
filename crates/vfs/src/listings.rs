//! Listings of directories: from memory, from the disk cache, from the server.
//!
//! A listing is fetched once for ever: it is kept on disk under the version that last changed it,
//! and a log a version says which listing each directory has there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_cache::{DiskCache, ListingKey};
use lfsfs_common::tasks::Spawner;
use lfsfs_reader::{
    Deadline, Launch, ReadError, SingleFlight, Start, WeightedCache, WriteBehindCache,
};
use lfsfs_remote::{DirectoryListing, RemoteError, RemoteRead, Snapshot};
use lfsfs_types::{DirId, VersionId};

use self::bulk::Bulk;
use self::plan::Plan;
use crate::config::VfsConfig;
use crate::error::VfsError;
use crate::listing::Listing;
use crate::stats::Counters;

mod bulk;
mod plan;

const ACTION: &str = "list a directory";

/// What is asked for a version, and where what it answers is kept.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) remote: Arc<dyn RemoteRead>,
    pub(crate) cache: Arc<WriteBehindCache>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) spawner: Spawner,
}

/// Which listing each directory of the project has at this version, as far as it was seen.
#[derive(Debug, Default)]
struct Known {
    listings: HashMap<DirId, VersionId>,
    /// How far the log on disk was read, which other mounts of the version write too.
    log_position: u64,
}

/// All listings of one version.
#[derive(Debug)]
pub(crate) struct Listings {
    source: Source,
    memory: WeightedCache<DirId, Arc<Listing>>,
    known: Mutex<Known>,
    fetches: Arc<SingleFlight<DirId, Arc<Listing>>>,
    bulk: Bulk,
}

impl Listings {
    pub(crate) fn new(source: Source, config: &VfsConfig) -> Self {
        let spawner = source.spawner.clone();
        Self {
            source,
            memory: WeightedCache::new(config.listings_len_max),
            known: Mutex::default(),
            fetches: SingleFlight::new(config.listings_fetches_max, spawner),
            bulk: Bulk::new(Plan::new(config.listings_ahead_max, config.timeout / 4)),
        }
    }

    pub(crate) fn in_memory(&self, dir: DirId) -> Option<Arc<Listing>> {
        let found = self.memory.find(&dir);
        if found.is_some() {
            self.bulk.used(dir);
        }
        found
    }

    /// Returns the id that a directory has in the project, by which other mounts know it, too.
    fn stored(&self, dir: DirId) -> DirId {
        match dir {
            DirId::ROOT => self.source.snapshot.root_dir,
            dir => dir,
        }
    }

    /// Returns the name of a directory's listing for the disk cache, once the listing was seen.
    fn key(&self, dir: DirId) -> Option<ListingKey> {
        let dir = self.stored(dir);
        let version = *self.lock().listings.get(&dir)?;
        Some(ListingKey {
            project: self.source.snapshot.project.id,
            dir,
            version,
        })
    }

    pub(crate) async fn load(
        self: &Arc<Self>,
        dir: DirId,
        deadline: Deadline,
    ) -> Result<Arc<Listing>, VfsError> {
        if let Some(listing) = self.at_hand(dir) {
            return Ok(listing);
        }
        let join = || {
            self.fetches.join(&dir, |_| match self.in_memory(dir) {
                Some(listing) => Start::Ready(listing),
                None => Start::Launch(Launch {
                    keys: vec![dir],
                    deadline,
                    work: Arc::clone(self).fetch(dir, deadline),
                }),
            })
        };
        let fetched = deadline.retry(ACTION, join).await;
        // The directory is part of a version that the server had when the mount was made.
        fetched.map_err(|error| {
            if error.is_not_found() {
                VfsError::Stale
            } else {
                error.into()
            }
        })
    }

    /// Takes over what `before` has in memory of directories that are the same in both versions.
    ///
    /// Nothing is copied: `before` is left without, because it is at its end.
    pub(crate) fn inherit(&self, before: &Self, changed: &HashSet<DirId>) {
        if self.stored(DirId::ROOT) != before.stored(DirId::ROOT) {
            // The path of a subdirectory has another directory now: ids do not mean the same.
            return;
        }
        let mut known = std::mem::take(&mut before.lock().listings);
        for dir in changed {
            known.remove(&self.stored(*dir));
        }
        let mut own = self.lock();
        known.extend(own.listings.drain());
        own.listings = known;
        drop(own);
        self.memory.inherit(&before.memory, changed);
    }

    /// Returns the number of listings in memory and their bytes.
    pub(crate) fn load_in_memory(&self) -> (usize, usize) {
        self.memory.load()
    }

    /// Returns a listing that need not be fetched.
    fn at_hand(&self, dir: DirId) -> Option<Arc<Listing>> {
        let found = self.in_memory(dir).or_else(|| self.bulk.pending(dir));
        let found = found.or_else(|| self.on_disk(dir))?;
        self.bulk.used(dir);
        Some(found)
    }

    fn on_disk(&self, dir: DirId) -> Option<Arc<Listing>> {
        let key = self.key(dir).or_else(|| {
            self.learn();
            self.key(dir)
        })?;
        let disk = self.source.cache.disk();
        match Listing::decode(disk.listing(&key)?) {
            Ok(listing) => Some(self.keep(dir, listing.stored_as(key.dir, key.version))),
            Err(error) => {
                tracing::warn!(%dir, %error, "a cached listing makes no sense, fetching it again");
                disk.remove_listing(&key);
                None
            }
        }
    }

    /// Reads what this mount and others have written to the log since it was read last.
    fn learn(&self) {
        let Snapshot {
            project, version, ..
        } = &*self.source.snapshot;
        let mut known = self.lock();
        let position = &mut known.log_position;
        let disk = self.source.cache.disk();
        let found = disk.version_index(&project.id, &version.id, position);
        known.listings.extend(found);
    }

    async fn fetch(
        self: Arc<Self>,
        dir: DirId,
        deadline: Deadline,
    ) -> Result<Arc<Listing>, ReadError> {
        if let Some(listing) = self.soon(dir).await {
            return Ok(listing);
        }
        let project = self.source.snapshot.project.id;
        let version = self.source.snapshot.version.number;
        self.source.counters.listings.add(1);
        let call = self.source.remote.list_directory(project, version, dir);
        let answer = deadline
            .bound(ACTION, async {
                call.await.map_err(ReadError::remote(ACTION))
            })
            .await?;
        let came = self.came(dir, &answer);
        let listing = came.map_err(ReadError::remote(ACTION))?;
        self.store(self.stored(dir), answer.listing_version, &listing)
            .await;
        Ok(listing)
    }

    /// Keeps a listing that the server sent in memory, and notes that the version has it.
    fn came(&self, dir: DirId, listing: &DirectoryListing) -> Result<Arc<Listing>, RemoteError> {
        let Some(encoded) = Listing::encode(&listing.entries) else {
            self.source.counters.damaged.add(1);
            let problem = "entries are not in the order of their names";
            return Err(RemoteError::Corrupt(problem.to_owned()));
        };
        let (stored, version) = (self.stored(dir), listing.listing_version);
        self.lock().listings.insert(stored, version);
        Ok(self.keep(dir, encoded.stored_as(stored, version)))
    }

    /// Keeps a listing for later mounts.
    async fn store(&self, dir: DirId, listing_version: VersionId, listing: &Listing) {
        let project = self.source.snapshot.project.id;
        let version = self.source.snapshot.version.id;
        let encoded = listing.encoded().clone();
        let key = ListingKey {
            project,
            dir,
            version: listing_version,
        };
        let write = move |cache: &DiskCache| {
            cache.store_listing(&key, &encoded);
            cache.add_to_version_index(&project, &version, &[(dir, key.version)]);
        };
        self.source.cache.write(write).await;
    }

    fn keep(&self, dir: DirId, listing: Listing) -> Arc<Listing> {
        let listing = Arc::new(listing);
        self.memory.insert(dir, Arc::clone(&listing));
        listing
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }
}
