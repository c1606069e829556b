//! Entries that cannot be imported.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::{PathError, XattrNameError};
use rustix::io::Errno;

use crate::error::ImportError;
use crate::local::is_of_the_machine;

/// How many problems are kept to be shown.
const SHOWN_MAX: usize = 20;

/// An entry that cannot be imported, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path below the imported directory.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be read.
    Unreadable(String),
    /// It was removed while it was looked at.
    Gone,
    /// It is a device node.
    Device,
    /// It changed whenever it was read.
    Changing,
    /// Its path is too long.
    Path(PathError),
    /// An extended attribute has a name that none can have.
    XattrName(XattrNameError),
    /// It has more extended attributes than a record holds.
    Xattrs,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => f.write_str(why),
            Self::Gone => f.write_str("it was removed while it was read"),
            Self::Device => f.write_str("a device node"),
            Self::Changing => f.write_str("it changed while it was read"),
            Self::Path(error) => error.fmt(f),
            Self::XattrName(error) => error.fmt(f),
            Self::Xattrs => f.write_str("too many extended attributes"),
        }
    }
}

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

/// Counts problems and keeps the first.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    inner: Mutex<(Vec<Problem>, u64)>,
}

impl Problems {
    pub(crate) fn report(&self, path: &[u8], reason: Reason) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.0.len() < SHOWN_MAX {
            inner.0.push(Problem {
                path: path.to_vec(),
                reason,
            });
        }
        inner.1 += 1;
    }

    pub(crate) fn take(&self) -> (Vec<Problem>, u64) {
        std::mem::take(&mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
