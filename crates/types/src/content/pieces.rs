//! The list of pieces of a large content: format 1, docs/formats.md "Piece list".

use std::ops::Range;

use sha2::{Digest, Sha256 as Hasher};
use thiserror::Error;

use super::small_content_id;
use crate::codec::{DecodeError, Reader, Writer};
use crate::id::ContentId;
use crate::limits::{PIECE_LEN_MAX, PIECE_LEN_MIN, PIECES_MAX, SMALL_CONTENT_LEN_MAX};

const FORMAT: u8 = 1;
const DOMAIN: &[u8] = b"lfsfs content of pieces, format 1\n";

/// Encoded length of one piece.
const PIECE_ENCODED_LEN: usize = ContentId::LEN + 4;

/// One cut of a large content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// SHA-256 of its bytes.
    pub hash: ContentId,
    /// How many there are.
    pub len: u32,
}

/// The piece that a long run of zeros is cut into, again and again: with so many zeros ahead the cutter
/// finds no end before the longest. So no program has to read, hash, send or fetch it to know it.
pub const ZERO_PIECE: Piece = Piece {
    hash: ContentId([
        0xbb, 0x9f, 0x8d, 0xf6, 0x14, 0x74, 0xd2, 0x5e, 0x71, 0xfa, 0x00, 0x72, 0x23, 0x18, 0xcd,
        0x38, 0x73, 0x96, 0xca, 0x17, 0x36, 0x60, 0x5e, 0x12, 0x48, 0x82, 0x1c, 0xc0, 0xde, 0x3d,
        0x3a, 0xf8,
    ]),
    len: PIECE_LEN_MAX,
};

/// The bytes of [`ZERO_PIECE`].
pub static ZERO_PIECE_BYTES: [u8; PIECE_LEN_MAX as usize] = [0; PIECE_LEN_MAX as usize];

/// A piece of a large content, and where in the content it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedPiece {
    /// Where it starts, in bytes from the start of the content.
    pub start: u64,
    /// What it is.
    pub piece: Piece,
}

impl Piece {
    /// Names bytes that the cutter gave.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            hash: small_content_id(bytes),
            len: u32::try_from(bytes.len()).expect("a piece is cut at 4 MiB at the latest"),
        }
    }
}

/// Pieces that make up no large content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PieceListError {
    /// There are too many of them.
    #[error("a list of {count} pieces is too long: {PIECES_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// One is longer or shorter than the cutter would cut it.
    #[error("piece {index} of {len} bytes is out of range")]
    PieceLen {
        /// Which one.
        index: usize,
        /// Its length.
        len: u32,
    },
    /// Together they are so short that the content is not cut at all.
    #[error("pieces of {len} bytes together are a small content")]
    TooShort {
        /// Their length together.
        len: u64,
    },
}

impl PieceListError {
    const fn problem(self) -> &'static str {
        match self {
            Self::TooMany { .. } => "too many pieces",
            Self::PieceLen { .. } => "length of a piece out of range",
            Self::TooShort { .. } => "the content is too short to be cut",
        }
    }
}

/// The pieces of a large content in order: as many as the limits allow, none longer than
/// [`PIECE_LEN_MAX`], only the last shorter than [`PIECE_LEN_MIN`], together longer than
/// [`SMALL_CONTENT_LEN_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PieceList {
    pieces: Vec<Piece>,
    total_len: u64,
}

impl PieceList {
    /// Checks untrusted pieces.
    pub fn new(pieces: Vec<Piece>) -> Result<Self, PieceListError> {
        let count = pieces.len();
        if count > PIECES_MAX {
            return Err(PieceListError::TooMany { count });
        }
        for (index, &Piece { len, .. }) in pieces.iter().enumerate() {
            let shortest = if index + 1 == count { 1 } else { PIECE_LEN_MIN };
            if !(shortest..=PIECE_LEN_MAX).contains(&len) {
                return Err(PieceListError::PieceLen { index, len });
            }
        }
        let total_len = pieces.iter().map(|piece| u64::from(piece.len)).sum();
        if total_len <= SMALL_CONTENT_LEN_MAX {
            return Err(PieceListError::TooShort { len: total_len });
        }
        Ok(Self { pieces, total_len })
    }

    /// Returns the pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns how many pieces there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.pieces.len()).expect("at most PIECES_MAX")
    }

    /// Returns the length of the content.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// Returns the pieces, each with the bytes of the content that it holds.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u64>, Piece)> + '_ {
        let mut end = 0;
        self.pieces.iter().map(move |&piece| {
            let start = end;
            end += u64::from(piece.len);
            (start..end, piece)
        })
    }

    /// Returns the name of the content.
    ///
    /// The digest is inverted, bit by bit. Without that a small content whose bytes are the hashed
    /// list would have the same name, and a client that stored it first would have taken the name
    /// of a large content from its owner.
    #[must_use]
    pub fn content_id(&self) -> ContentId {
        let mut hasher = Hasher::new_with_prefix(DOMAIN);
        for piece in &self.pieces {
            hasher.update(piece.hash.as_bytes());
            hasher.update(piece.len.to_be_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        ContentId(digest.map(|byte| !byte))
    }

    /// Returns how long a list of `count` pieces is in format 1.
    #[must_use]
    pub const fn encoded_len(count: u32) -> u64 {
        1 + count as u64 * PIECE_ENCODED_LEN as u64
    }

    /// Returns the list in format 1.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(FORMAT);
        for piece in &self.pieces {
            writer.raw(piece.hash.as_bytes()).u32(piece.len);
        }
        writer.finish()
    }

    /// Decodes a list that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("piece list", bytes);
        reader.format(FORMAT)?;
        if reader.remaining() > PIECES_MAX * PIECE_ENCODED_LEN {
            return Err(reader.error("too many pieces"));
        }
        let mut pieces = Vec::with_capacity(reader.remaining() / PIECE_ENCODED_LEN);
        while reader.remaining() > 0 {
            pieces.push(Piece {
                hash: ContentId(reader.array()?),
                len: reader.u32()?,
            });
        }
        Self::new(pieces).map_err(|error| reader.error(error.problem()))
    }
}
