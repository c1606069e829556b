//! Chunks as files, one each, in 256 directories.
//!
//! Write order: space is set aside in `temp/`, as the bytes come; bytes; verification of the file as it will be read;
//! fsync of the file; rename; fsync of its directory: two waits for the disk. So a file under a chunk's name is whole, and
//! what a crash leaves in `temp/` is swept when the store is opened. One process at a time opens a
//! directory for writing; its owner holds a lock around it.

use std::fs::{self, File, Metadata};
use std::io::{BufReader, ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lfsfs_common::PathError;
use lfsfs_common::durable::{TempFile, remove_file_durably, rename_durably};
use lfsfs_types::ChunkId;
use rustix::fs::{Advice, FallocateFlags, StatVfs, fadvise, fallocate, statvfs};
use rustix::io::Errno;

use self::layout::Layout;
use crate::verify::{ChunkDamage, check_len, check_range, verify};
use crate::{
    ChunkReader, ChunkStamp, ChunkStore, ChunkStoreError, ChunkWriter, StoreStats, StoredChunk,
};

mod format_1;
mod layout;

const READ_BUFFER_LEN: usize = 256 * 1024;
/// Space that a chunk takes at once while it arrives.
const STEP_LEN: u64 = 4 * 1024 * 1024;

/// Keeps each chunk in a file of its own.
#[derive(Debug)]
pub struct DiskChunkStore {
    shared: Arc<Shared>,
    /// Held from looking at the free space to taking some of it.
    allocation: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    totals: Totals,
    reserve: u64,
}

/// What the store has.
#[derive(Debug, Default)]
struct Totals {
    chunks: AtomicU64,
    bytes: AtomicU64,
}

impl Totals {
    fn add(&self, len: u64) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// A file that was cut since it was counted takes less away than it added.
    fn remove(&self, len: u64) {
        self.chunks.fetch_sub(1, Ordering::Relaxed);
        let less = |bytes: u64| Some(bytes.saturating_sub(len));
        // The closure always has an answer, so this cannot fail.
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl DiskChunkStore {
    /// Opens the store in `dir`, which is made if it is missing, and sweeps what a crash has left.
    ///
    /// `reserve` bytes of the disk stay free. The caller makes sure that no other process has the
    /// store open.
    pub fn open(dir: &Path, reserve: u64) -> Result<Self, ChunkStoreError> {
        let layout = Layout::open(dir)?;
        layout.sweep()?;
        Self::with_layout(layout, reserve)
    }

    /// Opens a store that must be there, and changes nothing.
    pub fn open_existing(dir: &Path) -> Result<Self, ChunkStoreError> {
        Self::with_layout(Layout::open_existing(dir)?, 0)
    }

    fn with_layout(layout: Layout, reserve: u64) -> Result<Self, ChunkStoreError> {
        let totals = Totals::default();
        for id in layout.list(None, usize::MAX)? {
            totals.add(len_of(&layout.chunk(id)));
        }
        let shared = Shared {
            layout,
            totals,
            reserve,
        };
        Ok(Self {
            shared: Arc::new(shared),
            allocation: Mutex::new(()),
        })
    }

    /// Fails if the directory of the store cannot be read at all.
    pub(crate) fn check_readable(&self) -> Result<(), ChunkStoreError> {
        let layout = &self.shared.layout;
        layout.read_format()?;
        layout.list(None, 1)?;
        Ok(())
    }

    /// Returns the number of the device that the store is on.
    pub(crate) fn device(&self) -> Result<u64, ChunkStoreError> {
        let root = self.shared.layout.root();
        let found = fs::metadata(root).map_err(PathError::wrap("stat", root))?;
        Ok(found.dev())
    }

    fn open_file(&self, id: ChunkId) -> Result<(File, Metadata), ChunkStoreError> {
        let path = self.shared.layout.chunk(id);
        let opened = File::open(&path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ChunkStoreError::NotFound { id },
            _ => PathError::new("open", path, error).into(),
        })
    }
}

impl ChunkStore for DiskChunkStore {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn begin(&self, id: ChunkId, len: u64) -> Result<Box<dyn ChunkWriter>, ChunkStoreError> {
        check_len(len)?;
        let allocation = self
            .allocation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.check_space(len)?;
        let temp = TempFile::create_in(&self.shared.layout.temp())?;
        let set_aside = STEP_LEN.min(len);
        take_space(&temp, 0, set_aside)?;
        drop(allocation);
        Ok(Box::new(DiskWriter {
            shared: Arc::clone(&self.shared),
            temp,
            id,
            len,
            written: 0,
            set_aside,
        }))
    }

    fn open(&self, id: ChunkId) -> Result<Box<dyn ChunkReader>, ChunkStoreError> {
        let (file, metadata) = self.open_file(id)?;
        Ok(Box::new(DiskReader { id, file, metadata }))
    }

    fn verify(&self, id: ChunkId) -> Result<StoredChunk, ChunkStoreError> {
        let (file, metadata) = self.open_file(id)?;
        let len = metadata.len();
        verify(id, BufReader::with_capacity(READ_BUFFER_LEN, file), len)
            .map_err(|source| ChunkStoreError::Damaged { id, source })
    }

    fn drop_cached(&self, id: ChunkId) {
        if let Ok(file) = File::open(self.shared.layout.chunk(id)) {
            // Only advice: a page that stays was read from the disk at some time.
            let _ = fadvise(file, 0, None, Advice::DontNeed);
        }
    }

    fn quarantine(&self, id: ChunkId) -> Result<(), ChunkStoreError> {
        let layout = &self.shared.layout;
        let path = layout.chunk(id);
        let len = len_of(&path);
        match rename_durably(&path, &layout.free_damaged(id)) {
            Ok(()) => {
                self.shared.totals.remove(len);
                tracing::error!(chunk = %id, "a damaged chunk was moved aside");
                Ok(())
            }
            Err(error) if error.is_not_found() => Err(ChunkStoreError::NotFound { id }),
            Err(error) => Err(error.into()),
        }
    }

    fn delete(&self, id: ChunkId) -> Result<bool, ChunkStoreError> {
        let path = self.shared.layout.chunk(id);
        let len = len_of(&path);
        match remove_file_durably(&path) {
            Ok(()) => {
                self.shared.totals.remove(len);
                Ok(true)
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkStoreError> {
        Ok(self.shared.layout.list(after, limit)?)
    }

    fn stats(&self) -> Result<StoreStats, ChunkStoreError> {
        let disk = self.shared.disk()?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(StoreStats {
            total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            free_bytes,
            chunks: self.shared.totals.chunks.load(Ordering::Relaxed),
            chunk_bytes: self.shared.totals.bytes.load(Ordering::Relaxed),
            is_full: free_bytes <= self.shared.reserve,
            failed_disks: 0,
        })
    }
}

/// Returns how long a chunk's file is; 0 for one that is gone.
fn len_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Takes the space of a part of a file before its bytes come, where the file system can do that.
fn take_space(temp: &TempFile, from: u64, len: u64) -> Result<(), PathError> {
    match fallocate(temp.file(), FallocateFlags::empty(), from, len) {
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(PathError::new("set aside", temp.path(), errno.into())),
    }
}

#[derive(Debug)]
struct DiskWriter {
    shared: Arc<Shared>,
    temp: TempFile,
    id: ChunkId,
    len: u64,
    written: u64,
    /// Up to where the file has its space.
    set_aside: u64,
}

impl ChunkWriter for DiskWriter {
    fn write(&mut self, data: &[u8]) -> Result<(), ChunkStoreError> {
        let (written, len) = (self.written + data.len() as u64, self.len);
        if written > len {
            return Err(ChunkStoreError::WrongLength { written, len });
        }
        self.take_space_up_to(written)?;
        self.temp
            .file_mut()
            .write_all(data)
            .map_err(|error| PathError::new("write", self.temp.path(), error))?;
        self.written = written;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<StoredChunk, ChunkStoreError> {
        let Self {
            shared,
            temp,
            id,
            len,
            written,
            ..
        } = *self;
        if written != len {
            return Err(ChunkStoreError::WrongLength { written, len });
        }
        let reader = BufReader::with_capacity(READ_BUFFER_LEN, temp.file());
        let stored =
            verify(id, reader, len).map_err(|source| ChunkStoreError::Rejected { id, source })?;
        shared.publish(temp, id, len)?;
        Ok(stored)
    }
}

impl DiskWriter {
    /// Takes space step by step: a chunk that was announced and does not come keeps little of the
    /// disk from others.
    fn take_space_up_to(&mut self, position: u64) -> Result<(), ChunkStoreError> {
        while self.set_aside < position {
            let step = STEP_LEN.min(self.len - self.set_aside);
            self.shared.check_space(step)?;
            take_space(&self.temp, self.set_aside, step)?;
            self.set_aside += step;
        }
        Ok(())
    }
}

impl Shared {
    fn disk(&self) -> Result<StatVfs, PathError> {
        let root = self.layout.root();
        statvfs(root).map_err(|errno| PathError::new("stat the disk of", root, errno.into()))
    }

    fn check_space(&self, needed: u64) -> Result<(), ChunkStoreError> {
        let disk = self.disk()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free.saturating_sub(self.reserve) >= needed {
            return Ok(());
        }
        Err(ChunkStoreError::Full {
            free,
            reserve: self.reserve,
            needed,
        })
    }

    fn publish(&self, temp: TempFile, id: ChunkId, len: u64) -> Result<(), PathError> {
        let path = self.layout.chunk(id);
        let is_new = fs::symlink_metadata(&path).is_err();
        temp.persist(&path)?;
        if is_new {
            self.totals.add(len);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DiskReader {
    id: ChunkId,
    file: File,
    metadata: Metadata,
}

impl ChunkReader for DiskReader {
    fn chunk_len(&self) -> u64 {
        self.metadata.len()
    }

    fn stamp(&self) -> ChunkStamp {
        let (seconds, nanos) = (self.metadata.ctime(), self.metadata.ctime_nsec());
        ChunkStamp {
            file: self.metadata.ino(),
            changed: i128::from(seconds) * 1_000_000_000 + i128::from(nanos),
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, ChunkStoreError> {
        let Range { start, .. } = range;
        let memory = check_range(self.id, range, self.chunk_len())?;
        let mut bytes = vec![0; memory.len()];
        match self.file.read_exact_at(&mut bytes, start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) => Err(self.read_error(error)),
        }
    }
}

impl DiskReader {
    /// A file that has become shorter since it was opened is damage, not a failing system call.
    fn read_error(&self, error: std::io::Error) -> ChunkStoreError {
        ChunkStoreError::Damaged {
            id: self.id,
            source: ChunkDamage::Container(match error.kind() {
                ErrorKind::UnexpectedEof => lfsfs_types::chunk::ChunkError::ReadEnded,
                _ => lfsfs_types::chunk::ChunkError::Read(error),
            }),
        }
    }
}
