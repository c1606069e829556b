//! The cache as its users see it.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, FileTimes};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lfsfs_common::PathError;
use lfsfs_common::durable::TempFile;
use lfsfs_common::flock::{FileLock, LockMode};
use lfsfs_types::chunk::Footer;
use lfsfs_types::{ChunkInfo, DirId, ProjectId, VersionId, VersionNumber};
use thiserror::Error;

use crate::batches::Batches;
use crate::chunk_file::{ChunkFile, Found};
use crate::evict::{Evicted, StoreUsage};
use crate::layout::{FileKey, Layout, ListingKey, PlacesKey, parse_whole_version};
use crate::stats::{CacheStats, Counters};
use crate::usage::Usage;
use crate::{batch, evict, format, sealed, version_index, whole_file};

/// How often the time of last use of a file is written, at most.
const TOUCH_INTERVAL: Duration = Duration::from_mins(1);

/// How large the cache may become.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// Bytes on disk of all processes together. It may be exceeded by what they write at once.
    pub size_max: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { size_max: 20 << 30 }
    }
}

/// Why a cache cannot be opened.
#[derive(Debug, Error)]
pub enum CacheError {
    /// There is something else at this path.
    #[error("the cache directory {} is not a directory", path.display())]
    NotADirectory {
        /// The path that was named.
        path: PathBuf,
    },
}

/// The cache of a machine; clones share counters.
#[derive(Debug, Clone)]
pub struct DiskCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    size_max: u64,
    usage: Usage,
    counters: Counters,
    batches: Batches,
    /// Set while nothing can be written, so that this is logged once.
    is_failing: AtomicBool,
}

impl DiskCache {
    /// Opens the cache in `dir`, which is created when it is missing.
    ///
    /// A directory that cannot be written, now or later, gives a cache that does not store.
    pub fn open(dir: &Path, config: CacheConfig) -> Result<Self, CacheError> {
        if dir.exists() && !dir.is_dir() {
            return Err(CacheError::NotADirectory {
                path: dir.to_owned(),
            });
        }
        let cache = Self {
            shared: Arc::new(Shared {
                layout: Layout::new(dir),
                size_max: config.size_max,
                usage: Usage::new(config.size_max),
                counters: Counters::default(),
                batches: Batches::default(),
                is_failing: AtomicBool::new(false),
            }),
        };
        let ready = create_dir(dir)
            .map_err(PathError::wrap("create", dir))
            .and_then(|()| format::ensure(&cache.shared.layout));
        if let Err(error) = ready {
            cache.shared.write_failed(&error.path, &error.source);
        }
        Ok(cache)
    }

