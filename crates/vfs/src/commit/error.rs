//! Why a commit failed, and what that means for the changes: they stay, all of them.

use std::io;

use lfsfs_common::PoolError;
use lfsfs_overlay::OverlayError;
use lfsfs_remote::RemoteError;
use lfsfs_types::VersionNumber;
use lfsfs_upload::UploadError;
use thiserror::Error;

use crate::error::VfsError;
use crate::verb_error::{ChangesError, SwitchError};

/// Why a commit failed.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Others changed what was changed here. No version was made.
    #[error("{count} path{} changed here and by others since the base", if *count == 1 { " was" } else { "s were" })]
    Conflict {
        /// The paths, or the first of them.
        paths: Vec<Vec<u8>>,
        /// How many there are; at least as many as `paths`.
        count: u64,
    },
    /// Everything was sent, but whether it became a version is not known. The next commit finds out.
    #[error("the answer to the commit was lost; commit again to finish it")]
    AnswerLost {
        /// What happened instead of an answer.
        #[source]
        source: RemoteError,
    },
    /// The server failed or refused. No version was made.
    #[error(transparent)]
    Remote(RemoteError),
    /// A changed file keeps bytes of its version that are damaged, lost, or were never there. No version
    /// was made, and none can be while the file is like that.
    #[error("cannot read what \"{path}\" keeps of its version")]
    Unreadable {
        /// Where the mount has the file, shortened for people.
        path: String,
        /// Why not.
        #[source]
        source: VfsError,
    },
    /// A changed file could not be read for now. No version was made.
    #[error("cannot read \"{path}\"")]
    File {
        /// Where the mount has the file, shortened for people.
        path: String,
        /// Why not.
        #[source]
        source: VfsError,
    },
    /// Something that changed could not be read. No version was made.
    #[error("cannot read what changed")]
    Vfs(#[from] VfsError),
    /// The paths of the changes cannot be told. No version was made.
    #[error(transparent)]
    Changes(ChangesError),
    /// The overlay could not note the beginning or the end of the commit.
    #[error("the overlay failed")]
    Overlay(#[from] OverlayError),
    /// A file that has more pieces than a content can have. No version was made.
    #[error("\"{path}\" is too large for a version")]
    TooLarge {
        /// Where the mount has the file, shortened for people.
        path: String,
    },
    /// The version was made, but the mount could not move to it; the next commit does that.
    #[error("version {version} was made, but the mount could not move to it; commit again")]
    Switch {
        /// The version.
        version: VersionNumber,
        /// Why not.
        #[source]
        source: SwitchError,
    },
    /// A version cannot be promised before what an earlier commit left is finished.
    #[error("an earlier commit is not finished; commit without --async to finish it")]
    Unfinished,
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random(#[source] io::Error),
    /// A part of the commit stopped without saying why, which is a defect.
    #[error("the commit stopped: {0}")]
    Stopped(&'static str),
}

impl From<ChangesError> for CommitError {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Vfs(error) => Self::Vfs(error),
            error @ ChangesError::PathTooLong { .. } => Self::Changes(error),
        }
    }
}

impl CommitError {
    /// Returns why a commit failed that could not take a changed file.
    pub(super) fn of_file(path: String, source: VfsError) -> Self {
        match source {
            VfsError::FileTooLarge => Self::TooLarge { path },
            source if source.is_corrupt() || source.is_not_found() => {
                Self::Unreadable { path, source }
            }
            source => Self::File { path, source },
        }
    }

    /// Returns the failure of the server, if it may pass.
    pub(super) fn passing(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote(error) | Self::AnswerLost { source: error } => {
                error.may_begin_anew().then_some(error)
            }
            _ => None,
        }
    }

    /// Returns true if the server or the mount refused the changes: the same ones will never become
    /// a version.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Unreadable { .. } | Self::TooLarge { .. } => true,
            Self::Remote(error) => is_refusal(error),
            _ => false,
        }
    }
}

/// Returns true if the server said no, and not that it does not know.
pub(super) fn is_refusal(error: &RemoteError) -> bool {
    match error {
        RemoteError::Conflict { .. }
        | RemoteError::Invalid(_)
        | RemoteError::NotFound(_)
        | RemoteError::ContentsMissing(_)
        | RemoteError::AlreadyExists(_)
        | RemoteError::Full(_)
        | RemoteError::Unimplemented(_) => true,
        // Anything may have happened before these.
        _ => false,
    }
}

impl From<RemoteError> for CommitError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Conflict { paths, count, .. } => Self::Conflict { paths, count },
            error => Self::Remote(error),
        }
    }
}

impl From<UploadError> for CommitError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Remote(error) => error.into(),
            UploadError::Stopped(what) => Self::Stopped(what),
        }
    }
}

impl From<PoolError> for CommitError {
    fn from(error: PoolError) -> Self {
        Self::Stopped(error.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seal that an ended mount left behind would stay for ever, and block all that comes after it.
    #[test]
    fn what_cannot_be_read_gives_the_seal_up_and_a_server_that_is_away_does_not() {
        let of_file = |source| CommitError::of_file("dir/file".to_owned(), source);
        let away = || VfsError::Timeout {
            what: "a read",
            seconds: 30,
        };
        for (error, is_refusal) in [
            (of_file(VfsError::corrupt("read a file", "too short")), true),
            (of_file(VfsError::FileTooLarge), true),
            (of_file(away()), false),
            (CommitError::Vfs(away()), false),
        ] {
            assert_eq!(error.is_refusal(), is_refusal, "{error}");
        }
        assert!(
            of_file(VfsError::FileTooLarge)
                .to_string()
                .contains("dir/file")
        );
    }

    #[test]
    fn one_path_is_told_as_one() {
        let text = |count| {
            let paths = Vec::new();
            CommitError::Conflict { paths, count }.to_string()
        };
        assert!(text(1).starts_with("1 path was changed "), "{}", text(1));
        assert!(text(2).starts_with("2 paths were changed "), "{}", text(2));
    }
}
