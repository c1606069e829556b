//! The operations of a file system on one version: one method each.
//!
//! Each has a form that waits and a `try_` form that answers at once if all it needs is in memory,
//! so that a kernel transport can answer cached requests where it received them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_cache::DiskCache;
use lfsfs_common::tasks::{Spawner, Tasks};
use lfsfs_reader::{
    ContentReader, Deadline, PlacedPiece, ReadError, Source as ContentSource, Wanted,
    WriteBehindCache,
};
use lfsfs_remote::{ChangedName, RemoteRead, Snapshot, VersionRange};
use lfsfs_types::limits::{DIRS_PER_MESSAGE_MAX, NAME_LEN_MAX};
use lfsfs_types::{ContentId, DirId, Kind, Name, Record, Source as SourceName, nodeid};

use crate::attr::{Attr, BLOCK_LEN};
use crate::config::VfsConfig;
use crate::directory::{DirReader, EntrySink, candidate};
use crate::error::{Stop, VfsError};
use crate::inode::{Directory, Inodes, Moved, Place, Searched, Standing};
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

/// One version of one project as a file system.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
#[derive(Debug)]
pub struct Vfs {
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

impl Vfs {
    /// Resolves `source` and opens that version. On return the root answers.
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
            remote: Arc::clone(&source.remote),
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
    pub(crate) fn successor(&self, snapshot: Snapshot) -> Self {
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

    /// Looks up a name and counts one lookup of what it names.
    pub async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, VfsError> {
        let directory = self.directory_to_search(parent, name)?;
        let listing = self.listing(directory.dir).await?;
        self.lookup_in(parent, directory, &listing, name)
    }

    /// Like [`lookup`](Self::lookup), from memory.
    pub fn try_lookup(&self, parent: u64, name: &[u8]) -> Option<Result<Entry, VfsError>> {
        let directory = match self.directory_to_search(parent, name) {
            Ok(directory) => directory,
            Err(error) => return Some(Err(error)),
        };
        let listing = self.listings.in_memory(directory.dir)?;
        Some(self.lookup_in(parent, directory, &listing, name))
    }

    /// Returns the attributes of an inode.
    pub async fn getattr(&self, ino: u64) -> Result<Attr, VfsError> {
        let found = self.find(ino).await.map_err(unmoved)?;
        Ok(Attr::of(ino, &found.record))
    }

    /// Like [`getattr`](Self::getattr), from memory.
    pub fn try_getattr(&self, ino: u64) -> Option<Result<Attr, VfsError>> {
        let found = self.try_find(ino)?;
        Some(found.map(|found| Attr::of(ino, &found.record)))
    }

    /// Returns where a symbolic link points.
    pub async fn readlink(&self, ino: u64) -> Result<Bytes, VfsError> {
        target_of(&self.find(ino).await.map_err(unmoved)?)
    }

    /// Like [`readlink`](Self::readlink), from memory.
    pub fn try_readlink(&self, ino: u64) -> Option<Result<Bytes, VfsError>> {
        Some(self.try_find(ino)?.and_then(|found| target_of(&found)))
    }

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
        let directory = self.directory(ino)?;
        let listing = self.listing(directory.dir).await?;
        let reader = self.reader(ino, directory, listing, plus);
        reader.read(offset, sink).map_err(unmoved)
    }

    /// Like [`readdir`](Self::readdir), from memory.
    pub fn try_readdir(
        &self,
        ino: u64,
        offset: u64,
        plus: bool,
        sink: &mut EntrySink<'_>,
    ) -> Option<Result<(), VfsError>> {
        let directory = match self.directory(ino) {
            Ok(directory) => directory,
            Err(error) => return Some(Err(error)),
        };
        let listing = self.listings.in_memory(directory.dir)?;
        let reader = self.reader(ino, directory, listing, plus);
        Some(reader.read(offset, sink).map_err(unmoved))
    }

