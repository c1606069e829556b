//! Chunks: immutable containers of many contents, and what datanodes store.
//!
//! A chunk is a header, blocks, a footer and a trailer of fixed length: format 2, docs/formats.md
//! "Chunk"; format 1 is read. Contents and pieces lie one behind the other in the order they were added; that stream
//! is cut into blocks, and a block is what is compressed, fetched and verified by itself. The
//! footer is the index of both.
//!
//! A chunk's id is the SHA-256 of all its bytes. That proves nothing to a client that fetches one
//! block, so a datanode that stores a chunk reports the SHA-256 of the footer as well: the footer is
//! verified by that hash, and each block by its hash in the footer.
//!
//! Nothing here reads or writes a file; [`verify()`] takes any reader.

mod block;
mod builder;
mod error;
mod footer;
mod format;
mod verify;

pub use self::block::{BlockCodec, BlockEntry, decode_block};
pub use self::builder::{BuiltChunk, ChunkBuilder};
pub use self::error::{ChunkError, HashOf};
pub use self::footer::{ContentEntry, FOOTER_LEN_MAX, Footer, Span};
use self::format::ChunkFormat;
pub use self::format::IdPrefix;
pub use self::verify::{VerifiedChunk, verify};
use crate::id::Sha256;

const HEADER_MAGIC: [u8; 4] = *b"LFSC";
const TRAILER_MAGIC: [u8; 4] = *b"CSFL";

/// Length of what stands before the first block.
pub const HEADER_LEN: usize = 8;
/// Length of what stands behind the footer.
pub const TRAILER_LEN: usize = 4 + Sha256::LEN + TRAILER_MAGIC.len();

/// The end of a chunk, which tells where its footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Length of the footer, which stands right before the trailer; at most [`FOOTER_LEN_MAX`].
    pub footer_len: u32,
    /// SHA-256 of the footer.
    pub footer_sha256: Sha256,
}

impl Trailer {
    /// Decodes the last bytes of a chunk.
    pub fn decode(bytes: &[u8; TRAILER_LEN]) -> Result<Self, ChunkError> {
        let (len, rest) = bytes.split_at(4);
        let (sha256, magic) = rest.split_at(Sha256::LEN);
        if magic != TRAILER_MAGIC {
            return Err(ChunkError::NotAChunk);
        }
        let footer_len = u32::from_be_bytes(len.try_into().map_err(|_| ChunkError::NotAChunk)?);
        if footer_len > FOOTER_LEN_MAX {
            return Err(ChunkError::FooterTooLong { len: footer_len });
        }
        Ok(Self {
            footer_len,
            footer_sha256: Sha256::from_slice(sha256).ok_or(ChunkError::NotAChunk)?,
        })
    }

    /// Returns the bytes of the trailer.
    #[must_use]
    pub fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut bytes = [0; TRAILER_LEN];
        bytes[..4].copy_from_slice(&self.footer_len.to_be_bytes());
        bytes[4..4 + Sha256::LEN].copy_from_slice(self.footer_sha256.as_bytes());
        bytes[4 + Sha256::LEN..].copy_from_slice(&TRAILER_MAGIC);
        bytes
    }
}

fn header(format: ChunkFormat) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = HEADER_MAGIC;
    [a, b, c, d, format.number(), 0, 0, 0]
}

/// Checks the first bytes of a chunk, whose footer has a format.
fn check_header(found: &[u8; HEADER_LEN], format: ChunkFormat) -> Result<(), ChunkError> {
    if !found.starts_with(&HEADER_MAGIC) {
        return Err(ChunkError::NotAChunk);
    }
    if *found == header(format) {
        return Ok(());
    }
    Err(ChunkError::UnknownFormat { format: found[4] })
}
