//! Why directories could not be kept in step.

use std::io;
use std::path::PathBuf;

use lfsfs_common::PathError;
use lfsfs_meta_store::MetaError;
use lfsfs_remote::RemoteError;
use lfsfs_types::ObjectPath;
use lfsfs_upload::UploadError;
use thiserror::Error;

use crate::export::ExportError;

/// Why a pass failed. What was done before is kept, and the next pass goes on.
#[derive(Debug, Error)]
pub enum SyncError {
    /// The root is not there.
    #[error("there is no directory {}", dir.display())]
    NoRoot {
        /// The root.
        dir: PathBuf,
        /// Why it cannot be opened.
        #[source]
        source: io::Error,
    },
    /// Another directory is where the root was.
    #[error("{} is not the directory that was synced before", dir.display())]
    OtherRoot {
        /// The root.
        dir: PathBuf,
        /// What this machine keeps of the one before.
        state: PathBuf,
    },
    /// The far side is another one than before, or not there.
    #[error("{remote} is not what {} was synced with before: {problem}", dir.display())]
    OtherFar {
        /// The root.
        dir: PathBuf,
        /// The far side.
        remote: String,
        /// What is different.
        problem: &'static str,
        /// What this machine keeps of the one before.
        state: PathBuf,
    },
    /// Another process syncs the root.
    #[error("another process syncs {}", dir.display())]
    Busy {
        /// The root.
        dir: PathBuf,
    },
    /// The user paused the root.
    #[error("{} is paused", dir.display())]
    Paused {
        /// The root.
        dir: PathBuf,
    },
    /// A file that says which root this is cannot be read.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The machine, its disk or the way to a file system failed.
    #[error("cannot {action} {}", path.display())]
    Machine {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What is kept of the root failed.
    #[error(transparent)]
    Store(#[from] MetaError),
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
    /// A part of the work stopped without saying why, which is a defect.
    #[error("the sync stopped: {0}")]
    Stopped(&'static str),
}

impl SyncError {
    /// Returns true if the next pass may succeed without a change by the user.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Remote(error) => {
                error.may_begin_anew()
                    || matches!(
                        error,
                        RemoteError::GaveUp { .. }
                            | RemoteError::Away { .. }
                            | RemoteError::Full(_)
                    )
            }
            Self::Machine { .. } | Self::NoRoot { .. } | Self::Busy { .. } => true,
            _ => false,
        }
    }

    /// Says what to do about it, if the user can do something.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::NoRoot { .. } => Some("mount it, or take it out of sync_dirs".to_owned()),
            Self::Paused { .. } => {
                Some("go on with: lfsfs sync resume, and the same options".to_owned())
            }
            Self::OtherRoot { state, .. } | Self::OtherFar { state, .. } => Some(format!(
                "mount or restore what was there before; to join what is there now, and remove nothing: rm -r {}",
                state.display()
            )),
            Self::Damaged { path, .. } => Some(format!(
                "remove it to join both sides as in a first pass: rm {}",
                path.display()
            )),
            _ => None,
        }
    }
}

impl From<UploadError> for SyncError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Remote(error) => Self::Remote(error),
            UploadError::Stopped(what) => Self::Stopped(what),
        }
    }
}

impl From<ExportError> for SyncError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Remote(error) => Self::Remote(error),
            ExportError::Interrupted => Self::Interrupted,
            _ => Self::Stopped("a content cannot be read"),
        }
    }
}

impl From<PathError> for SyncError {
    fn from(error: PathError) -> Self {
        Self::Machine {
            action: error.action,
            path: error.path,
            source: error.source,
        }
    }
}

/// A path at which nothing was done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The path, below the root.
    pub path: ObjectPath,
    /// Why, for people.
    pub reason: String,
}
