//! A whole version comes into the disk cache before a mount asks for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lfsfs_common::full_text;
use lfsfs_reader::Wanted;
use lfsfs_types::{DirId, Kind, Record};

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::inode::Place;
use crate::stretch::Listed;

/// Directories whose files are read at the same time.
const DIRECTORIES_AT_ONCE: usize = 32;
/// Bytes that are asked for at once.
const READ_LEN: u64 = 1 << 20;
/// Failures that are kept to be shown.
const SHOWN_MAX: usize = 20;

/// What could not be brought into the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotWarmed {
    /// Its path in the version.
    pub path: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// Counters that grow while a version comes into the cache.
#[derive(Debug, Default)]
pub struct WarmProgress {
    entries: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    first_failed: Mutex<Vec<NotWarmed>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WarmFigures {
    /// Entries of directories.
    pub entries: u64,
    /// Bytes of files and attributes that are in the cache now, or were before.
    pub bytes: u64,
    /// Objects that could not be read; a directory counts as one.
    pub failed: u64,
}

impl WarmProgress {
    /// Returns what was done so far.
    #[must_use]
    pub fn figures(&self) -> WarmFigures {
        WarmFigures {
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Returns the first failures, 20 at most.
    #[must_use]
    pub fn first_failed(&self) -> Vec<NotWarmed> {
        let failed = self.first_failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, path: &[u8], error: &VfsError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failed = self
            .first_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failed.len() < SHOWN_MAX {
            failed.push(NotWarmed {
                path: path.to_vec(),
                reason: full_text(error),
            });
        }
    }
}

/// A directory that is to be read.
struct Directory {
    dir: DirId,
    path: Vec<u8>,
}

impl BaseVersion {
    /// Reads all listings and contents of the version, so that they are in the disk cache. What is there already is
    /// verified, and not fetched again.
    ///
    /// What cannot be read is counted, and the rest goes on.
    pub async fn warm(&self, progress: &WarmProgress) {
        self.warm_contents(&self.snapshot().root, None, b"", progress)
            .await;
        let mut pending = vec![Directory {
            dir: DirId::ROOT,
            path: Vec::new(),
        }];
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < DIRECTORIES_AT_ONCE
                && let Some(directory) = pending.pop()
            {
                running.push(self.warm_directory(directory, progress));
            }
            let Some(below) = running.next().await else {
                break;
            };
            // The last one is taken first: so they are read in the order in which listings come in bulk.
            pending.extend(below.into_iter().rev());
        }
        self.settle().await;
    }

    /// Reads the files of a directory, and returns the directories in it.
    async fn warm_directory(
        &self,
        directory: Directory,
        progress: &WarmProgress,
    ) -> Vec<Directory> {
        let Directory { dir, path } = directory;
        let mut below = Vec::new();
        let listing = match self.listing(dir).await {
            Ok(listing) => listing,
            Err(error) => {
                progress.fail(&path, &error);
                return below;
            }
        };
        for index in 0..listing.len() {
            let name = listing.entry_name(index);
            let entry = name.and_then(|name| Ok((name, listing.entry_record(index)?)));
            let (name, record) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    progress.fail(&path, &error);
                    continue;
                }
            };
            progress.entries.fetch_add(1, Ordering::Relaxed);
            let path = below_path(&path, name.as_bytes());
            let listed = Listed {
                place: Place { dir, index },
                listing: listing.clone(),
            };
            self.warm_contents(&record, Some(&listed), &path, progress)
                .await;
            if let Kind::Directory { dir } = record.kind {
                below.push(Directory { dir, path });
            }
        }
        below
    }

    async fn warm_contents(
        &self,
        record: &Record,
        listed: Option<&Listed>,
        path: &[u8],
        progress: &WarmProgress,
    ) {
        for named in record.named_contents() {
            let len = named.len.unwrap_or(0);
            for start in (0..len).step_by(usize::try_from(READ_LEN).unwrap_or(usize::MAX)) {
                let wanted = Wanted::new(named.content, len, start..start + READ_LEN);
                match self.read_content(wanted, listed).await {
                    Ok(bytes) => {
                        progress
                            .bytes
                            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    }
                    Err(error) => {
                        progress.fail(path, &error);
                        break;
                    }
                }
            }
        }
    }
}

fn below_path(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        [] => name.to_vec(),
        path => [path, b"/", name].concat(),
    }
}
