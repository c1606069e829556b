//! Why a file did not become a version.

use std::io;
use std::path::PathBuf;

use lfsfs_remote::RemoteError;
use lfsfs_types::content::PieceListError;
use lfsfs_upload::{ReadError, UploadError};
use thiserror::Error;

/// Why a file did not become a version. Nothing was published, unless the answer of the server was lost.
#[derive(Debug, Error)]
pub enum PutError {
    /// The file cannot be opened or looked at.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a directory of this machine.
    #[error("{} is a directory", path.display())]
    LocalDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It is a pipe, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// What was named.
        path: PathBuf,
    },
    /// It cannot be read to its end.
    #[error("cannot read {name}")]
    Read {
        /// What was read.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has more pieces than a content can have.
    #[error("{name} is too large")]
    TooLarge {
        /// What was read.
        name: String,
        /// How it is too large.
        #[source]
        source: PieceListError,
    },
    /// Another program wrote to it.
    #[error("{} changed while it was read; nothing was published", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// There is no such project.
    #[error(transparent)]
    NoProject(RemoteError),
    /// The newest version has a directory where the file is to go.
    #[error("{} is a directory in the project", path.display())]
    IsDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The newest version has something else than a directory on the way to the file.
    #[error("{} is not a directory in the project", path.display())]
    NotDirectory {
        /// The part.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random(#[source] io::Error),
    /// The server failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A part of the work stopped without saying why, which is a defect.
    #[error("sending the file stopped: {0}")]
    Stopped(&'static str),
}

impl PutError {
    /// Says it of the project, which was asked for.
    pub(super) fn of_project(error: RemoteError) -> Self {
        if error.is_not_found() {
            Self::NoProject(error)
        } else {
            Self::Remote(error)
        }
    }

    /// Says it of what was read, by its name.
    pub(super) fn of_input(error: ReadError<io::Error>, name: &str) -> Self {
        let name = name.to_owned();
        match error {
            ReadError::Source(source) => Self::Read { name, source },
            ReadError::Pieces(source) => Self::TooLarge { name, source },
            ReadError::Upload(error) => error.into(),
        }
    }
}

impl From<UploadError> for PutError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Remote(error) => Self::Remote(error),
            UploadError::Stopped(what) => Self::Stopped(what),
        }
    }
}
