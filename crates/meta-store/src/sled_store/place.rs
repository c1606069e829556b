//! Where a sled store lies, and the two files beside sled's own.
//!
//! `format` says which engine wrote the store and in which format; it is written last when a store
//! is created. `flushed` holds the number of the last flushed batch (8 bytes little endian) and
//! the CRC-32C of these. It is overwritten after each flush without a flush of its own: after a
//! power loss it may name an earlier batch than it could, never a later one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lfsfs_common::PathError;
use lfsfs_common::durable;

use crate::MetaError;

/// The name of the engine.
pub(super) const ENGINE: &str = "sled";

/// What the format file holds.
const FORMAT: &str = "lfsfs-meta-store sled 1\n";

const FORMAT_FILE: &str = "format";
const FLUSHED_FILE: &str = "flushed";
const FLUSHED_LEN: usize = 12;

/// Below so many free bytes nothing is written: sled cannot go on, not even reading, after a write
/// that found no space. It is room for the largest batch and what sled writes beside it.
const FREE_MIN: u64 = 16 << 20;

/// What reading sled's own files meets only if they are cut, gone or overwritten.
const DAMAGE_KINDS: [ErrorKind; 4] = [
    ErrorKind::UnexpectedEof,
    ErrorKind::NotFound,
    ErrorKind::InvalidData,
    ErrorKind::InvalidInput,
];

/// How the text of sled's error begins when another handle has the store open; it has no kind.
const SLED_LOCKED: &str = "could not acquire lock";

/// The directory of a store.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// The files in sled's directory of large pages that are durable; sled never changes one.
    synced_pages: Mutex<HashSet<OsString>>,
}

impl Place {
    /// Takes a directory, which is created if it is not there.
    pub(super) fn new(dir: &Path) -> Result<Self, MetaError> {
        let place = Self {
            dir: dir.to_owned(),
            synced_pages: Mutex::default(),
        };
        durable::create_dir_all_durable(dir).map_err(|error| place.path_error(error))?;
        Ok(place)
    }

    pub(super) fn sled_dir(&self) -> PathBuf {
        self.dir.join(ENGINE)
    }

    /// Returns whether there is a format file; one of another format is an error.
    pub(super) fn has_format(&self) -> Result<bool, MetaError> {
        let path = self.dir.join(FORMAT_FILE);
        let found = match fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(self.io("read", path, source)),
        };
        if found == FORMAT.as_bytes() {
            return Ok(true);
        }
        let shown = found[..found.len().min(64)]
            .trim_ascii()
            .escape_ascii()
            .to_string();
        Err(MetaError::Format {
            path: self.dir.clone(),
            found: shown,
            expected: FORMAT.trim_end().to_owned(),
        })
    }

    pub(super) fn write_format(&self) -> Result<(), MetaError> {
        durable::write_file_atomically(&self.dir.join(FORMAT_FILE), FORMAT.as_bytes())
            .map_err(|error| self.path_error(error))
    }

    /// Refuses to go on where the disk is nearly full.
    pub(super) fn check_room(&self) -> Result<(), MetaError> {
        let disk = rustix::fs::statvfs(&self.dir)
            .map_err(|errno| self.io("stat the disk of", self.dir.clone(), errno.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= FREE_MIN {
            return Ok(());
        }
        Err(MetaError::Full {
            path: self.dir.clone(),
            source: ErrorKind::StorageFull.into(),
        })
    }

    /// Makes durable whatever sled's files hold at this moment.
    ///
    /// sled's own flush calls sync_file_range(2), which leaves out the file's length and new
    /// blocks and the disk's cache, and it never syncs the files of large pages.
    pub(super) fn sync_data(&self) -> Result<(), MetaError> {
        self.sync_large_pages()?;
        self.sync_file(&self.sled_dir().join("db"))
    }

    /// Makes the entries durable that sled creates for a new store.
    pub(super) fn sync_sled_dir(&self) -> Result<(), MetaError> {
        let sled_dir = self.sled_dir();
        self.sync_file(&sled_dir.join("conf"))?;
        durable::sync_dir(&sled_dir).map_err(|error| self.path_error(error))?;
        durable::sync_dir(&self.dir).map_err(|error| self.path_error(error))
    }

    fn sync_large_pages(&self) -> Result<(), MetaError> {
        let dir = self.sled_dir().join("blobs");
        let names = fs::read_dir(&dir).and_then(|found| {
            found
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()
        });
        let names: HashSet<_> = names.map_err(|source| self.io("list", dir.clone(), source))?;
        let mut synced = self
            .synced_pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *synced == names {
            return Ok(());
        }
        for name in names.difference(&synced) {
            self.sync_file(&dir.join(name))?;
        }
        durable::sync_dir(&dir).map_err(|error| self.path_error(error))?;
        *synced = names;
        Ok(())
    }

    /// Syncs a file; sled may remove a large page that was replaced meanwhile.
    fn sync_file(&self, path: &Path) -> Result<(), MetaError> {
        match File::open(path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| self.io("sync", path.to_owned(), source)),
        }
    }

    /// Waits until no thread and no process holds sled's lock, at most for `limit`.
    pub(super) fn wait_until_unlocked(&self, limit: Duration) {
        let Ok(file) = File::open(self.sled_dir().join("db")) else {
            return;
        };
        let start = Instant::now();
        // The lock that this takes goes with the file.
        while file.try_lock().is_err() && start.elapsed() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> MetaError {
        MetaError::CorruptStore {
            what: what.into(),
            path: self.dir.clone(),
        }
    }

    /// Says what an error of sled means.
    pub(super) fn sled(&self, error: sled::Error) -> MetaError {
        match error {
            sled::Error::Io(source) if source.to_string().starts_with(SLED_LOCKED) => {
                MetaError::Locked {
                    path: self.dir.clone(),
                }
            }
            sled::Error::Io(source) if DAMAGE_KINDS.contains(&source.kind()) => {
                self.corrupt(source.to_string())
            }
            sled::Error::Io(source) => self.io("use", self.sled_dir(), source),
            other => self.corrupt(other.to_string()),
        }
    }

    fn io(&self, act: &'static str, path: PathBuf, source: io::Error) -> MetaError {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => MetaError::Full {
                path: self.dir.clone(),
                source,
            },
            _ => MetaError::Io { act, path, source },
        }
    }

    fn path_error(&self, error: PathError) -> MetaError {
        self.io(error.action, error.path, error.source)
    }
}

