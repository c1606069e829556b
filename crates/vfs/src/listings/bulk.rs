//! Listings in bulk: a task that takes a stream of them into memory and into the disk cache. When it works is decided
//! by its [`Plan`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lfsfs_cache::DiskCache;
use lfsfs_remote::{DirectoryListing, RemoteError, RemoteRead, TreeParams};
use lfsfs_types::{DirId, VersionId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::Listings;
use super::plan::{Pace, Plan, Segment};
use crate::listing::Listing;

/// Bytes of listings after which they are written, in one file.
const BATCH_LEN: usize = 4 << 20;
/// Batches that wait for the disk, at most: a slow disk slows the stream down.
const WRITES_MAX: usize = 2;
/// How often a stream that waits looks whether it should rest.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows of a log that are written at once.
const ROWS_AT_ONCE: usize = 1 << 16;

type Pending = Arc<Mutex<HashMap<DirId, Arc<Listing>>>>;

/// What the stream of a version shares with those who use listings.
#[derive(Debug)]
pub(super) struct Bulk {
    plan: Mutex<Plan>,
    /// Whether the plan wants to know which listings are used: else memory is asked without its lock.
    counts_uses: AtomicBool,
    /// Told when a listing has come, one was used, or the stream has ended.
    changed: Arc<Notify>,
    /// Listings that are not on disk yet.
    pending: Pending,
    /// How many batches may wait for the disk.
    writes: Arc<Semaphore>,
    has_looked: AtomicBool,
}

/// How a stream ended.
enum Ended {
    /// It brought all that was wanted of it.
    Whole,
    /// No program asks for listings any more.
    Resting,
    Failed(RemoteError),
    /// The version is not shown any more.
    Gone,
}

/// Listings on their way to the disk.
#[derive(Default)]
struct Batch {
    listings: Vec<(DirId, Arc<Listing>)>,
    len: usize,
}

impl Bulk {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan: Mutex::new(plan),
            counts_uses: AtomicBool::new(false),
            changed: Arc::default(),
            pending: Arc::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            has_looked: AtomicBool::new(false),
        }
    }

    /// Notes that a listing is used.
    pub(super) fn used(&self, dir: DirId) {
        if self.counts_uses.load(Ordering::Relaxed) {
            self.plan().used(dir, Instant::now());
            self.changed.notify_waiters();
        }
    }

    pub(super) fn pending(&self, dir: DirId) -> Option<Arc<Listing>> {
        pending(&self.pending).get(&dir).cloned()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no holder of this lock panics")
    }

    fn end(&self, end: impl FnOnce(&mut Plan)) {
        let mut plan = self.plan();
        end(&mut plan);
        self.counts_uses.store(plan.has_unused(), Ordering::Relaxed);
        drop(plan);
        self.changed.notify_waiters();
    }
}

impl Listings {
    /// Returns the listing of a directory that is not in the cache, if a stream brings it within a moment.
    pub(super) async fn soon(self: &Arc<Self>, dir: DirId) -> Option<Arc<Listing>> {
        if !self.bulk.has_looked.swap(true, Ordering::Relaxed) {
            self.look_for_others();
        }
        if self.bulk.plan().missed(dir, Instant::now()) {
            let is_since = self.bulk.plan().runs_since();
            let work = run(Arc::clone(&self.source.remote), Arc::downgrade(self));
            drop(self.source.spawner.spawn(work));
            if !is_since {
                // It begins behind this directory.
                return None;
            }
        }
        let until = Instant::now() + self.bulk.plan().patience()?;
        loop {
            let mut changed = std::pin::pin!(self.bulk.changed.notified());
            changed.as_mut().enable();
            let found = self.in_memory(dir).or_else(|| self.bulk.pending(dir));
            let runs = self.bulk.plan().runs();
            if found.is_some() {
                self.bulk.plan().waited(true);
                return found;
            }
            if !runs {
                return self.on_disk(dir);
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                self.bulk.plan().waited(false);
                return None;
            }
        }
    }

    /// Looks whether the cache has another version of the project, of which only what differs is needed.
    fn look_for_others(&self) {
        let snapshot = &self.source.snapshot;
        let disk = self.source.cache.disk();
        let whole = disk.whole_versions(&snapshot.project.id, snapshot.root_dir);
        let number = snapshot.version.number;
        if whole.iter().any(|(_, id)| *id == snapshot.version.id) {
            return;
        }
        let nearest = whole
            .into_iter()
            .min_by_key(|(it, _)| it.0.abs_diff(number.0));
        if let Some(since) = nearest {
            self.bulk.plan().begin_since(since);
        }
    }

    /// Returns what to ask for, for a segment of the plan.
    fn params(&self, segment: Segment) -> TreeParams {
        let (after, since) = match segment {
            Segment::Since { since, after } => (after, Some(since)),
            Segment::Rest { after } => (Some(after), None),
            Segment::Beginning { after, .. } => (after, None),
        };
        TreeParams {
            project: self.source.snapshot.project.id,
            version: self.source.snapshot.version.number,
            top: DirId::ROOT,
            after,
            since,
        }
    }

    /// Takes a listing. Returns true if it is the last that is wanted of its stream.
    async fn take(
        &self,
        dir: DirId,
        listing: &DirectoryListing,
        batch: &mut Batch,
    ) -> Result<bool, RemoteError> {
        let listing = self.came(dir, listing)?;
        pending(&self.bulk.pending).insert(dir, Arc::clone(&listing));
        batch.len += listing.encoded().len();
        batch.listings.push((dir, listing));
        let is_last = self.bulk.plan().came(dir);
        self.bulk.counts_uses.store(true, Ordering::Relaxed);
        self.bulk.changed.notify_waiters();
        if batch.len >= BATCH_LEN {
            self.write(mem::take(batch)).await;
        }
        Ok(is_last)
    }

