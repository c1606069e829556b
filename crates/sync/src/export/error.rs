//! Why an export or a restore failed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lfsfs_common::{PathError as LocalError, PoolError};
use lfsfs_reader::ReadError;
use lfsfs_remote::RemoteError;
use lfsfs_types::PathError;
use rustix::io::Errno;
use thiserror::Error;

use crate::local::is_of_the_machine;

/// What is in the place of a file, and is not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheWay {
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}

impl fmt::Display for InTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Special => "no regular file",
        })
    }
}

/// Why a version did not become a directory.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Something is in the directory.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// True if it is what an export left that was killed.
        is_unfinished: bool,
    },
    /// The directory cannot be made or used.
    #[error("cannot use the directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry cannot be made, read or removed.
    #[error("cannot {action} {}", path.display())]
    Entry {
        /// What was tried.
        action: &'static str,
        /// The entry, below the directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A regular file is replaced, and this is none.
    #[error("{} is {found}, and is not replaced", path.display())]
    InTheWay {
        /// The place.
        path: PathBuf,
        /// What is there.
        found: InTheWay,
    },
    /// The object is no regular file.
    #[error("{} is not a regular file", path.display())]
    NotFile {
        /// Where it is in the version.
        path: PathBuf,
    },
    /// The version has no such path.
    #[error("there is no {} in this version", path.display())]
    NotThere {
        /// The path.
        path: PathBuf,
    },
    /// Another name of the same file could not be made, so there is nothing to link with.
    #[error("{} is another name of {}, which was left out", path.display(), first.display())]
    FirstName {
        /// The name.
        path: PathBuf,
        /// The name that was to be made first.
        first: PathBuf,
    },
    /// A path of the version is longer than a path can be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The server failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// It failed, and what it had made could not be removed.
    #[error("{failure}; a part of the version is left in {}, remove it", dir.display())]
    LeftBehind {
        /// Where it is.
        dir: PathBuf,
        /// Why the export failed.
        failure: Box<Self>,
        /// Why it could not be removed.
        #[source]
        source: io::Error,
    },
    /// A part of the work stopped without saying why, which is a defect.
    #[error("the export stopped: {0}")]
    Stopped(&'static str),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        match error {
            // What was tried is known to the user: the remote's own words are enough.
            ReadError::Remote { source, .. } => Self::Remote(Arc::unwrap_or_clone(source)),
            ReadError::Timeout { .. } => {
                Self::Stopped("a read has a deadline, and should have none")
            }
        }
    }
}

impl ExportError {
    /// Returns true if it concerns one object alone: it is damaged, or cannot be had in this place.
    /// Others can be written all the same.
    pub(crate) fn is_of_one_object(&self) -> bool {
        match self {
            Self::Entry { source, .. } => {
                !Errno::from_io_error(source).is_some_and(is_of_the_machine)
            }
            Self::Remote(error) => error.is_not_found() || matches!(error, RemoteError::Corrupt(_)),
            Self::FirstName { .. } | Self::Path(_) => true,
            Self::NotEmpty { .. }
            | Self::Directory { .. }
            | Self::InTheWay { .. }
            | Self::NotFile { .. }
            | Self::NotThere { .. }
            | Self::Interrupted
            | Self::LeftBehind { .. }
            | Self::Stopped(_) => false,
        }
    }
}

impl From<LocalError> for ExportError {
    fn from(error: LocalError) -> Self {
        let LocalError {
            path,
            action,
            source,
        } = error;
        Self::Entry {
            action,
            path,
            source,
        }
    }
}

impl From<PoolError> for ExportError {
    fn from(error: PoolError) -> Self {
        Self::Stopped(error.text())
    }
}
