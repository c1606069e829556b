//! Why an operation failed. The adapter of a kernel transport maps each variant to one errno.

use std::io::ErrorKind;
use std::sync::Arc;

use lfsfs_overlay::OverlayError;
use lfsfs_reader::ReadError;
use lfsfs_remote::RemoteError;
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{DecodeError, DirId, ObjectPath};
use thiserror::Error;

use crate::inode::Moved;

/// An operation that failed.
#[derive(Debug, Clone, Error)]
pub enum VfsError {
    /// There is no entry of this name.
    #[error("no such entry")]
    NotFound,
    /// A directory was expected.
    #[error("not a directory")]
    NotDirectory,
    /// Something that is no directory was expected.
    #[error("is a directory")]
    IsDirectory,
    /// The name has more than 255 bytes, the target of a symbolic link or the path more than 4,095.
    #[error("name too long")]
    NameTooLong,
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
    /// The inode is not known, or the server no longer has what it stood for.
    #[error("stale inode")]
    Stale,
    /// The object has no attribute of this name.
    #[error("no such attribute")]
    NoAttribute,
    /// The kind of object does not have what was asked for.
    #[error("invalid for this kind of object")]
    Invalid,
    /// The version cannot be written.
    #[error("read-only version")]
    ReadOnly,
    /// There is an entry, or an attribute, of this name already.
    #[error("exists already")]
    Exists,
    /// The directory has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// Nobody may do this to this object, whoever asks.
    #[error("not permitted")]
    NotPermitted,
    /// The file has as many names as can be counted.
    #[error("too many links")]
    TooManyLinks,
    /// The offset or size is beyond what a file can have.
    #[error("file too large")]
    FileTooLarge,
    /// The offset is behind the last data, or the end, of a file.
    #[error("nothing there")]
    NoSuchOffset,
    /// The value of the attribute has more than 64 KiB.
    #[error("attribute too large")]
    AttributeTooLarge,
    /// The name of the attribute has more than 255 bytes.
    #[error("name of attribute too long")]
    AttributeNameTooLong,
    /// The disk of the overlay is full, or the object has no room for another attribute. Nothing
    /// changed; the same works once there is space.
    #[error("no space left")]
    NoSpace,
    /// There are changes that no commit took, so the mount cannot go to another version. Nothing
    /// changed; commit or discard them first.
    #[error("{count} change{} not committed", if *count == 1 { " is" } else { "s are" })]
    HasChanges {
        /// How many objects differ from the version.
        count: u64,
    },
    /// Neither the mount nor its version has anything at a path.
    #[error("neither the mount nor its version has {}", String::from_utf8_lossy(path.as_bytes()))]
    NoSuchPath {
        /// The path.
        path: ObjectPath,
    },
    /// Something would go back to a place in the version that other changes took. Nothing changed.
    #[error(
        "{} was changed too and is in the way: discard it as well",
        String::from_utf8_lossy(path.as_bytes())
    )]
    DiscardBlocked {
        /// The path that must be discarded too.
        path: ObjectPath,
    },
    /// A commit is not finished, so its changes cannot be dropped. Nothing changed; commit again to
    /// finish it.
    #[error("a commit is not finished; commit again to finish it")]
    CommitUnderWay,
    /// The overlay of a writable mount cannot be opened, read or written.
    #[error("the overlay failed")]
    Overlay {
        /// Why.
        #[source]
        source: Arc<OverlayError>,
    },
    /// The object is of a kind that this program does not read.
    #[error("{what} cannot be read")]
    Unsupported {
        /// The kind.
        what: &'static str,
    },
    /// There was no progress for as long as a read may wait.
    #[error("no answer to {what} within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The server failed, or what it sent is not what it should be.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<RemoteError>,
    },
}

impl VfsError {
    /// Returns a closure for `map_err` that says what was tried.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(RemoteError) -> Self {
        move |source| Self::Io {
            action,
            source: Arc::new(source),
        }
    }

    /// Returns the error for data that is not what it should be.
    pub(crate) fn corrupt(action: &'static str, problem: impl Into<String>) -> Self {
        Self::io(action)(RemoteError::Corrupt(problem.into()))
    }

    /// Returns the error for a record that cannot be decoded.
    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    pub(crate) fn damaged_record(error: DecodeError) -> Self {
        Self::corrupt("read a listing", error.to_string())
    }

    /// Returns true if the server was not even asked, because it is known to be away: that was logged
    /// once, and each call that fails says nothing new.
    pub(crate) fn is_logged(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(**source, RemoteError::Away { .. }))
    }

    /// Returns true if the same operation may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Io { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// Returns true if the server does not have what was asked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound | Self::NoSuchPath { .. } => true,
            Self::Io { source, .. } => source.is_not_found(),
            _ => false,
        }
    }

    /// Returns true if the bytes that came are not those that were written.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(**source, RemoteError::Corrupt(_)))
    }
}

/// Why a look ended without an answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// This directory's listing must be fetched first.
    Listing(DirId),
    /// The base was replaced: look at the one that is there now.
    Moved,
    /// The operation fails.
    Failed(VfsError),
}

impl From<VfsError> for Stop {
    fn from(error: VfsError) -> Self {
        Self::Failed(error)
    }
}

impl From<OverlayError> for Stop {
    fn from(error: OverlayError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Moved> for Stop {
    fn from(_: Moved) -> Self {
        Self::Moved
    }
}

impl From<ReadError> for VfsError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Timeout { what, seconds } => Self::Timeout { what, seconds },
            ReadError::Remote { action, source } => Self::Io { action, source },
        }
    }
}

impl From<OverlayError> for VfsError {
    fn from(error: OverlayError) -> Self {
        match error {
            OverlayError::NoSpace(_) => Self::NoSpace,
            OverlayError::File(error) if is_full(error.kind()) => Self::NoSpace,
            error => Self::Overlay {
                source: Arc::new(error),
            },
        }
    }
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
