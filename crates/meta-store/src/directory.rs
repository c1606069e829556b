//! The directory of a store: the files that this crate keeps beside those of the engine, whichever that is.
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

/// The file that says which engine wrote a store, in one line: this word, the engine, its format.
pub(crate) const FORMAT_FILE: &str = "format";
pub(crate) const FORMAT_WORD: &str = "lfsfs-meta-store";
const FLUSHED_FILE: &str = "flushed";
const FLUSHED_LEN: usize = 12;

/// Below so many free bytes nothing is written: an engine may not go on, not even reading, after a
/// write that found no space. It is room for the largest batch and what the engine writes beside it.
const FREE_MIN: u64 = 16 << 20;

/// What reading an engine's own files meets only if they are cut, gone or overwritten.
pub(crate) const DAMAGE_KINDS: [ErrorKind; 4] = [
    ErrorKind::UnexpectedEof,
    ErrorKind::NotFound,
    ErrorKind::InvalidData,
    ErrorKind::InvalidInput,
];

/// The directory of a store.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// What the format file holds.
    format: String,
}

impl Directory {
    /// Takes the directory of a store of `engine` in its format 1; it is created if it is not there.
    pub(crate) fn new(path: &Path, engine: &str) -> Result<Self, MetaError> {
        let directory = Self {
            path: path.to_owned(),
            format: format!("{FORMAT_WORD} {engine} 1\n"),
        };
        durable::create_dir_all_durable(path).map_err(|error| directory.path_error(error))?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether there is a format file; one of another format is an error.
    pub(crate) fn has_format(&self) -> Result<bool, MetaError> {
        let path = self.path.join(FORMAT_FILE);
        let found = match fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(self.io("read", path, source)),
        };
        if found == self.format.as_bytes() {
            return Ok(true);
        }
        let shown = found[..found.len().min(64)]
            .trim_ascii()
            .escape_ascii()
            .to_string();
        Err(MetaError::Format {
            path: self.path.clone(),
            found: shown,
            expected: self.format.trim_end().to_owned(),
        })
    }

    pub(crate) fn write_format(&self) -> Result<(), MetaError> {
        durable::write_file_atomically(&self.path.join(FORMAT_FILE), self.format.as_bytes())
            .map_err(|error| self.path_error(error))
    }

    /// Refuses to go on where the disk is nearly full.
    pub(crate) fn check_room(&self) -> Result<(), MetaError> {
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|errno| self.io("stat the disk of", self.path.clone(), errno.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= FREE_MIN {
            return Ok(());
        }
        Err(MetaError::Full {
            path: self.path.clone(),
            source: ErrorKind::StorageFull.into(),
        })
    }

    /// Fails if the last batch that is there comes before the last one that was flushed.
    pub(crate) fn expect_flushed(&self, flushed: u64, last: u64) -> Result<(), MetaError> {
        if last >= flushed {
            return Ok(());
        }
        let what = format!("batch {flushed} was flushed, only {last} are there");
        Err(self.corrupt(what))
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> MetaError {
        MetaError::CorruptStore {
            what: what.into(),
            path: self.path.clone(),
        }
    }

    pub(crate) fn io(&self, act: &'static str, path: PathBuf, source: io::Error) -> MetaError {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => MetaError::Full {
                path: self.path.clone(),
                source,
            },
            _ => MetaError::Io { act, path, source },
        }
    }

    pub(crate) fn path_error(&self, error: PathError) -> MetaError {
        self.io(error.action, error.path, error.source)
    }
}

/// The file that names the last flushed batch.
#[derive(Debug)]
pub(crate) struct FlushedFile {
    file: File,
    path: PathBuf,
    /// What the file says; two flushes at a time must not step back.
    sequence: Mutex<u64>,
}

impl FlushedFile {
    /// Opens the file; it may be empty in a store that is not created yet.
    pub(crate) fn open(directory: &Directory) -> Result<Self, MetaError> {
        let path = directory.path.join(FLUSHED_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|source| directory.io("open", path.clone(), source))?;
        Ok(Self {
            file,
            path,
            sequence: Mutex::new(0),
        })
    }

    /// Makes the file say 0, durably.
    pub(crate) fn create(&self, directory: &Directory) -> Result<(), MetaError> {
        self.write(0)
            .and_then(|()| self.file.sync_all())
            .map_err(|source| directory.io("write", self.path.clone(), source))?;
        durable::sync_dir(&directory.path).map_err(|error| directory.path_error(error))
    }

    /// Returns what the file says.
    pub(crate) fn read(&self, directory: &Directory) -> Result<u64, MetaError> {
        let mut bytes = [0; FLUSHED_LEN];
        let read = self.file.read_exact_at(&mut bytes, 0);
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(directory.io("read", self.path.clone(), source)),
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
        Err(directory.corrupt(format!("the file {} is damaged", self.path.display())))
    }

    /// Makes the file say at least `sequence`.
    pub(crate) fn advance(&self, directory: &Directory, sequence: u64) -> Result<(), MetaError> {
        let mut written = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= sequence {
            return Ok(());
        }
        self.write(sequence)
            .map_err(|source| directory.io("write", self.path.clone(), source))?;
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
