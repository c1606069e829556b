//! Why an import failed.

use std::io;
use std::path::PathBuf;

use lfsfs_common::PoolError;
use lfsfs_remote::RemoteError;
use lfsfs_upload::UploadError;
use thiserror::Error;

use crate::filter::PatternError;
use crate::problems::Problem;

/// Why an import failed. Nothing was published.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The directory cannot be read.
    #[error("cannot read the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Some entries cannot be imported.
    #[error("{count} entries cannot be imported")]
    Problems {
        /// The first of them.
        first: Vec<Problem>,
        /// How many there are.
        count: u64,
    },
    /// The machine, its disk or the way to a file system failed, which says nothing about the entry
    /// that was looked at.
    #[error("the import cannot go on at {}", path.display())]
    Machine {
        /// The entry, below the imported directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// A pattern to exclude is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random(#[source] io::Error),
    /// The server failed, refused or found a conflict.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A part of the import stopped without saying why, which is a defect.
    #[error("the import stopped: {0}")]
    Stopped(&'static str),
}

impl From<UploadError> for ImportError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Remote(error) => Self::Remote(error),
            UploadError::Stopped(what) => Self::Stopped(what),
        }
    }
}

impl From<PoolError> for ImportError {
    fn from(error: PoolError) -> Self {
        Self::Stopped(error.text())
    }
}
