//! Making room: what was used least recently goes first.
//!
//! The modification time of a file is when it was last used; nothing else wants that time. Of a whole file, whose
//! inode a tree may share, it is the change time, which each use renews. Removing
//! a file that another process reads or writes is harmless: it goes on with the unlinked file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lfsfs_common::durable::is_temp_file_name;

use crate::layout::{FILES, Layout, STORES};

/// A temporary file this old was left by a process that died.
const TEMP_AGE_MAX: Duration = Duration::from_hours(1);

/// What an eviction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// Files that were removed.
    pub files: u64,
    /// Bytes on disk that are left.
    pub left: u64,
}

struct Candidate {
    used: SystemTime,
    len: u64,
    path: PathBuf,
}

/// Measures the cache and removes files until `size_target` is kept.
pub(crate) fn evict(layout: &Layout, size_target: u64, now: SystemTime) -> Evicted {
    let mut candidates = Vec::new();
    for (name, store) in STORES.iter().zip(layout.stores()) {
        collect(&store, clock_of(name), now, &mut candidates);
    }
    let mut left: u64 = candidates.iter().map(|candidate| candidate.len).sum();
    candidates.sort_unstable_by_key(|candidate| candidate.used);
    let mut files = 0;
    for candidate in candidates {
        if left <= size_target {
            break;
        }
        if fs::remove_file(&candidate.path).is_ok() {
            left -= candidate.len;
            files += 1;
        }
    }
    Evicted { files, left }
}

/// What one kind of files takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUsage {
    /// What they are: `batches`, `chunks`, `files`, `listings`, `places` or `versions`.
    pub name: &'static str,
    /// How many there are.
    pub files: u64,
    /// What they take on disk.
    pub bytes: u64,
}

/// Measures what each kind of files takes.
pub(crate) fn measure(layout: &Layout, now: SystemTime) -> Vec<StoreUsage> {
    let usage = STORES.iter().zip(layout.stores()).map(|(name, store)| {
        let mut files = Vec::new();
        collect(&store, clock_of(name), now, &mut files);
        StoreUsage {
            name,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.len).sum(),
        }
    });
    usage.collect()
}

/// Removes everything that the cache stores.
pub(crate) fn wipe(layout: &Layout) -> io::Result<()> {
    for store in layout.stores() {
        match fs::remove_dir_all(&store) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Which time of a file says when it was used last.
type Clock = fn(&Metadata) -> SystemTime;

fn clock_of(store: &str) -> Clock {
    match store {
        FILES => changed,
        _ => modified,
    }
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn changed(metadata: &Metadata) -> SystemTime {
    let secs = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    let since = Duration::new(secs, nanos.min(999_999_999));
    let changed = SystemTime::UNIX_EPOCH.checked_add(since);
    changed.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Others remove files and directories at the same time, so what cannot be read is not there.
fn collect(dir: &Path, clock: Clock, now: SystemTime, candidates: &mut Vec<Candidate>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        if metadata.is_dir() {
            collect(&path, clock, now, candidates);
            continue;
        }
        let used = clock(&metadata);
        if !is_temp_file_name(&entry.file_name()) {
            candidates.push(candidate(path, &metadata, used));
        } else if now.duration_since(used).unwrap_or_default() > TEMP_AGE_MAX {
            candidates.push(candidate(path, &metadata, SystemTime::UNIX_EPOCH));
        }
    }
}

fn candidate(path: PathBuf, metadata: &Metadata, used: SystemTime) -> Candidate {
    Candidate {
        used,
        len: metadata.blocks() * 512,
        path,
    }
}

/// Returns how long ago a file was used; zero if that lies in the future.
pub(crate) fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    let used = metadata.modified().unwrap_or(now);
    now.duration_since(used).unwrap_or_default()
}
