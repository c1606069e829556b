//! Why a verb failed: the list of changes, a switch, a discard. A commit has an error of its own.
//!
//! No request of the kernel ends with one of these.

use lfsfs_overlay::OverlayError;
use lfsfs_remote::RemoteError;
use lfsfs_types::ObjectPath;
use lfsfs_types::limits::PATH_LEN_MAX;
use thiserror::Error;

use crate::error::{Interrupted, VfsError};

/// Why the changes of a mount could not be listed.
#[derive(Debug, Clone, Error)]
pub enum ChangesError {
    /// Something in the mount has a path that no version can have: earlier programs let it be made, or
    /// others moved a directory above it.
    #[error(
        "the path \"{path}\" is too long, {PATH_LEN_MAX} bytes are possible: move it up, or give a \
         directory of it a shorter name"
    )]
    PathTooLong {
        /// The path, shortened for people.
        path: String,
    },
    /// A call of the file system failed.
    #[error(transparent)]
    Vfs(#[from] VfsError),
}

/// Why a mount did not go to another version. It shows what it showed.
#[derive(Debug, Clone, Error)]
pub enum SwitchError {
    /// There are changes that no commit took: commit or discard them first.
    #[error("{count} change{} not committed", if *count == 1 { " is" } else { "s are" })]
    HasChanges {
        /// How many objects differ from the version.
        count: u64,
    },
    /// The version has something where new objects are that no commit takes.
    #[error("{} ignored path{} in the way", paths.len(), if paths.len() == 1 { " is" } else { "s are" })]
    InTheWay {
        /// Their paths, in order.
        paths: Vec<ObjectPath>,
    },
    /// The paths of the changes cannot be told.
    #[error(transparent)]
    Changes(ChangesError),
    /// The version is of another project than the mount.
    #[error("the version is of another project")]
    OtherProject,
    /// A call of the file system or of the server failed.
    #[error(transparent)]
    Vfs(#[from] VfsError),
}

/// Why changes were not discarded. Nothing changed.
#[derive(Debug, Clone, Error)]
pub enum DiscardError {
    /// Neither the mount nor its version has anything at a path.
    #[error("neither the mount nor its version has {}", String::from_utf8_lossy(path.as_bytes()))]
    NoSuchPath {
        /// The path.
        path: ObjectPath,
    },
    /// Something would go back to a place in the version that other changes took.
    #[error(
        "{} was changed too and is in the way: discard it as well",
        String::from_utf8_lossy(path.as_bytes())
    )]
    Blocked {
        /// The path that must be discarded too.
        path: ObjectPath,
    },
    /// A commit is not finished, so its changes cannot be dropped: commit again to finish it.
    #[error("a commit is not finished; commit again to finish it")]
    CommitUnderWay,
    /// The paths of the changes cannot be told.
    #[error(transparent)]
    Changes(ChangesError),
    /// A call of the file system failed.
    #[error(transparent)]
    Vfs(#[from] VfsError),
}

/// An error behind which a server may be that did not answer.
pub trait ServerFailure {
    /// Returns the failure of the server, if that is what it was.
    fn server_failure(&self) -> Option<&RemoteError>;
}

impl ServerFailure for VfsError {
    fn server_failure(&self) -> Option<&RemoteError> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl ServerFailure for SwitchError {
    fn server_failure(&self) -> Option<&RemoteError> {
        match self {
            Self::Vfs(error) => error.server_failure(),
            Self::HasChanges { .. }
            | Self::InTheWay { .. }
            | Self::Changes(_)
            | Self::OtherProject => None,
        }
    }
}

impl ServerFailure for ChangesError {
    fn server_failure(&self) -> Option<&RemoteError> {
        match self {
            Self::Vfs(error) => error.server_failure(),
            Self::PathTooLong { .. } => None,
        }
    }
}

impl From<ChangesError> for SwitchError {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Vfs(error) => Self::Vfs(error),
            error @ ChangesError::PathTooLong { .. } => Self::Changes(error),
        }
    }
}

impl From<OverlayError> for SwitchError {
    fn from(error: OverlayError) -> Self {
        Self::Vfs(error.into())
    }
}

impl From<ChangesError> for DiscardError {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Vfs(error) => Self::Vfs(error),
            error @ ChangesError::PathTooLong { .. } => Self::Changes(error),
        }
    }
}

impl From<DiscardError> for Interrupted<DiscardError> {
    fn from(error: DiscardError) -> Self {
        Self::Failed(error)
    }
}

impl From<ChangesError> for Interrupted<DiscardError> {
    fn from(error: ChangesError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Interrupted> for Interrupted<DiscardError> {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::NeedsListing(dir) => Self::NeedsListing(dir),
            Interrupted::BaseReplaced => Self::BaseReplaced,
            Interrupted::Failed(error) => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_is_told_as_one() {
        let changes = |count| SwitchError::HasChanges { count }.to_string();
        assert_eq!(changes(1), "1 change is not committed");
        assert_eq!(changes(2), "2 changes are not committed");
    }
}
