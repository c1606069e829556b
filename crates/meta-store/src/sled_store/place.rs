//! Where a sled store lies, and the two files beside sled's own.
//!
//! `format` says which engine wrote the store and in which format; it is written last when a store
//! is created. `flushed` holds the number of the last flushed batch (8 bytes little endian) and
//! the CRC-32C of these. It is overwritten after each flush without a flush of its own: after a
//! power loss it may name an earlier batch than it could, never a later one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
}

impl Place {
    /// Takes a directory, which is created if it is not there.
    pub(super) fn new(dir: &Path) -> Result<Self, MetaError> {
        let place = Self {
            dir: dir.to_owned(),
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

    /// Makes durable whatever sled's data file holds at this moment.
    pub(super) fn sync_data(&self) -> Result<(), MetaError> {
        let path = self.sled_dir().join("db");
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|source| self.io("sync", path, source))
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
