//! Entries that cannot be imported.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::{PathError, XattrNameError};

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
