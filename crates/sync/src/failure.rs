//! Why an entry could not be read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use lfsfs_upload::ReadError;
use rustix::io::Errno;

use crate::error::ImportError;
use crate::local::is_of_the_machine;
use crate::problems::Reason;

/// Why an entry could not be read: of itself, or because the import cannot go on at all.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The entry is left out, the others are not concerned.
    Entry(Reason),
    /// The machine failed, and says nothing about the entry.
    Machine(io::Error),
    /// Something else than reading failed.
    Import(ImportError),
}

impl Failure {
    /// Returns the reason of the entry at `path`, or what ends the import.
    pub(crate) fn of_entry(self, path: &[u8]) -> Result<Reason, ImportError> {
        match self {
            Self::Entry(reason) => Ok(reason),
            Self::Machine(source) => Err(ImportError::Machine {
                path: OsStr::from_bytes(path).into(),
                source,
            }),
            Self::Import(error) => Err(error),
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Entry(reason)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) if is_of_the_machine(errno) => Self::Machine(error),
            _ => Self::Entry(Reason::Unreadable(error.to_string())),
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<ReadError<io::Error>> for Failure {
    fn from(error: ReadError<io::Error>) -> Self {
        match error {
            ReadError::Source(error) => error.into(),
            ReadError::Pieces(error) => Reason::Unreadable(error.to_string()).into(),
            ReadError::Upload(error) => ImportError::from(error).into(),
        }
    }
}
