//! Why a backup was not made, or not restored.

use std::path::PathBuf;

use lfsfs_common::PathError;
use lfsfs_metadata::RestoreError;

use crate::ServerError;

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackUpError {
    /// The file is there already.
    #[error("{} is there already; say --force to replace it", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The file is no backup, or not a whole one.
    #[error("{} cannot be used", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<RestoreError>,
    },
    /// The metadata of a stopped server could not be read, or the backup not be written.
    #[error("no backup was made")]
    NotMade(#[source] Box<RestoreError>),
    /// The rows of a backup could not be written to the new place.
    #[error("the restore to {place} ended early; run it again")]
    NotRestored {
        /// The place.
        place: String,
        /// Why.
        source: Box<RestoreError>,
    },
    /// There is something where metadata was to be restored.
    #[error(
        "there is something at {} already, and a restore replaces nothing; move it away, or name a new place \
         with --data or --meta", dir.display()
    )]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The server has no backups to give.
    #[error(
        "the server at {address} makes no backup while it runs ({reason}); stop it, and run \
         lfsfsd backup --data DIR FILE"
    )]
    NotServed {
        /// The address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The server did not send a whole backup.
    #[error("the server at {address} sent no whole backup: {reason}")]
    NotSent {
        /// The address.
        address: String,
        /// Why it is thought so.
        reason: String,
    },
    /// A signal ended the command.
    #[error("interrupted; no file was made")]
    Interrupted,
    /// The directory, the store or the system failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A file or directory could not be used.
    #[error(transparent)]
    Path(#[from] PathError),
}
