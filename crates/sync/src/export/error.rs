//! Why an export or a restore failed.

use std::io;
use std::path::PathBuf;

use lfsfs_client::RemoteError;
use lfsfs_types::PathError;
use thiserror::Error;

/// Why a version did not become a directory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Something is in the directory.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
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
    /// The version has no such path.
    #[error("there is no {} in this version", path.display())]
    NotThere {
        /// The path.
        path: PathBuf,
    },
    /// The version has a kind of object that only newer programs know.
    #[error("{} is a pack, which this program cannot write", path.display())]
    Pack {
        /// Where it is.
        path: PathBuf,
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
