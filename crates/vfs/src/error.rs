//! Why a call of the file system failed. The operations of a mount map each variant to one error number.
//!
//! What only a verb can end with (commit, switch, discard) is in the error types of the verbs.

use std::io::ErrorKind;
use std::sync::Arc;

use lfsfs_overlay::OverlayError;
use lfsfs_reader::ReadError;
use lfsfs_remote::RemoteError;
use lfsfs_types::{DecodeError, DirId};
use thiserror::Error;
use tokio::task::JoinError;

use crate::inode::BaseReplaced;

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
    /// The inode number stands for nothing any more: it is not known, or the server no longer has what it
    /// stood for.
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
    /// No caller may do this to this object.
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
    /// This program is wrong, or a part of it panicked. The cause was logged where it was found.
    #[error("internal error: {what}")]
    Internal {
        /// What happened.
        what: &'static str,
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

    /// Returns the error for what this program takes for impossible, and logs it.
    pub(crate) fn internal(what: &'static str) -> Self {
        tracing::error!("internal error: {what}");
        Self::Internal { what }
    }

    /// Returns the error for work that ended without a result, and logs why.
    pub(crate) fn unfinished(what: &'static str, error: &JoinError) -> Self {
        if error.is_panic() {
            tracing::error!(%error, "{what} panicked");
        } else {
            // The runtime ends, and with it the mount.
            tracing::debug!(%error, "{what} was not finished");
        }
        Self::Internal { what }
    }

    /// Returns the error for a record or a name that cannot be decoded.
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
            Self::NotFound => true,
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

/// Why an attempt ended without a result. It is made again, unless it failed.
#[derive(Debug)]
pub(crate) enum Interrupted<E = VfsError> {
    /// This directory's listing must be fetched first.
    NeedsListing(DirId),
    /// Another base took the place of the one that was looked at.
    BaseReplaced,
    /// The operation fails.
    Failed(E),
}

impl<E: From<VfsError>> From<VfsError> for Interrupted<E> {
    fn from(error: VfsError) -> Self {
        Self::Failed(error.into())
    }
}

impl<E: From<VfsError>> From<OverlayError> for Interrupted<E> {
    fn from(error: OverlayError) -> Self {
        VfsError::from(error).into()
    }
}

impl<E> From<BaseReplaced> for Interrupted<E> {
    fn from(_: BaseReplaced) -> Self {
        Self::BaseReplaced
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
            OverlayError::NoSpace(_) | OverlayError::SizeLimit { .. } => Self::NoSpace,
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
