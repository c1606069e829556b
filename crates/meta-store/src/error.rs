//! The one error type of the seam.

use std::io;
use std::path::PathBuf;

/// Why a metadata store could not do what it was asked.
///
/// An absent key and a failed precondition are answers, not errors.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// One row does not hold what its key says it must.
    #[error("corrupt row at key {}: {what}; run `lfsfsd check`", key.escape_ascii())]
    Corrupt {
        /// What is wrong with the row.
        what: String,
        /// The key of the row.
        key: Vec<u8>,
    },

    /// The engine found its own files damaged, or failed in a way that only damage explains.
    #[error("corrupt store at {}: {what}; run `lfsfsd check`", path.display())]
    CorruptStore {
        /// What the engine reported.
        what: String,
        /// Where the store lies.
        path: PathBuf,
    },

    /// The operating system refused an operation.
    #[error("{act} {}", path.display())]
    Io {
        /// What was tried, such as "open".
        act: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The file system that holds the store is full.
    #[error("no space left for the store at {}", path.display())]
    Full {
        /// Where the store lies.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The directory holds a store of another engine or of another format.
    #[error(
        "the store at {} is {found}, expected {expected}; start the lfsfsd that made it, or \
         restore the directory from a backup",
        path.display()
    )]
    Format {
        /// Where the store lies.
        path: PathBuf,
        /// Engine and format found beside the data.
        found: String,
        /// Engine and format that this program reads.
        expected: String,
    },

    /// Another process, or another handle of this one, has the store open.
    #[error("the store at {} is in use", path.display())]
    Locked {
        /// Where the store lies.
        path: PathBuf,
    },

    /// A batch has more entries than the engine takes at once.
    #[error("{len} {what} in one batch, at most {max} are possible")]
    TooLarge {
        /// "writes" or "preconditions".
        what: &'static str,
        /// How many the batch has.
        len: usize,
        /// How many the engine takes.
        max: usize,
    },

    /// A batch writes to the empty key, which not every engine has.
    #[error("the empty key cannot be written")]
    EmptyKey,

    /// The engine cannot show its rows of one moment while batches go on.
    #[error("{engine} cannot be backed up while the server runs")]
    NoSnapshot {
        /// The engine.
        engine: &'static str,
    },

    /// The store refuses all work after an earlier failure, until it is opened again.
    #[error("the store stopped after an earlier failure: {reason}")]
    Stopped {
        /// The failure that stopped it.
        reason: String,
    },
}

impl MetaError {
    /// Builds the error of a row whose value or key cannot be decoded.
    pub fn corrupt(what: impl Into<String>, key: &[u8]) -> Self {
        Self::Corrupt {
            what: what.into(),
            key: key.to_vec(),
        }
    }

    /// Returns true if the same call may succeed later without a change by the caller or the
    /// operator.
    pub fn is_retryable(&self) -> bool {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        match self {
            Self::Locked { .. } => true,
            Self::Io { source, .. } => matches!(source.kind(), Interrupted | TimedOut | WouldBlock),
            _ => false,
        }
    }

    /// Returns true if stored data was found damaged; a retry on the same store is useless.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::CorruptStore { .. })
    }
}
