//! One version of one project: its listings, its contents, and what each inode number stands for in it.
//!
//! This is what lies below a mount. The calls of a file system are those of
//! [`Vfs`](crate::Vfs).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_cache::DiskCache;
use lfsfs_common::tasks::{Spawner, Tasks};
use lfsfs_reader::{
    ContentReader, Deadline, ReadError, Source as ContentSource, Wanted, WriteBehindCache,
};
use lfsfs_remote::{ChangedName, RemoteRead, Snapshot, VersionRange};
use lfsfs_types::content::PlacedPiece;
use lfsfs_types::limits::{DIRS_PER_MESSAGE_MAX, NAME_LEN_MAX};
use lfsfs_types::{ContentId, DirId, Kind, Name, Record, Source as SourceName, nodeid};

use crate::attr::{Attr, BLOCK_LEN};
use crate::config::{AccessLists, VfsConfig};
use crate::error::{Interrupted, VfsError};
use crate::inode::{InodeState, Inodes, Place};
use crate::listing::Listing;
use crate::listings::{Listings, Source};
use crate::stats::{Counters, Statfs, VfsStats};
use crate::stretch::{Listed, group_of, key_of};
use crate::xattr::{self, Value};

/// An entry that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes, the inode number among them.
    pub attr: Attr,
}

/// One version of one project, below a mount.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
#[derive(Debug)]
pub struct BaseVersion {
    source: Source,
    config: VfsConfig,
    inodes: Inodes,
    listings: Arc<Listings>,
    contents: Arc<ContentReader>,
    /// Stops what still fetches when the last version of the mount is dropped.
    tasks: Arc<Tasks>,
}

/// A record, and where it is with its neighbours if it is in a listing of this version.
pub(crate) struct Found {
    pub(crate) place: Option<Place>,
    pub(crate) record: Record,
    pub(crate) listing: Option<Arc<Listing>>,
}

impl BaseVersion {
    /// Resolves `source` and opens that version. No listing is asked for yet.
    pub async fn open(
        remote: Arc<dyn RemoteRead>,
        cache: DiskCache,
        source: &SourceName,
        config: VfsConfig,
    ) -> Result<Self, VfsError> {
        const ACTION: &str = "open the version";
        let call = async {
            let snapshot = remote.resolve_source(source).await;
            snapshot.map_err(ReadError::remote(ACTION))
        };
        let snapshot = Deadline::after(config.open_timeout)
            .bound(ACTION, call)
            .await?;
        Ok(Self::new(remote, cache, snapshot, config))
    }

    /// Opens a version that was resolved before. Nothing is asked yet.
    #[must_use]
    pub fn new(
        remote: Arc<dyn RemoteRead>,
        cache: DiskCache,
        snapshot: Snapshot,
        config: VfsConfig,
    ) -> Self {
        let tasks = Tasks::new();
        let source = Source {
            remote,
            cache: WriteBehindCache::start(cache),
            snapshot: Arc::new(snapshot),
            counters: Arc::new(Counters::default()),
            spawner: tasks.spawner().clone(),
        };
        let contents = ContentSource {
            remote: source.remote.clone(),
            project: source.snapshot.project.id,
            cache: Some(Arc::clone(&source.cache)),
            spawner: source.spawner.clone(),
        };
        Self {
            listings: Arc::new(Listings::new(source.clone(), &config)),
            contents: Arc::new(ContentReader::new(contents, &config.reader)),
            source,
            config,
            inodes: Inodes::new(),
            tasks: Arc::new(tasks),
        }
    }

    /// Returns another version of the project over the same caches and inodes, which are its own
    /// once it took the place of this one.
    pub(crate) fn next_version(&self, snapshot: Snapshot) -> Self {
        let source = Source {
            snapshot: Arc::new(snapshot),
            ..self.source.clone()
        };
        Self {
            listings: Arc::new(Listings::new(source.clone(), &self.config)),
            contents: Arc::clone(&self.contents),
            source,
            config: self.config,
            inodes: self.inodes.next(),
            tasks: Arc::clone(&self.tasks),
        }
    }

    /// Returns the owner of all tasks that work for the mount, whatever version it shows by now.
    ///
    /// The mount's process ends them at its end ([`Tasks::end`]). Dropping the file system stops them
    /// too, and does not wait for them.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// Returns the way to run what belongs to the mount outside of the task of a request.
    pub(crate) fn spawner(&self) -> &Spawner {
        self.tasks.spawner()
    }