    /// Writes listings, and that the version has them.
    async fn write(&self, batch: Batch) {
        if batch.listings.is_empty() {
            return;
        }
        let project = self.source.snapshot.project.id;
        let version = self.source.snapshot.version.id;
        let turn = Arc::clone(&self.bulk.writes).acquire_owned().await;
        let listings = batch.listings;
        let stored = |(_, listing): &(DirId, Arc<Listing>)| {
            let (dir, version) = listing.stored()?;
            Some((dir, version, listing.encoded().clone()))
        };
        let files: Vec<(DirId, VersionId, Bytes)> = listings.iter().filter_map(stored).collect();
        let dirs = listings.iter().map(|(dir, _)| *dir).collect();
        let waiting = Waiting {
            pending: Arc::clone(&self.bulk.pending),
            dirs,
        };
        let write = move |cache: &DiskCache| {
            let row = |(dir, version, _): &(DirId, VersionId, Bytes)| (*dir, *version);
            let rows: Vec<_> = files.iter().map(row).collect();
            cache.store_listings(&project, files);
            cache.add_to_version_index(&project, &version, &rows);
            drop((waiting, turn));
        };
        self.source.cache.write(write).await;
    }

    /// Notes that what differs from another version is known, and so is all the rest.
    async fn take_over(&self, since: VersionId) {
        let project = self.source.snapshot.project.id;
        let disk = self.source.cache.disk();
        let before = disk.version_index(&project, &since, &mut 0);
        let rows = self.add_to_known(before);
        let version = self.source.snapshot.version.id;
        let write = move |cache: &DiskCache| {
            for rows in rows.chunks(ROWS_AT_ONCE) {
                cache.add_to_version_index(&project, &version, rows);
            }
        };
        self.source.cache.write(write).await;
    }

    /// Notes which listings directories have of which that is not known, and returns those.
    fn add_to_known(&self, listings: HashMap<DirId, VersionId>) -> Vec<(DirId, VersionId)> {
        let mut known = self.lock();
        let is_new = |(dir, version): &(DirId, VersionId)| match known.listings.entry(*dir) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(*version);
                true
            }
        };
        listings.into_iter().filter(is_new).collect()
    }

    /// Notes that the cache has all listings of the version.
    async fn note_whole(&self) {
        let snapshot = Arc::clone(&self.source.snapshot);
        let note = move |cache: &DiskCache| {
            let version = (snapshot.version.number, &snapshot.version.id);
            cache.note_whole_version(&snapshot.project.id, version, snapshot.root_dir);
        };
        self.source.cache.write(note).await;
    }
}

/// Brings what the plan wants, one stream after the other.
async fn run(remote: Arc<dyn RemoteRead>, listings: Weak<Listings>) {
    loop {
        let Some(shown) = listings.upgrade() else {
            return;
        };
        let Some(segment) = shown.bulk.plan().segment() else {
            shown.note_whole().await;
            shown.bulk.end(Plan::rest);
            return;
        };
        let params = shown.params(segment);
        shown.source.counters.listings.add(1);
        drop(shown);
        let mut batch = Batch::default();
        let ended = bring(&remote, &listings, &params, &mut batch).await;
        let Some(shown) = listings.upgrade() else {
            return;
        };
        shown.write(batch).await;
        match ended {
            Ended::Whole => {
                if let Segment::Since { since, .. } = segment {
                    shown.take_over(since.1).await;
                }
                shown.bulk.plan().segment_ended();
            }
            Ended::Resting => return shown.bulk.end(Plan::rest),
            Ended::Failed(error) => {
                tracing::info!(%error, "listings do not come in bulk for now");
                let may_pass = error.is_retryable();
                return shown.bulk.end(|plan| plan.failed(Instant::now(), may_pass));
            }
            Ended::Gone => return,
        }
    }
}

/// Takes the listings of one stream.
async fn bring(
    remote: &Arc<dyn RemoteRead>,
    listings: &Weak<Listings>,
    params: &TreeParams,
    batch: &mut Batch,
) -> Ended {
    let mut stream = match remote.list_tree(params).await {
        Ok(stream) => stream,
        Err(error) => return Ended::Failed(error),
    };
    loop {
        let Some(shown) = listings.upgrade() else {
            return Ended::Gone;
        };
        let changed = Arc::clone(&shown.bulk.changed);
        let mut changed = std::pin::pin!(changed.notified());
        changed.as_mut().enable();
        let pace = shown.bulk.plan().pace(Instant::now());
        drop(shown);
        match pace {
            Pace::Go => {}
            Pace::Rest => return Ended::Resting,
            Pace::Wait => {
                let _ = timeout(LOOK_EVERY, changed).await;
                continue;
            }
        }
        let (dir, listing) = match stream.next().await {
            Some(Ok(came)) => came,
            Some(Err(error)) => return Ended::Failed(error),
            None => return Ended::Whole,
        };
        let Some(shown) = listings.upgrade() else {
            return Ended::Gone;
        };
        match shown.take(dir, &listing, batch).await {
            Ok(true) => return Ended::Whole,
            Ok(false) => {}
            Err(error) => return Ended::Failed(error),
        }
    }
}

/// Directories that wait for the disk, until they are written, or are not.
struct Waiting {
    pending: Pending,
    dirs: Vec<DirId>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut pending = pending(&self.pending);
        for dir in &self.dirs {
            pending.remove(dir);
        }
    }
}

fn pending(
    pending: &Mutex<HashMap<DirId, Arc<Listing>>>,
) -> MutexGuard<'_, HashMap<DirId, Arc<Listing>>> {
    pending.lock().expect("no holder of this lock panics")
}
