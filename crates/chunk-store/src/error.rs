//! Why a chunk could not be stored or read.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use lfsfs_common::PathError;
use lfsfs_types::ChunkId;
use lfsfs_types::chunk::ChunkError;

use crate::verify::ChunkDamage;

/// Why a chunk could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkStoreError {
    /// There is no such chunk.
    #[error("no chunk {id}")]
    NotFound {
        /// The chunk asked for.
        id: ChunkId,
    },
    /// Less than the reserve would stay free.
    #[error("{free} bytes are free and {reserve} of them reserved: no room for {needed}")]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
        /// Bytes asked for.
        needed: u64,
    },
    /// A chunk cannot have this length.
    #[error("a chunk of {len} bytes: at least 1 and at most {max} are possible")]
    Length {
        /// The length announced.
        len: u64,
        /// The longest chunk.
        max: u64,
    },
    /// More or fewer bytes were written than announced.
    #[error("{written} bytes written of a chunk of {len}")]
    WrongLength {
        /// Bytes written.
        written: u64,
        /// Bytes announced.
        len: u64,
    },
    /// A range lies outside its chunk.
    #[error("bytes {} to {} of chunk {id}, which has {len}", range.start, range.end)]
    Range {
        /// The chunk.
        id: ChunkId,
        /// The range asked for.
        range: Range<u64>,
        /// The chunk's length.
        len: u64,
    },
    /// Bytes that were to be stored are not the chunk that was announced.
    #[error("chunk {id} is not what was announced")]
    Rejected {
        /// The chunk announced.
        id: ChunkId,
        /// What is wrong with the bytes.
        source: ChunkDamage,
    },
    /// A stored chunk is not what it was when it was stored.
    #[error("stored chunk {id} is damaged")]
    Damaged {
        /// The chunk.
        id: ChunkId,
        /// What is wrong with it.
        source: ChunkDamage,
    },
    /// The directory holds something else, or a store of another format.
    #[error("{} holds {found:?}, expected {expected:?}", path.display())]
    Format {
        /// The file that tells the format.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// The directory is a store of an earlier format, and the caller changes nothing.
    #[error("{} says an earlier format: start the server on it once", path.display())]
    OldFormat {
        /// The file that tells the format.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl ChunkStoreError {
    /// Returns true if what was asked for is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Returns true if the disk is full, or below its reserve.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Full { .. } => true,
            Self::Io(error) => matches!(error.kind(), StorageFull | QuotaExceeded),
            _ => false,
        }
    }

    /// Returns true if stored bytes are damaged: another replica may have them whole.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Returns true if the disk did not give the bytes of a chunk that was opened: they may be lost, or come
    /// at the next try.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        let Self::Damaged { source, .. } = self else {
            return false;
        };
        matches!(source, ChunkDamage::Container(ChunkError::Read(_)))
    }

    /// Returns true if the disk may be the reason, and not the chunk that was asked for.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        use rustix::io::Errno;
        // What the process or the machine lacks says nothing about a disk.
        let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
        match self {
            Self::Io(error) => {
                let of_process = error.source.raw_os_error();
                let of_process = of_process.is_some_and(|number| lacks.contains(&number));
                !of_process && !self.is_full() && !self.is_retryable()
            }
            _ => self.is_unreadable(),
        }
    }

    /// Returns true if the same call may succeed later without a change by the caller or the
    /// operator.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        match self {
            Self::Io(error) => matches!(error.kind(), Interrupted | TimedOut | WouldBlock),
            _ => false,
        }
    }
}