    /// Returns what this process did with the cache.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.shared.counters.read()
    }

    /// Measures what is in the cache, by the kind of files.
    #[must_use]
    pub fn measure(&self) -> Vec<StoreUsage> {
        evict::measure(&self.shared.layout, SystemTime::now())
    }

    /// Removes what was used least recently until at most `size` bytes are left, also where other processes use the
    /// cache: what they miss then they fetch again.
    pub fn prune(&self, size: u64) -> Result<Evicted, PathError> {
        let _lock = FileLock::acquire(&self.shared.layout.lock(), LockMode::Exclusive)?;
        self.shared.evict_to(size)
    }

    /// Returns the index of a chunk.
    #[must_use]
    pub fn footer(&self, chunk: &ChunkInfo) -> Option<Footer> {
        let len = chunk.footer_len as usize;
        self.in_chunk(chunk, |file| file.footer(), |_| len)
    }

    /// Keeps the index of a chunk, which the caller has verified.
    pub fn store_footer(&self, chunk: &ChunkInfo, encoded: &[u8]) {
        self.write_chunk(chunk, encoded.len() as u64, |file| {
            file.store_footer(encoded)
        });
    }

    /// Returns the raw bytes of a block, verified against the index of its chunk.
    #[must_use]
    pub fn block(&self, chunk: &ChunkInfo, footer: &Footer, index: u32) -> Option<Bytes> {
        self.in_chunk(chunk, |file| file.block(footer, index), Vec::len)
            .map(Bytes::from)
    }

    /// Returns true if a block seems to be there. Only reading it tells for sure.
    #[must_use]
    pub fn has_block(&self, chunk: &ChunkInfo, footer: &Footer, index: u32) -> bool {
        let present = self.blocks_present(chunk, footer);
        present.get(index as usize).copied().unwrap_or(false)
    }

    /// Returns for each block whether it seems to be there.
    #[must_use]
    pub fn blocks_present(&self, chunk: &ChunkInfo, footer: &Footer) -> Vec<bool> {
        let path = self.shared.layout.chunk(&chunk.id);
        let present = ChunkFile::open(&path, chunk).and_then(|file| file.blocks_present(footer));
        present.unwrap_or_else(|_| vec![false; footer.blocks().len()])
    }

    /// Keeps stored bytes of blocks, which the caller has verified.
    pub fn store_blocks(&self, chunk: &ChunkInfo, footer: &Footer, blocks: &[(u32, Bytes)]) {
        let len = blocks.iter().map(|(_, stored)| stored.len() as u64).sum();
        self.write_chunk(chunk, len, |file| {
            blocks
                .iter()
                .try_for_each(|(index, stored)| file.store_block(footer, *index, stored))
        });
    }

    /// Returns a listing as it was stored, alone or with others.
    #[must_use]
    pub fn listing(&self, key: &ListingKey) -> Option<Bytes> {
        let listing = self.listing_in_batch(key);
        listing.or_else(|| self.sealed(&self.shared.layout.listing(key)))
    }

    /// Returns a listing that was stored with others.
    fn listing_in_batch(&self, key: &ListingKey) -> Option<Bytes> {
        let shared = &self.shared;
        let damaged = |path: &Path| {
            tracing::warn!(path = %path.display(), "damaged data in the cache, fetching it again");
            self.remove_damaged(path);
        };
        let (path, slot) = shared.batches.find(&shared.layout, key, damaged)?;
        match batch::read(&path, shared.layout.name(&path), &slot) {
            Ok((Found::Whole(bytes), file)) => {
                if let Some(file) = file {
                    touch(&file);
                }
                shared.counters.hit(bytes.len());
                return Some(bytes);
            }
            Ok((Found::Damaged, _)) => damaged(&path),
            Ok((Found::Absent, _)) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot read from the cache");
            }
        }
        shared.batches.forget(&key.project, &path);
        None
    }

    /// Keeps many listings of a project in one file.
    pub fn store_listings(
        &self,
        project: &ProjectId,
        mut listings: Vec<(DirId, VersionId, Bytes)>,
    ) {
        if listings.is_empty() {
            return;
        }
        batch::sort(&mut listings);
        let shared = &self.shared;
        let path = shared
            .layout
            .batches(project)
            .join(batch::name_of(&listings));
        let len = listings.iter().map(|(.., bytes)| bytes.len() as u64).sum();
        shared.write(&path, len, || {
            let slots = batch::write(&path, shared.layout.name(&path), &listings)?;
            shared.batches.add(*project, path.clone(), slots);
            Ok(())
        });
    }

    /// Keeps a listing.
    pub fn store_listing(&self, key: &ListingKey, encoded: &[u8]) {
        self.store_sealed(&self.shared.layout.listing(key), encoded);
    }

    /// Removes a listing whose bytes turned out to make no sense, with those that were stored with it.
    pub fn remove_listing(&self, key: &ListingKey) {
        let shared = &self.shared;
        if let Some((path, _)) = shared.batches.find(&shared.layout, key, |_| ()) {
            self.remove_damaged(&path);
            shared.batches.forget(&key.project, &path);
            return;
        }
        self.remove_damaged(&self.shared.layout.listing(key));
    }

    /// Returns places as they were stored. They may be out of date.
    #[must_use]
    pub fn places(&self, key: &PlacesKey) -> Option<Bytes> {
        self.sealed(&self.shared.layout.places(key))
    }

    /// Keeps places, replacing those that are there.
    pub fn store_places(&self, key: &PlacesKey, encoded: &[u8]) {
        self.store_sealed(&self.shared.layout.places(key), encoded);
    }

    /// Returns which listing each directory has at a version, as far as a mount has recorded it and
    /// `position` has not passed it yet. A position begins at 0 and is moved on.
    #[must_use]
    pub fn version_index(
        &self,
        project: &ProjectId,
        version: &VersionId,
        position: &mut u64,
    ) -> HashMap<DirId, VersionId> {
        let layout = &self.shared.layout;
        let path = layout.version(project, version);
        match version_index::read(&path, layout.name(&path), *position) {
            Ok(index) => {
                if index.damaged {
                    self.shared.counters.damaged();
                }
                *position = index.end;
                index.listings
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot read a version index");
                HashMap::new()
            }
        }
    }

    /// Adds to what [`version_index`](Self::version_index) returns.
    pub fn add_to_version_index(
        &self,
        project: &ProjectId,
        version: &VersionId,
        entries: &[(DirId, VersionId)],
    ) {
        let layout = &self.shared.layout;
        let path = layout.version(project, version);
        let len = entries.len() as u64;
        self.shared.write(&path, len, || {
            version_index::append(&path, layout.name(&path), entries)
        });
    }

    /// Notes that [`version_index`](Self::version_index) has all directories in and below one of a version, which is
    /// also told by its number.
    pub fn note_whole_version(
        &self,
        project: &ProjectId,
        version: (VersionNumber, &VersionId),
        top: DirId,
    ) {
        self.store_sealed(
            &self.shared.layout.whole_version(project, version, top),
            b"",
        );
    }

    /// Returns the versions of which that was noted for `top`. Parts of it may be gone by now.
    #[must_use]
    pub fn whole_versions(
        &self,
        project: &ProjectId,
        top: DirId,
    ) -> Vec<(VersionNumber, VersionId)> {
        let entries = std::fs::read_dir(self.shared.layout.versions(project));
        let entries = entries.into_iter().flatten().flatten();
        let noted = entries.filter_map(|entry| {
            let (number, id, of) = parse_whole_version(entry.file_name().to_str()?)?;
            let is_noted = of == top && self.sealed(&entry.path()).is_some();
            is_noted.then_some((number, id))
        });
        noted.collect()
    }

    /// Makes an empty file where whole files lie. It removes itself when it is dropped.
    pub fn try_file(&self) -> Result<TempFile, PathError> {
        let dir = self.shared.layout.files();
        create_dir(&dir).map_err(PathError::wrap("create", &dir))?;
        TempFile::create_in(&dir)
    }

    /// Returns where a whole file lies if it is in the cache.
    #[must_use]
    pub fn file_path(&self, key: &FileKey) -> PathBuf {
        self.shared.layout.file(key)
    }

    /// Returns a whole file, open for reading. The caller verifies it.
    #[must_use]
    pub fn file(&self, key: &FileKey) -> Option<File> {
        let path = self.shared.layout.file(key);
        let found = whole_file::open(&path);
        self.shared.count(found.map(Found::Whole), &path, |_| 0)
    }

    /// Notes that a whole file was used, one whose inode no tree shares.
    pub fn touch_file(&self, file: &File) {
        touch(file);
    }

    /// Keeps a copy of a file that shares its blocks. The caller has verified it and is the only one to write to it.
    pub fn clone_file(&self, key: &FileKey, file: &File, len: u64) {
        let path = self.shared.layout.file(key);
        self.shared
            .write(&path, len, || whole_file::clone(&path, file));
    }

    /// Keeps another name of the file at `from`, which the caller has verified.
    pub fn link_file(&self, key: &FileKey, from: &Path, len: u64) {
        let path = self.shared.layout.file(key);
        self.shared
            .write(&path, len, || whole_file::link(&path, from));
    }

    /// Removes a whole file that turned out not to be what its key says.
    pub fn remove_file(&self, key: &FileKey) {
        let path = self.shared.layout.file(key);
        tracing::warn!(path = %path.display(), "damaged file in the cache, fetching it again");
        self.remove_damaged(&path);
    }

    fn in_chunk<T>(
        &self,
        chunk: &ChunkInfo,
        read: impl FnOnce(&ChunkFile<'_>) -> io::Result<Found<T>>,
        len: impl FnOnce(&T) -> usize,
    ) -> Option<T> {
        let path = self.shared.layout.chunk(&chunk.id);
        let found = ChunkFile::open(&path, chunk).and_then(|file| {
            let found = read(&file)?;
            touch(file.file());
            Ok(found)
        });
        self.shared.count(found, &path, len)
    }

    fn write_chunk(
        &self,
        chunk: &ChunkInfo,
        len: u64,
        write: impl Fn(&ChunkFile<'_>) -> io::Result<()>,
    ) {
        let path = self.shared.layout.chunk(&chunk.id);
        self.shared.write(&path, len, || {
            write(&ChunkFile::open_or_create(&path, chunk)?)
        });
    }

    fn sealed(&self, path: &Path) -> Option<Bytes> {
        let found = sealed::read(path, self.shared.layout.name(path)).map(|(found, file)| {
            if let Some(file) = file {
                touch(&file);
            }
            found
        });
        self.shared.count(found, path, Bytes::len)
    }

    fn store_sealed(&self, path: &Path, payload: &[u8]) {
        let name = self.shared.layout.name(path);
        self.shared.write(path, payload.len() as u64, || {
            sealed::write(path, name, payload)
        });
    }

    fn remove_damaged(&self, path: &Path) {
        self.shared.counters.damaged();
        if let Err(error) = sealed::remove(path) {
            tracing::debug!(path = %path.display(), %error, "cannot remove from the cache");
        }
    }
}

impl Shared {
    fn count<T>(
        &self,
        found: io::Result<Found<T>>,
        path: &Path,
        len: impl FnOnce(&T) -> usize,
    ) -> Option<T> {
        match found {
            Ok(Found::Whole(value)) => {
                self.counters.hit(len(&value));
                return Some(value);
            }
            Ok(Found::Damaged) => {
                self.counters.damaged();
                tracing::warn!(path = %path.display(), "damaged data in the cache, fetching it again");
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %path.display(), %error, "cannot read from the cache");
            }
            Ok(Found::Absent) | Err(_) => {}
        }
        self.counters.miss();
        None
    }

    /// Runs `write`, once more with the directories made if they are missing.
    fn write(&self, path: &Path, len: u64, write: impl Fn() -> io::Result<()>) {
        let written = match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path
                .parent()
                .map_or(Ok(()), create_dir)
                .and_then(|()| write()),
            other => other,
        };
        match written {
            Ok(()) => self.written(len),
            Err(error) => self.write_failed(path, &error),
        }
    }

    fn written(&self, len: u64) {
        self.counters.written(len);
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(dir = %self.layout.dir().display(), "the cache stores again");
        }
        if self.usage.add(len) {
            self.keep_size();
        }
    }

    fn write_failed(&self, path: &Path, error: &io::Error) {
        self.counters.write_error();
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %path.display(), %error, "cannot write to the cache, going on without");
        }
    }

    /// Counts what was written, and makes room if the limit is crossed. Does nothing while another
    /// process makes room.
    fn keep_size(&self) {
        if let Err(error) = self.try_keep_size() {
            tracing::debug!(%error, "cannot measure the cache");
        }
    }

    fn try_keep_size(&self) -> Result<(), PathError> {
        let Some(_lock) = FileLock::try_acquire(&self.layout.lock(), LockMode::Exclusive)? else {
            return Ok(());
        };
        let path = self.layout.usage();
        let total = self.usage.publish(&path);
        let total = total.map_err(PathError::wrap("count in", &path))?;
        if total.is_some_and(|total| total <= self.size_max) {
            return Ok(());
        }
        let evicted = self.evict_to(self.low_water())?;
        tracing::info!(
            files = evicted.files,
            left = evicted.left,
            "evicted from the cache"
        );
        Ok(())
    }

    /// Removes what was used least recently until `size` is kept, and counts what is left. The caller holds the lock.
    fn evict_to(&self, size: u64) -> Result<Evicted, PathError> {
        let evicted = evict::evict(&self.layout, size, SystemTime::now());
        self.counters.evicted(evicted.files);
        let path = self.layout.usage();
        let counted = self.usage.replace(&path, evicted.left);
        counted.map_err(PathError::wrap("count in", &path))?;
        Ok(evicted)
    }

    /// A tenth below the limit, so that evictions are rare.
    fn low_water(&self) -> u64 {
        self.size_max - self.size_max / 10
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keep_size();
    }
}

/// The owner alone may look in: the projects that are cached may be closed to other users.
fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Notes that a file was used. A file that cannot be touched just seems older than it is.
fn touch(file: &File) {
    let now = SystemTime::now();
    let is_due = |metadata| evict::age(&metadata, now) > TOUCH_INTERVAL;
    if file.metadata().is_ok_and(is_due) {
        let times = FileTimes::new().set_modified(now);
        if let Err(error) = file.set_times(times) {
            tracing::trace!(%error, "cannot note the use of a cached file");
        }
    }
}