    /// Returns the names that differ between two versions of the project.
    pub(crate) async fn changed_names(
        &self,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, VfsError> {
        let project = self.source.snapshot.project.id;
        let changed = self.source.remote.changed_names(project, range).await;
        changed.map_err(VfsError::io("compare two versions"))
    }

    /// Takes over what `before` has in memory of directories that are the same in both versions.
    pub(crate) fn inherit(&self, before: &Self, changed: &HashSet<DirId>) {
        self.listings.inherit(&before.listings, changed);
    }

    /// Returns the version that this shows.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.source.snapshot
    }

    /// Returns bytes of a file that was found.
    pub(crate) async fn read_found(
        &self,
        found: &Found,
        offset: u64,
        size: u32,
    ) -> Result<Bytes, VfsError> {
        let (content, len) = content_of(&found.record)?;
        let wanted = Wanted::new(content, len, range_of(offset, size));
        self.read_content(wanted, found.listed().as_ref()).await
    }

    /// Returns the value of an extended attribute of what was found.
    pub(crate) async fn xattr_found(
        &self,
        ino: u64,
        found: &Found,
        name: &[u8],
    ) -> Result<Bytes, VfsError> {
        match self.xattr(ino, &found.record, name)? {
            Value::Known(bytes) => Ok(bytes),
            Value::Content(content, len) => {
                let wanted = Wanted::new(content, len, 0..len);
                self.read_content(wanted, found.listed().as_ref()).await
            }
        }
    }

    /// Returns the size of the version. Never touches network or disk.
    #[must_use]
    pub fn statfs(&self) -> Statfs {
        let counts = &self.source.snapshot.version.counts;
        Statfs {
            blocks: counts.bytes.div_ceil(u64::from(BLOCK_LEN)),
            blocks_free: 0,
            files: counts.objects.saturating_add(1),
            files_free: 0,
            block_len: BLOCK_LEN,
            name_len_max: u32::try_from(NAME_LEN_MAX).unwrap_or(u32::MAX),
        }
    }

    /// Returns what was done so far and what is held now.
    #[must_use]
    pub fn stats(&self) -> VfsStats {
        let (inodes, directories) = self.inodes.count();
        let (listings, listings_len) = self.listings.load_in_memory();
        let contents = self.contents.stats();
        let counters = &self.source.counters;
        VfsStats {
            inodes: inodes as u64,
            directories: directories as u64,
            listings: listings as u64,
            listings_len: listings_len as u64,
            blocks: contents.blocks,
            blocks_len: contents.blocks_len,
            remote_listings: counters.listings.load(),
            remote_resolves: contents.resolves,
            remote_reads: contents.reads,
            remote_bytes: contents.bytes,
            remote_damaged: counters.damaged.load() + contents.damaged,
            read_errors: counters.read_errors.load(),
            cache: self.source.cache.disk().stats(),
        }
    }

    /// Waits until what was fetched so far is in the disk cache, as far as it can be stored.
    pub async fn settle(&self) {
        self.source.cache.settle().await;
    }

    /// Returns the table of inodes, which a writable mount shares.
    pub(crate) fn access_lists(&self) -> AccessLists {
        self.config.access_lists
    }

    pub(crate) fn inodes(&self) -> &Inodes {
        &self.inodes
    }

    pub(crate) fn listing_in_memory(&self, dir: DirId) -> Option<Arc<Listing>> {
        self.listings.in_memory(dir)
    }

    pub(crate) async fn listing(&self, dir: DirId) -> Result<Arc<Listing>, VfsError> {
        let deadline = Deadline::after(self.config.timeout);
        self.listings
            .load(dir, deadline)
            .await
            .inspect_err(|error| {
                self.source.counters.read_errors.add(1);
                if !error.is_logged() {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(%dir, error, "cannot list a directory");
                }
            })
    }

    /// Returns where directories of the version are, and those above them: the directory above and
    /// the name there. Those that the version does not have are absent.
    pub(crate) async fn directory_places(
        &self,
        dirs: &[DirId],
    ) -> Result<HashMap<DirId, (DirId, Name)>, VfsError> {
        const ACTION: &str = "find where directories are";
        let (project, version) = (&self.source.snapshot.project, &self.source.snapshot.version);
        let mut places = HashMap::new();
        for part in dirs.chunks(DIRS_PER_MESSAGE_MAX) {
            let ask = || async {
                let remote = &self.source.remote;
                let found = remote.directory_places(project.id, version.number, part);
                found.await.map_err(ReadError::remote(ACTION))
            };
            let deadline = Deadline::after(self.config.timeout);
            let found = deadline.retry(ACTION, ask).await?.into_iter();
            places.extend(found.map(|(dir, above, name)| (dir, (above, name))));
        }
        Ok(places)
    }

