//! The moment that a commit takes: no write call is half in it.
//!
//! The kernel first sends what it holds of mappings and gathered writes, then the writes that are
//! being served are waited for. A program that goes on writing meanwhile is in the commit up to one
//! of its calls.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{fstat, major, minor, syncfs};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::mountinfo::Device;

/// How long the kernel may take to send what it holds.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a moment without a write is waited for. There may be none while many programs write;
/// then the cut lies between calls that the core takes one after the other anyway.
const QUIET_TIMEOUT: Duration = Duration::from_millis(100);
const QUIET_PERIOD: Duration = Duration::from_millis(1);

/// Why there is no such moment.
#[derive(Debug, Error)]
pub(crate) enum CutError {
    /// Programs cannot write here any more either.
    #[error("{} does not show this mount any more", dir.display())]
    NotSeen {
        /// The mount point.
        dir: PathBuf,
    },
    /// The kernel could not write what it holds.
    #[error("cannot write what the kernel holds of {}", dir.display())]
    Sync {
        /// The mount point.
        dir: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// The WRITE requests that are being served.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    in_flight: AtomicU64,
}

/// One WRITE request, from its receipt to its answer.
#[derive(Debug)]
pub(crate) struct Write(Arc<Writes>);

impl Writes {
    /// Counts a request until the guard goes.
    pub(crate) fn begin(self: &Arc<Self>) -> Write {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Write(Arc::clone(self))
    }

    async fn quiet(&self) {
        while self.in_flight.load(Ordering::Acquire) > 0 {
            sleep(QUIET_PERIOD).await;
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns when all that was written into the mount before is here.
pub(crate) async fn make(dir: &Path, device: Device, writes: &Writes) -> Result<(), CutError> {
    let path = dir.to_owned();
    let flushed = timeout(SYNC_TIMEOUT, spawn_blocking(move || flush(&path, device))).await;
    match flushed {
        Ok(Ok(flushed)) => flushed?,
        Ok(Err(_)) => return Err(failed(dir, io::Error::other("the writing thread ended"))),
        Err(_) => return Err(failed(dir, io::ErrorKind::TimedOut.into())),
    }
    // syncfs(2) returns before its writes are answered.
    if timeout(QUIET_TIMEOUT, writes.quiet()).await.is_err() {
        debug!("programs write without a pause");
    }
    Ok(())
}

/// Makes the kernel send what it holds. Blocks, and asks the mount itself.
fn flush(dir: &Path, device: Device) -> Result<(), CutError> {
    let failed = |error: io::Error| failed(dir, error);
    let root = File::open(dir).map_err(failed)?;
    let seen = fstat(&root).map_err(|error| failed(error.into()))?.st_dev;
    if (major(seen), minor(seen)) != (device.major, device.minor) {
        let dir = dir.to_owned();
        return Err(CutError::NotSeen { dir });
    }
    syncfs(&root).map_err(|error| failed(error.into()))
}

fn failed(dir: &Path, source: io::Error) -> CutError {
    CutError::Sync {
        dir: dir.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_waits_for_a_write_but_not_for_ever() {
        let writes = Arc::new(Writes::default());
        let write = writes.begin();
        assert!(timeout(QUIET_TIMEOUT, writes.quiet()).await.is_err());
        drop(write);
        writes.quiet().await;
    }

    #[tokio::test]
    async fn another_file_system_at_the_place_is_no_cut() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device {
            major: u32::MAX,
            minor: 0,
        };
        let made = make(dir.path(), device, &Writes::default()).await;
        assert!(matches!(made, Err(CutError::NotSeen { .. })), "{made:?}");
    }
}
