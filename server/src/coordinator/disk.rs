//! Keeps the disk of the metadata from filling up. An engine that runs out of space in the middle
//! of a write stops until it is opened again, so the coordinator refuses new work before that.

use std::path::PathBuf;

use lfsfs_common::PathError;
use lfsfs_proto::status::{Fault, FaultKind};
use rustix::fs::statvfs;

use crate::blocking::IntoFault;

/// The part of the reserve that only what must go on may use: reads, receipts, registrations.
const FLOOR_DIVISOR: u64 = 2;

/// Looks at the free space of the metadata's disk.
#[derive(Debug, Clone)]
pub(crate) struct DiskGuard {
    dir: PathBuf,
    floor: u64,
}

/// Why new work is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("the disk of the metadata has {free} bytes free, new versions need {floor}")]
    Full { free: u64, floor: u64 },
    #[error(transparent)]
    Disk(#[from] PathError),
}

impl IntoFault for NoRoom {
    fn into_fault(self) -> Fault {
        let kind = match self {
            Self::Full { .. } => FaultKind::Full,
            Self::Disk(_) => FaultKind::Internal,
        };
        Fault::new(kind, lfsfs_common::full_text(&self))
    }
}

impl DiskGuard {
    /// Guards the disk of `dir` with a part of the server's reserve.
    pub(crate) fn new(dir: PathBuf, reserve: u64) -> Self {
        let floor = reserve / FLOOR_DIVISOR;
        Self { dir, floor }
    }

    /// Fails if new work could fill the disk.
    pub(super) fn check(&self) -> Result<(), NoRoom> {
        let disk = statvfs(&self.dir)
            .map_err(|errno| PathError::new("stat the disk of", &self.dir, errno.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.floor {
            let floor = self.floor;
            return Err(NoRoom::Full { free, floor });
        }
        Ok(())
    }
}
