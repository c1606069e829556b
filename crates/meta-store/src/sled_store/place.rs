//! Where sled's own files lie, what makes them durable, and what its errors mean.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lfsfs_common::durable;

use crate::MetaError;
use crate::directory::{DAMAGE_KINDS, Directory};

/// The name of the engine.
pub(crate) const ENGINE: &str = "sled";
/// The directory of sled's files.
pub(crate) const DATA_DIR: &str = "sled";

/// How the text of sled's error begins when another handle has the store open; it has no kind.
const SLED_LOCKED: &str = "could not acquire lock";

/// The directory of a store.
#[derive(Debug)]
pub(super) struct Place {
    directory: Directory,
    /// The files in sled's directory of large pages that are durable; sled never changes one.
    synced_pages: Mutex<HashSet<OsString>>,
}

impl Place {
    /// Takes a directory, which is created if it is not there.
    pub(super) fn new(dir: &Path) -> Result<Self, MetaError> {
        Ok(Self {
            directory: Directory::new(dir, ENGINE)?,
            synced_pages: Mutex::default(),
        })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn sled_dir(&self) -> PathBuf {
        self.directory.path().join(DATA_DIR)
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
        durable::sync_dir(&sled_dir).map_err(|error| self.directory.path_error(error))?;
        durable::sync_dir(self.directory.path()).map_err(|error| self.directory.path_error(error))
    }

    fn sync_large_pages(&self) -> Result<(), MetaError> {
        let dir = self.sled_dir().join("blobs");
        let names = fs::read_dir(&dir).and_then(|found| {
            found
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()
        });
        let names: HashSet<_> =
            names.map_err(|source| self.directory.io("list", dir.clone(), source))?;
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
        durable::sync_dir(&dir).map_err(|error| self.directory.path_error(error))?;
        *synced = names;
        Ok(())
    }

    /// Syncs a file; sled may remove a large page that was replaced meanwhile.
    fn sync_file(&self, path: &Path) -> Result<(), MetaError> {
        match File::open(path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| self.directory.io("sync", path.to_owned(), source)),
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

    /// Says what an error of sled means.
    pub(super) fn sled(&self, error: sled::Error) -> MetaError {
        match error {
            sled::Error::Io(source) if source.to_string().starts_with(SLED_LOCKED) => {
                MetaError::Locked {
                    path: self.directory.path().to_owned(),
                }
            }
            sled::Error::Io(source) if DAMAGE_KINDS.contains(&source.kind()) => {
                self.directory.corrupt(source.to_string())
            }
            sled::Error::Io(source) => self.directory.io("use", self.sled_dir(), source),
            other => self.directory.corrupt(other.to_string()),
        }
    }
}
