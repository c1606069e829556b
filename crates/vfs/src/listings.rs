//! Listings of directories: from memory, from the disk cache, from the server.
//!
//! A listing is fetched once for ever: it is kept on disk under the version that last changed it,
//! and a log a version says which listing each directory has there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_cache::{DiskCache, ListingKey};
use lfsfs_client::{RemoteRead, Snapshot};
use lfsfs_types::{DirId, VersionId};

use crate::deadline::Deadline;
use crate::error::VfsError;
use crate::flight::{Flights, Start};
use crate::listing::Listing;
use crate::stats::Counters;
use crate::weighted::WeightedCache;
use crate::writer::Writer;

const ACTION: &str = "list a directory";

/// What everything that fetches has in common.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) remote: Arc<dyn RemoteRead>,
    pub(crate) cache: DiskCache,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) writer: Arc<Writer>,
}

/// Which listing each directory has at this version, as far as it was seen.
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
    flights: Arc<Flights<DirId, Arc<Listing>>>,
}

impl Listings {
    pub(crate) fn new(source: Source, len_max: usize) -> Self {
        Self {
            source,
            memory: WeightedCache::new(len_max),
            known: Mutex::default(),
            flights: Flights::new(),
        }
    }

    pub(crate) fn in_memory(&self, dir: DirId) -> Option<Arc<Listing>> {
        self.memory.find(&dir)
    }

    /// Returns the name of a directory's listing for the disk cache, once the listing was seen.
    pub(crate) fn key(&self, dir: DirId) -> Option<ListingKey> {
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
        if let Some(listing) = self.in_memory(dir).or_else(|| self.on_disk(dir)) {
            return Ok(listing);
        }
        let join = || {
            self.flights.join(&dir, |_| match self.in_memory(dir) {
                Some(listing) => Start::Ready(listing),
                None => Start::Launch(vec![dir], Arc::clone(self).fetch(dir, deadline)),
            })
        };
        deadline.insist(ACTION, join).await
    }

    /// Takes over what `before` has in memory of directories that are the same in both versions, and
    /// returns the others with how many entries they had, as far as that is known.
    ///
    /// Nothing is copied: `before` is left without, because it is at its end.
    pub(crate) fn inherit(&self, before: &Self, changed: &HashSet<DirId>) -> HashMap<DirId, u32> {
        let mut known = std::mem::take(&mut before.lock().listings);
        for dir in changed {
            known.remove(dir);
        }
        let mut own = self.lock();
        known.extend(own.listings.drain());
        own.listings = known;
        drop(own);
        let dropped = self.memory.inherit(&before.memory, changed);
        dropped
            .into_iter()
            .map(|(dir, it)| (dir, it.len()))
            .collect()
    }

    /// Returns the number of listings in memory and their bytes.
    pub(crate) fn load_in_memory(&self) -> (usize, usize) {
        self.memory.load()
    }

    fn on_disk(&self, dir: DirId) -> Option<Arc<Listing>> {
        let key = self.key(dir).or_else(|| {
            self.learn();
            self.key(dir)
        })?;
        match Listing::decode(self.source.cache.listing(&key)?) {
            Ok(listing) => Some(self.keep(dir, listing)),
            Err(error) => {
                tracing::warn!(%dir, %error, "a cached listing makes no sense, fetching it again");
                self.source.cache.remove_listing(&key);
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
        let cache = &self.source.cache;
        let found = cache.version_index(&project.id, &version.id, position);
        known.listings.extend(found);
    }

    async fn fetch(
        self: Arc<Self>,
        dir: DirId,
        deadline: Deadline,
    ) -> Result<Arc<Listing>, VfsError> {
        let project = self.source.snapshot.project.id;
        let version = self.source.snapshot.version.number;
        self.source.counters.listings.add(1);
        let call = self.source.remote.list_directory(project, version, dir);
        let answer = deadline
            .bound(ACTION, async { call.await.map_err(VfsError::io(ACTION)) })
            .await
            // The directory is part of a version that the server had when the mount was made.
            .map_err(|error| {
                if error.is_not_found() {
                    VfsError::Stale
                } else {
                    error
                }
            })?;
        let Some(listing) = Listing::encode(&answer.entries) else {
            self.source.counters.damaged.add(1);
            let problem = "entries are not in the order of their names";
            return Err(VfsError::corrupt(ACTION, problem));
        };
        self.lock().listings.insert(dir, answer.listing_version);
        let listing = self.keep(dir, listing);
        self.store(dir, answer.listing_version, &listing).await;
        Ok(listing)
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
        self.source.writer.write(write).await;
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
