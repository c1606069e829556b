//! Files of a directory that are uploaded into another one: an uploader without a mount and without a cluster.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::uploader::{Failure, FileId, Uploader, Uploads};

/// Uploads the files of `local`, whose names are numbers, into `remote`, under the same names. A file of `remote` with
/// the same bytes makes one of `local` remote.
#[derive(Debug)]
pub struct DirectoryUploader {
    local: PathBuf,
    remote: PathBuf,
    touched: Mutex<BTreeSet<FileId>>,
    /// Files that are refused.
    poisoned: Mutex<BTreeSet<FileId>>,
    is_away: AtomicBool,
    sent: AtomicU64,
}

impl DirectoryUploader {
    /// Takes two directories that are there.
    #[must_use]
    pub fn new(local: &Path, remote: &Path) -> Self {
        Self {
            local: local.to_owned(),
            remote: remote.to_owned(),
            touched: Mutex::default(),
            poisoned: Mutex::default(),
            is_away: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        }
    }

    /// Writes a file, or removes it.
    pub fn write(&self, file: FileId, bytes: Option<&[u8]>) -> io::Result<()> {
        let path = self.local.join(file.to_string());
        match bytes {
            Some(bytes) => fs::write(path, bytes)?,
            None => fs::remove_file(path)?,
        }
        lock(&self.touched).insert(file);
        Ok(())
    }

    /// Returns the bytes that the remote has of a file.
    #[must_use]
    pub fn remote(&self, file: FileId) -> Option<Vec<u8>> {
        fs::read(self.remote.join(file.to_string())).ok()
    }

    /// Makes all uploads fail, or none, as if there were no network.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Refuses batches with this file from now on, or no more.
    pub fn set_poisoned(&self, file: FileId, is_poisoned: bool) {
        let mut poisoned = lock(&self.poisoned);
        if is_poisoned {
            poisoned.insert(file);
        } else {
            poisoned.remove(&file);
        }
    }

    /// Returns how many files were copied so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    fn bytes(&self, file: FileId) -> Option<Vec<u8>> {
        fs::read(self.local.join(file.to_string())).ok()
    }

    fn is_local(&self, file: FileId) -> bool {
        let bytes = self.bytes(file);
        bytes.is_some() && bytes != self.remote(file)
    }

    fn copy(&self, file: FileId, uploads: &mut Uploads) -> io::Result<()> {
        let Some(bytes) = self.bytes(file) else {
            return Ok(());
        };
        fs::write(self.remote.join(file.to_string()), &bytes)?;
        self.sent.fetch_add(1, Ordering::SeqCst);
        uploads.bytes_sent += bytes.len() as u64;
        if self.bytes(file) == Some(bytes) {
            uploads.remote.insert(file);
        }
        Ok(())
    }
}

impl Uploader for DirectoryUploader {
    fn local_files(&self) -> Vec<FileId> {
        let Ok(entries) = fs::read_dir(&self.local) else {
            return Vec::new();
        };
        let files = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        files.filter(|file| self.is_local(*file)).collect()
    }

    fn take_touched(&self) -> BTreeSet<FileId> {
        std::mem::take(&mut *lock(&self.touched))
    }

    fn len(&self, file: FileId) -> Option<u64> {
        self.is_local(file)
            .then(|| self.bytes(file).map_or(0, |bytes| bytes.len() as u64))
    }

    fn upload(&self, files: &[FileId]) -> Result<Uploads, Failure> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Failure::Away("the remote is away".to_owned()));
        }
        if files.iter().any(|file| lock(&self.poisoned).contains(file)) {
            return Err(Failure::Lasting("the remote refuses this".to_owned()));
        }
        let mut uploads = Uploads::default();
        for file in files {
            if let Err(error) = self.copy(*file, &mut uploads) {
                uploads
                    .failed
                    .push((*file, Failure::Passing(error.to_string())));
            }
        }
        Ok(uploads)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}