    /// Returns bytes of a file: fewer than `size` only at its end.
    pub async fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, VfsError> {
        let found = self.find(ino).await.map_err(unmoved)?;
        self.read_found(&found, offset, size).await
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

    /// Like [`read`](Self::read), from memory.
    pub fn try_read(&self, ino: u64, offset: u64, size: u32) -> Option<Result<Bytes, VfsError>> {
        let found = match self.try_find(ino)? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let (content, len) = match content_of(&found.record) {
            Ok(content) => content,
            Err(error) => return Some(Err(error)),
        };
        match Wanted::new(content, len, range_of(offset, size)) {
            None => Some(Ok(Bytes::new())),
            Some(wanted) => {
                let project = &self.source.snapshot.project.id;
                let key = key_of(project, content, found.listed().as_ref());
                self.contents.read_in_memory(&key, &wanted).map(Ok)
            }
        }
    }

    /// Returns the value of an extended attribute.
    pub async fn getxattr(&self, ino: u64, name: &[u8]) -> Result<Bytes, VfsError> {
        let found = self.find(ino).await.map_err(unmoved)?;
        self.xattr_found(ino, &found, name).await
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

    /// Like [`getxattr`](Self::getxattr), from memory.
    pub fn try_getxattr(&self, ino: u64, name: &[u8]) -> Option<Result<Bytes, VfsError>> {
        let found = match self.try_find(ino)? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        match self.xattr(ino, &found.record, name) {
            Ok(Value::Known(bytes)) => Some(Ok(bytes)),
            Ok(Value::Content(..)) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Returns the names of an inode's extended attributes, each with a NUL behind it.
    pub async fn listxattr(&self, ino: u64) -> Result<Bytes, VfsError> {
        let found = self.find(ino).await.map_err(unmoved)?;
        Ok(xattr::names(&found.record))
    }

    /// Like [`listxattr`](Self::listxattr), from memory.
    pub fn try_listxattr(&self, ino: u64) -> Option<Result<Bytes, VfsError>> {
        let found = self.try_find(ino)?;
        Some(found.map(|found| xattr::names(&found.record)))
    }

    /// Takes back lookups of an inode; one without any is freed.
    pub fn forget(&self, ino: u64, nlookup: u64) {
        self.inodes.forget(ino, nlookup);
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

    fn directory_to_search(&self, parent: u64, name: &[u8]) -> Result<Directory, VfsError> {
        if name.len() > NAME_LEN_MAX {
            return Err(VfsError::NameTooLong);
        }
        self.directory(parent)
    }

    fn directory(&self, ino: u64) -> Result<Directory, VfsError> {
        match self.inodes.directory(ino) {
            Ok(Searched::Directory(directory)) => Ok(directory),
            Ok(Searched::NotDirectory) => Err(VfsError::NotDirectory),
            Ok(Searched::Removed | Searched::Unknown) | Err(Moved) => Err(VfsError::Stale),
        }
    }

    fn reader(
        &self,
        ino: u64,
        directory: Directory,
        listing: Arc<Listing>,
        plus: bool,
    ) -> DirReader<'_> {
        DirReader {
            project: &self.source.snapshot.project.id,
            inodes: &self.inodes,
            ino,
            directory,
            listing,
            plus,
        }
    }

    fn lookup_in(
        &self,
        parent: u64,
        directory: Directory,
        listing: &Listing,
        name: &[u8],
    ) -> Result<Entry, VfsError> {
        let index = listing.find(name).ok_or(VfsError::NotFound)?;
        let record = listing.record(index).map_err(VfsError::damaged_record)?;
        if matches!(record.kind, Kind::Pack { .. }) {
            return Err(VfsError::Unsupported { what: "a pack" });
        }
        let place = Place {
            dir: directory.dir,
            index,
        };
        let project = &self.source.snapshot.project.id;
        let candidate = candidate(project, parent, place, name, &record)?;
        let ino = self.inodes.look_up(&candidate, &|_| false);
        let ino = ino.map_err(|Moved| VfsError::Stale)?;
        Ok(Entry {
            attr: Attr::of(ino, &record),
        })
    }

    /// Returns the table of inodes, which a writable mount shares.
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
    pub(crate) async fn find(&self, ino: u64) -> Result<Found, Stop> {
        match self.find_alone(ino)? {
            Ok(found) => Ok(found),
            Err(place) => Ok(Found::at(place, self.listing(place.dir).await?)?),
        }
    }

    fn try_find(&self, ino: u64) -> Option<Result<Found, VfsError>> {
        match self.find_alone(ino) {
            Err(stop) => Some(Err(unmoved(stop))),
            Ok(Ok(found)) => Some(Ok(found)),
            Ok(Err(place)) => Some(Found::at(place, self.listings.in_memory(place.dir)?)),
        }
    }

    /// Returns what has a record without a listing, or else the place.
    fn find_alone(&self, ino: u64) -> Result<Result<Found, Place>, Stop> {
        let record = match self.inodes.standing(ino)? {
            None => return Err(VfsError::Stale.into()),
            Some(Standing::Detached(detached)) => detached.object.record.clone(),
            Some(Standing::Listed(_)) if ino == nodeid::ROOT => self.source.snapshot.root.clone(),
            Some(Standing::Listed(place)) => return Ok(Err(place)),
        };
        Ok(Ok(Found {
            place: None,
            record,
            listing: None,
        }))
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

    /// Returns what a large content is cut into; nothing if the server does not have it.
    pub(crate) async fn pieces(
        &self,
        whole: &Wanted,
        listed: Option<&Listed>,
    ) -> Result<Vec<PlacedPiece>, VfsError> {
        let group = group_of(&self.source.snapshot.project.id, whole.content, listed);
        let pieces = self.contents.pieces(&group, whole, self.config.timeout);
        Ok(pieces.await?)
    }
}

impl Found {
    /// Returns the entry of a listing that it was found at.
    fn listed(&self) -> Option<Listed> {
        Some(Listed {
            place: self.place?,
            listing: Arc::clone(self.listing.as_ref()?),
        })
    }

    fn at(place: Place, listing: Arc<Listing>) -> Result<Self, VfsError> {
        let record = listing.record(place.index);
        Ok(Self {
            place: Some(place),
            record: record.map_err(VfsError::damaged_record)?,
            listing: Some(listing),
        })
    }
}

/// Returns why a version that nothing replaces fails.
fn unmoved(stop: Stop) -> VfsError {
    match stop {
        Stop::Failed(error) => error,
        Stop::Moved | Stop::Listing(_) => VfsError::Stale,
    }
}

pub(crate) fn target_of(found: &Found) -> Result<Bytes, VfsError> {
    match &found.record.kind {
        Kind::Symlink { target } => Ok(Bytes::copy_from_slice(target)),
        _ => Err(VfsError::Invalid),
    }
}

fn range_of(offset: u64, size: u32) -> std::ops::Range<u64> {
    offset..offset.saturating_add(u64::from(size))
}

fn content_of(record: &Record) -> Result<(ContentId, u64), VfsError> {
    match record.kind {
        Kind::File { size, content } => Ok((content, size)),
        Kind::Directory { .. } => Err(VfsError::IsDirectory),
        Kind::Pack { .. } => Err(VfsError::Unsupported { what: "a pack" }),
        _ => Err(VfsError::Invalid),
    }
}
