//! Why an update failed.

use std::path::PathBuf;

use lfsfs_remote::RemoteError;
use lfsfs_types::ObjectPath;
use thiserror::Error;

use crate::error::ImportError;
use crate::export::ExportError;
use crate::filter::PatternError;
use crate::rebuild::RebuildError;

/// Why an update failed. Nothing was published, unless the text says so.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// A path is asked for of which the directory has nothing.
    #[error("{} has nothing of {subpath:?}: it was made with other --subpath", dir.display())]
    Outside {
        /// The directory.
        dir: PathBuf,
        /// The path.
        subpath: ObjectPath,
    },
    /// The directory has a subdirectory of the version as its root.
    #[error("{} has the directory {subdirectory:?} of a version, and cannot be sent", dir.display())]
    Subdirectory {
        /// The directory.
        dir: PathBuf,
        /// What it has.
        subdirectory: ObjectPath,
    },
    /// The directory cannot be updated, or its state cannot be used.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// What was changed cannot be sent.
    #[error(transparent)]
    Send(#[from] ImportError),
    /// The version is published, and the directory could not be brought to it. The next update does that.
    #[error("{version} was published, but the directory could not be brought to it")]
    Merge {
        /// The version.
        version: String,
        /// Why.
        #[source]
        source: RebuildError,
    },
}

impl From<RemoteError> for UpdateError {
    fn from(error: RemoteError) -> Self {
        Self::Send(error.into())
    }
}

impl From<PatternError> for UpdateError {
    fn from(error: PatternError) -> Self {
        Self::Rebuild(error.into())
    }
}

impl From<ExportError> for UpdateError {
    fn from(error: ExportError) -> Self {
        Self::Rebuild(error.into())
    }
}
