//! The file of a backup: all rows of a store in the order of their keys, from any engine.
//!
//! docs/formats.md "Backup" has the bytes. Rows lie in blocks, each compressed by itself. The hash of a block
//! covers the hash of the one before it, so the hash of the last block covers the whole file: a block that was
//! changed, left out, moved or taken from another backup is found, and so is a file that was cut. This module
//! owns the format; it must not know what a key means, and makes no files.

mod block;
mod reader;
mod writer;

use std::io;

use lfsfs_types::{ClusterId, Timestamp};

use crate::MetaError;
pub use reader::BackupReader;
pub use writer::BackupWriter;

/// What a file begins with: these letters, the format, zeros.
const MAGIC: [u8; 8] = *b"LFSB\x01\0\0\0";
/// Where the format stands in it.
const FORMAT_AT: usize = 4;
/// Longest name of the program that made a backup.
const PROGRAM_LEN_MAX: usize = 100;

/// Of what and of when a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHead {
    /// The cluster whose metadata it has.
    pub cluster: ClusterId,
    /// When it was begun. What was written later may be missing.
    pub time: Timestamp,
    /// The version of the program that made it.
    pub program: String,
}

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackupSummary {
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub row_bytes: u64,
    /// Blocks that the rows lie in.
    pub blocks: u64,
}

/// Why a backup was not made, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The rows could not be read, or not be written.
    #[error(transparent)]
    Store(#[from] MetaError),
    /// The file could not be read.
    #[error("cannot read the backup")]
    Read(#[source] io::Error),
    /// The file could not be written.
    #[error("cannot write the backup")]
    Write(#[source] io::Error),
    /// The file is something else.
    #[error("this is no backup of lfsfs metadata")]
    NotABackup,
    /// The file has a format that this program does not know.
    #[error("the backup has format {found}, this program reads format 1; use a newer lfsfsd")]
    Format {
        /// Its number.
        found: u8,
    },
    /// The file ends before its last block does.
    #[error("the backup is cut off at byte {offset}")]
    Cut {
        /// How many bytes there are.
        offset: u64,
    },
    /// The file is not what was written.
    #[error("the backup is damaged at byte {offset}: {problem}")]
    Damaged {
        /// Where the block begins that is not what was written.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A row is larger than a block can be.
    #[error("a row of {len} bytes is too large for a backup")]
    TooLarge {
        /// Bytes of its key and its value.
        len: usize,
    },
}

impl BackupError {
    /// Returns true if the file itself is wrong: another try finds the same.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotABackup | Self::Format { .. } | Self::Cut { .. } | Self::Damaged { .. } => {
                true
            }
            Self::Store(_) | Self::Read(_) | Self::Write(_) | Self::TooLarge { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
