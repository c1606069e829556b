//! Why a chunk, or a part of it, is not what it should be.

use std::fmt;
use std::io;

use thiserror::Error;

use super::format::IdPrefix;
use crate::codec::DecodeError;
use crate::limits::{CHUNK_LEN_MAX, PIECE_LEN_MAX};

/// A chunk that cannot be built, read or trusted.
#[derive(Debug, Error)]
pub enum ChunkError {
    /// Its first or last bytes are not those of a chunk.
    #[error("these bytes are no chunk")]
    NotAChunk,
    /// It was written by a version that knew more.
    #[error("chunk format {format} is unknown")]
    UnknownFormat {
        /// The number it claims.
        format: u8,
    },
    /// Bytes are missing.
    #[error("cut short: {expected} bytes were expected and {found} are there")]
    CutShort {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// It ended before the length that the caller gave.
    #[error("cut short while it was read")]
    ReadEnded,
    /// There is more than its index accounts for.
    #[error("{found} bytes where the index accounts for {expected}")]
    LeftOver {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// It is longer than any chunk may be.
    #[error("a chunk of {len} bytes is too long: {CHUNK_LEN_MAX} are allowed")]
    TooLong {
        /// Its length.
        len: u64,
    },
    /// Its trailer claims a footer longer than any footer can be.
    #[error("a footer of {len} bytes is too long")]
    FooterTooLong {
        /// The claimed length.
        len: u32,
    },
    /// Some of its bytes are not those that were written.
    #[error("the SHA-256 of {of} is another one")]
    BadHash {
        /// What the bytes should be.
        of: HashOf,
    },
    /// Its footer is intact but says what cannot be.
    #[error("bad index")]
    BadIndex(#[from] DecodeError),
    /// A block is intact but does not decompress to its length.
    #[error("the block at byte {offset} does not decompress to {raw_len} bytes")]
    BadBlock {
        /// Where it starts in the chunk.
        offset: u64,
        /// The length that the index claims.
        raw_len: u32,
    },
    /// The builder takes no more; it should have been asked.
    #[error("the chunk is full")]
    Full,
    /// Another content is there whose id begins alike. It can go into another chunk.
    #[error("two contents of one chunk have ids that begin with {prefix}")]
    SamePrefix {
        /// How they begin.
        prefix: IdPrefix,
    },
    /// A content that no chunk can hold.
    #[error("a content of {len} bytes: a chunk takes 1 to {PIECE_LEN_MAX}")]
    ContentLen {
        /// Its length.
        len: usize,
    },
    /// It could not be read.
    #[error("cannot read the chunk")]
    Read(#[source] io::Error),
}

/// What a hash was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashOf {
    /// The footer.
    Footer,
    /// The block that starts at this byte of the chunk.
    Block(u64),
    /// A content or piece.
    Content(IdPrefix),
}

impl fmt::Display for HashOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Footer => f.write_str("the footer"),
            Self::Block(offset) => write!(f, "the block at byte {offset}"),
            Self::Content(id) => write!(f, "content {id}"),
        }
    }
}
