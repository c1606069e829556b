//! [`Metadata`]: opening a store, and what all other modules share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lfsfs_common::clock::Clock;
use lfsfs_common::random::random_bytes;
use lfsfs_meta_store::{Batch, KeyRange, MetaStore, MetaStoreExt as _, Row, WriteBehind};
use lfsfs_types::{ClusterId, ProjectId, SessionId, Timestamp};

use crate::content_filter::ContentFilter;
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::pack::PackCache;
use crate::readers::{Readers, Reading};
use crate::rows::{self, ClusterRow, Marker, RowValue};
use crate::staging_space::{StagingPlace, StagingSpace};

/// How keys and values are laid out; raised when a store must be migrated.
pub(crate) const LAYOUT: u64 = 1;

/// How many rows a scan over many takes at once.
pub(crate) const SCAN_PAGE: usize = 1000;

/// The metadata of a cluster. Clones share everything.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub(crate) inner: Arc<Inner>,
}

/// What one process gives the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Where commits stage.
    pub staging: StagingPlace,
    /// Bytes of memory that tell which contents are surely unknown. With one for each content nearly all are
    /// told.
    pub filter_bytes: usize,
    /// Bytes of memory for rows of contents that are written later, many together.
    pub late_bytes: usize,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            staging: StagingPlace::default(),
            filter_bytes: 1 << 20,
            late_bytes: 4 << 20,
        }
    }
}

/// What the clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<WriteBehind>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cluster: ClusterId,
    /// Tells the leases of this process from those of others.
    pub(crate) instance: SessionId,
    /// One lock for each project that this process has published to: two commits of one process
    /// wait for each other here, the lease stands between processes.
    publishing: Mutex<HashMap<ProjectId, Arc<Mutex<()>>>>,
    /// Whether the process ends.
    stops: AtomicBool,
    /// For what commit sessions stage.
    pub(crate) staging: Arc<StagingSpace>,
    pub(crate) contents: ContentFilter,
    listener: OnceLock<Listener>,
    pub(crate) readers: Readers,
    pub(crate) packs: PackCache,
    /// The second in which contents were collected last: stamps of before are renewed.
    pub(crate) barrier: AtomicU64,
}

