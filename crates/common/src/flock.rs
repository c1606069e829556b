//! Advisory locks between processes: flock(2) on a file, held as long as the value lives.
//!
//! The kernel drops such a lock when its holder dies, however it dies. The lock file is created
//! when it is missing and never removed: after a removal two processes could each hold the lock, on a
//! file of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::PathError;
use crate::backoff::Backoff;

/// How often a waiting process looks again; flock(2) itself knows no time limit.
const POLL: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));

/// Which other processes may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Other processes may hold it in shared mode too.
    Shared,
    /// No other process holds it.
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock if it is free; `None` means that another process holds it.
    pub fn try_acquire(path: &Path, mode: LockMode) -> Result<Option<Self>, PathError> {
        let file = open(path)?;
        let held = try_lock(&file, path, mode)?;
        Ok(held.then(|| Self {
            file,
            path: path.to_owned(),
        }))
    }

    /// Takes the lock, waiting at most `limit` for it; `None` means that it was held all that time.
    ///
    /// Blocks the thread.
    pub fn acquire_within(
        path: &Path,
        mode: LockMode,
        limit: Duration,
    ) -> Result<Option<Self>, PathError> {
        let started = Instant::now();
        let file = open(path)?;
        for delay in POLL.delays(u64::from(std::process::id())) {
            if try_lock(&file, path, mode)? {
                return Ok(Some(Self {
                    file,
                    path: path.to_owned(),
                }));
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            thread::sleep(delay.min(left));
        }
        Ok(None)
    }

    /// Takes the lock, however long that takes.
    ///
    /// Blocks the thread.
    pub fn acquire(path: &Path, mode: LockMode) -> Result<Self, PathError> {
        let file = open(path)?;
        match mode {
            LockMode::Shared => file.lock_shared(),
            LockMode::Exclusive => file.lock(),
        }
        .map_err(PathError::wrap("lock", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Returns the locked file, in which the holder may write its process id.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the lock file without truncating it: its bytes belong to the holder of the lock.
fn open(path: &Path) -> Result<File, PathError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(PathError::wrap("open lock file", path))
}

fn try_lock(file: &File, path: &Path, mode: LockMode) -> Result<bool, PathError> {
    let answer = match mode {
        LockMode::Shared => file.try_lock_shared(),
        LockMode::Exclusive => file.try_lock(),
    };
    match answer {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(PathError::new("lock", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_free(path: &Path, mode: LockMode) -> bool {
        FileLock::try_acquire(path, mode).unwrap().is_some()
    }

    #[test]
    fn an_exclusive_lock_keeps_all_others_out_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path, LockMode::Exclusive).unwrap();

        assert!(!is_free(&path, LockMode::Exclusive));
        assert!(!is_free(&path, LockMode::Shared));

        drop(held);
        assert!(is_free(&path, LockMode::Exclusive));
    }

    #[test]
    fn shared_locks_exclude_only_the_exclusive_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = FileLock::acquire(&path, LockMode::Shared).unwrap();

        assert!(is_free(&path, LockMode::Shared));
        assert!(!is_free(&path, LockMode::Exclusive));
    }

    #[test]
    fn waiting_ends_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = FileLock::acquire(&path, LockMode::Exclusive).unwrap();
        let limit = Duration::from_millis(30);
        let started = Instant::now();

        let answer = FileLock::acquire_within(&path, LockMode::Shared, limit).unwrap();

        assert!(answer.is_none());
        assert!(started.elapsed() >= limit);
    }

    #[test]
    fn a_waiter_gets_the_lock_once_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path, LockMode::Exclusive).unwrap();
        let waiter_path = path.clone();
        let waiter = thread::spawn(move || {
            let limit = Duration::from_secs(60);
            FileLock::acquire_within(&waiter_path, LockMode::Exclusive, limit)
                .unwrap()
                .is_some()
        });

        drop(held);

        assert!(waiter.join().unwrap());
    }

    #[test]
    fn the_bytes_of_a_lock_file_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, b"holder 17").unwrap();

        let lock = FileLock::acquire(&path, LockMode::Exclusive).unwrap();

        assert_eq!(std::io::read_to_string(lock.file()).unwrap(), "holder 17");
    }

    #[test]
    fn a_lock_in_a_missing_directory_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/lock");

        let error = FileLock::try_acquire(&path, LockMode::Shared).unwrap_err();

        assert_eq!(error.path, path);
        assert!(error.is_not_found());
    }
}