    /// Returns what a number stands for.
    pub(crate) async fn find(&self, ino: u64) -> Result<Found, Interrupted> {
        let record = match self.inodes.state_of(ino)? {
            None => return Err(VfsError::Stale.into()),
            Some(InodeState::Detached(detached)) => detached.object.record.clone(),
            Some(InodeState::Listed(_)) if ino == nodeid::ROOT => self.source.snapshot.root.clone(),
            Some(InodeState::Listed(place)) => {
                return Ok(Found::at(place, self.listing(place.dir).await?)?);
            }
        };
        Ok(Found {
            place: None,
            record,
            listing: None,
        })
    }

    fn xattr(&self, ino: u64, record: &Record, name: &[u8]) -> Result<Value, VfsError> {
        if ino == nodeid::ROOT && name == xattr::VERSION {
            return Ok(Value::Known(xattr::version(&self.source.snapshot)));
        }
        xattr::find(record, name).ok_or_else(|| xattr::absent(name))
    }

    /// Returns bytes of a content that an entry of the listing has; the root's own without one.
    pub(crate) async fn read_content(
        &self,
        wanted: Option<Wanted>,
        listed: Option<&Listed>,
    ) -> Result<Bytes, VfsError> {
        let Some(wanted) = wanted else {
            return Ok(Bytes::new());
        };
        let project = &self.source.snapshot.project.id;
        let key = key_of(project, wanted.content, listed);
        if let Some(bytes) = self.contents.read_in_memory(&key, &wanted) {
            return Ok(bytes);
        }
        let group = group_of(project, wanted.content, listed);
        let read = self.contents.read(&group, &wanted, self.config.timeout);
        let read = read.await.inspect_err(|error| {
            self.source.counters.read_errors.add(1);
            if !error.is_logged() {
                let error = error as &dyn std::error::Error;
                tracing::warn!(content = %wanted.content, error, "cannot read a file");
            }
        });
        Ok(read?)
    }

    /// Returns what a large content is cut into; nothing if the server does not know.
    pub(crate) async fn pieces(
        &self,
        whole: &Wanted,
        listed: Option<&Listed>,
    ) -> Result<Vec<PlacedPiece>, VfsError> {
        let group = group_of(&self.source.snapshot.project.id, whole.content, listed);
        let pieces = self.contents.pieces(&group, whole, self.config.timeout);
        Ok(pieces.await?)
    }

    /// Returns the first zeros of a large content that end behind an offset, as far as its cutting tells;
    /// nothing at its end if there are none.
    pub(crate) async fn zeros(
        &self,
        whole: &Wanted,
        offset: u64,
        listed: Option<&Listed>,
    ) -> Result<Range<u64>, VfsError> {
        let group = group_of(&self.source.snapshot.project.id, whole.content, listed);
        let timeout = self.config.timeout;
        let zeros = self.contents.zeros(&group, whole, offset, timeout);
        Ok(zeros.await?)
    }

    /// Returns how many bytes of a range [`zeros`](Self::zeros) tells, if that is in memory.
    pub(crate) fn zeros_in_memory(
        &self,
        content: ContentId,
        range: Range<u64>,
        listed: Option<&Listed>,
    ) -> Option<u64> {
        let key = key_of(&self.source.snapshot.project.id, content, listed);
        self.contents.zeros_in_memory(&key, &content, range)
    }
}

impl Found {
    /// Returns the entry of a listing that it was found at.
    pub(crate) fn listed(&self) -> Option<Listed> {
        Some(Listed {
            place: self.place?,
            listing: Arc::clone(self.listing.as_ref()?),
        })
    }

    fn at(place: Place, listing: Arc<Listing>) -> Result<Self, VfsError> {
        Ok(Self {
            place: Some(place),
            record: listing.entry_record(place.index)?,
            listing: Some(listing),
        })
    }
}

pub(crate) fn target_of(found: &Found) -> Result<Bytes, VfsError> {
    match &found.record.kind {
        Kind::Symlink { target } => Ok(Bytes::copy_from_slice(target)),
        _ => Err(VfsError::Invalid),
    }
}

fn range_of(offset: u64, size: u32) -> Range<u64> {
    offset..offset.saturating_add(u64::from(size))
}

fn content_of(record: &Record) -> Result<(ContentId, u64), VfsError> {
    match record.kind {
        Kind::File { size, content } => Ok((content, size)),
        Kind::Directory { .. } => Err(VfsError::IsDirectory),
        _ => Err(VfsError::Invalid),
    }
}