/// The function that a publisher calls with the project of each version that it has made.
struct Listener(Box<dyn Fn(ProjectId) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Metadata {
    /// Opens the metadata in `store`, which is laid out if it is empty.
    ///
    /// What earlier processes left half done does not stand in the way of any call; see
    /// [`recover`](Self::recover).
    pub fn open(store: Arc<dyn MetaStore>, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(store, clock, MetadataOptions::default())
    }

    /// As [`open`](Self::open), with other options than the default ones.
    pub fn open_with(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        options: MetadataOptions,
    ) -> Result<Self> {
        let cluster = open_cluster(store.as_ref())?;
        let inner = Inner {
            store: Arc::new(WriteBehind::new(store, options.late_bytes)),
            clock,
            cluster,
            instance: SessionId(random()?),
            publishing: Mutex::default(),
            stops: AtomicBool::new(false),
            contents: ContentFilter::new(options.filter_bytes),
            staging: Arc::new(StagingSpace::new(options.staging)?),
            listener: OnceLock::new(),
            readers: Readers::default(),
            packs: PackCache::new(),
            barrier: AtomicU64::new(0),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Lets `listener` be called with each project that gets a version from this process, once the version is
    /// durable. The first listener counts. It is called by the thread that publishes, and must not block.
    pub fn on_published(&self, listener: impl Fn(ProjectId) + Send + Sync + 'static) {
        let _ = self.inner.listener.set(Listener(Box::new(listener)));
    }

    pub(crate) fn tell_published(&self, project: ProjectId) {
        if let Some(Listener(listener)) = self.inner.listener.get() {
            listener(project);
        }
    }

    /// Undoes what earlier processes left half done: versions that were not published, and deletions that
    /// did not end. Learns which contents there are, too. It goes on beside other calls. A
    /// commit undoes the unfinished version of its own project by itself, so none waits for this.
    ///
    /// In a store that other processes have open too it does nothing: what looks half done may be
    /// theirs.
    pub fn recover(&self) -> Result<()> {
        if !self.store().is_exclusive() {
            return Ok(());
        }
        let projects = KeyRange::prefix(&[table::PROJECT]);
        for row in self.store().scan_all(projects, SCAN_PAGE) {
            let (key, _) = row?;
            if self.stops() {
                return Ok(());
            }
            self.recover_project(ProjectId(keys::decode_id(table::PROJECT, &key)?))?;
        }
        self.finish_deletions()?;
        self.remove_staged()?;
        self.make_node_chunks()?;
        self.fill_filter()
    }

    /// Removes what an earlier program has staged, which kept that in the store.
    fn remove_staged(&self) -> Result<()> {
        for rows in keys::STAGED_TABLES.into_iter().chain([table::SESSION]) {
            let range = KeyRange::prefix(&[rows]);
            while !self.stops() && self.store().delete_page(range.clone())?.more {}
        }
        Ok(())
    }

    /// Reads everything beside other calls, and fails at the first damage.
    pub fn verify(&self) -> Result<()> {
        self.store().verify(&|| !self.stops())?;
        Ok(())
    }

    /// Makes everything durable that calls have written, also what no version needs yet.
    pub fn flush(&self) -> Result<()> {
        Ok(self.inner.store.flush_all()?)
    }

    /// Lets what goes on beside other calls come to its end, because the process does.
    pub fn stop(&self) {
        self.inner.stops.store(true, Ordering::Relaxed);
    }

    /// Says that this call reads versions, until the answer is dropped. It comes before the look whether they are
    /// there.
    pub(crate) fn reading(&self) -> Reading<'_> {
        self.inner.readers.begin()
    }

    pub(crate) fn stops(&self) -> bool {
        self.inner.stops.load(Ordering::Relaxed)
    }

    /// Returns the random id that the cluster drew at its first start.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.inner.cluster
    }

    pub(crate) fn store(&self) -> &dyn MetaStore {
        self.inner.store.as_ref()
    }

    /// Writes rows, each unless there is one with its key, now or later; every call sees them at once.
    pub(crate) fn put_later(&self, rows: Vec<Row>) -> Result<()> {
        Ok(self.inner.store.put_later(rows)?)
    }

    /// Returns the time in the form that durable values have.
    pub(crate) fn now(&self) -> Timestamp {
        rows::timestamp_of(self.inner.clock.wall_time())
    }

    /// Returns the lock that a publisher of `project` holds in this process.
    pub(crate) fn publishing_lock(&self, project: ProjectId) -> Arc<Mutex<()>> {
        let mut locks = self
            .inner
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(project).or_default())
    }
}

/// Returns the value at `key`, decoded.
pub(crate) fn get_row<R: RowValue>(store: &dyn MetaStore, key: &[u8]) -> Result<Option<R>> {
    let value = store.get(key)?;
    Ok(value.map(|value| R::decode(key, &value)).transpose()?)
}

/// Draws the bytes of a new id.
pub(crate) fn random() -> Result<[u8; 16]> {
    random_bytes().map_err(MetadataError::Random)
}

/// Reads the cluster row, or writes the first one.
fn open_cluster(store: &dyn MetaStore) -> Result<ClusterId> {
    let key = keys::cluster();
    loop {
        if let Some(row) = get_row::<ClusterRow>(store, &key)? {
            return match row.layout {
                LAYOUT => Ok(row.cluster),
                found => Err(MetadataError::Layout {
                    found,
                    expected: LAYOUT,
                }),
            };
        }
        let first = ClusterRow {
            layout: LAYOUT,
            cluster: ClusterId(random()?),
        };
        let mut batch = Batch::new();
        batch.require_absent(&*key).put(&*key, first.encode());
        batch.put(keys::node_chunks_mark(), Marker.encode());
        // After a conflict another coordinator was faster, and its row is read.
        if store.apply(batch)?.is_done() {
            store.flush()?;
        }
    }
}