/// The file that names the last flushed batch.
#[derive(Debug)]
pub(super) struct FlushedFile {
    file: File,
    path: PathBuf,
    /// What the file says; two flushes at a time must not step back.
    sequence: Mutex<u64>,
}

impl FlushedFile {
    /// Opens the file; it may be empty in a store that is not created yet.
    pub(super) fn open(place: &Place) -> Result<Self, MetaError> {
        let path = place.dir.join(FLUSHED_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|source| place.io("open", path.clone(), source))?;
        Ok(Self {
            file,
            path,
            sequence: Mutex::new(0),
        })
    }

    /// Makes the file say 0, durably.
    pub(super) fn create(&self, place: &Place) -> Result<(), MetaError> {
        self.write(0)
            .and_then(|()| self.file.sync_all())
            .map_err(|source| place.io("write", self.path.clone(), source))?;
        durable::sync_dir(&place.dir).map_err(|error| place.path_error(error))
    }

    /// Returns what the file says.
    pub(super) fn read(&self, place: &Place) -> Result<u64, MetaError> {
        let mut bytes = [0; FLUSHED_LEN];
        let read = self.file.read_exact_at(&mut bytes, 0);
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(place.io("read", self.path.clone(), source)),
            Ok(()) => {
                let number = bytes
                    .first_chunk()
                    .map_or(0, |number| u64::from_le_bytes(*number));
                if encode(number) == bytes {
                    *self.sequence.lock().unwrap_or_else(PoisonError::into_inner) = number;
                    return Ok(number);
                }
            }
        }
        Err(place.corrupt(format!("the file {} is damaged", self.path.display())))
    }

    /// Makes the file say at least `sequence`.
    pub(super) fn advance(&self, place: &Place, sequence: u64) -> Result<(), MetaError> {
        let mut written = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= sequence {
            return Ok(());
        }
        self.write(sequence)
            .map_err(|source| place.io("write", self.path.clone(), source))?;
        *written = sequence;
        Ok(())
    }

    fn write(&self, sequence: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(sequence), 0)
    }
}

fn encode(sequence: u64) -> [u8; FLUSHED_LEN] {
    let mut bytes = [0; FLUSHED_LEN];
    let (number, sum) = bytes.split_at_mut(8);
    number.copy_from_slice(&sequence.to_le_bytes());
    sum.copy_from_slice(&crc32c::crc32c(number).to_le_bytes());
    bytes
}
