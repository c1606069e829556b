//! Contents: bytes named by what they are.
//!
//! Up to 1 MiB a content is named by the SHA-256 of its bytes. A longer one is cut into pieces
//! where its bytes say so (FastCDC), and named by a hash of the list of pieces: an edit then changes
//! the pieces around it and nothing else. docs/formats.md has both rules; the parameters of the
//! cutter are part of them and can never change.
//!
//! This module reads from what it is given and keeps nothing.

use std::io::{self, Read};

use fastcdc::v2020::{FastCDC, Normalization, StreamCDC};
use sha2::{Digest, Sha256 as Hasher};

pub use self::pieces::{
    Piece, PieceList, PieceListError, PlacedPiece, ZERO_PIECE, ZERO_PIECE_BYTES,
};
use crate::id::ContentId;
use crate::limits::{
    PIECE_LEN_AVERAGE, PIECE_LEN_MAX, PIECE_LEN_MIN, PIECES_INLINE_MAX, SMALL_CONTENT_LEN_MAX,
};

mod pieces;

/// What hashing a whole content tells: its name, its length and how it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its name.
    pub id: ContentId,
    /// Its length in bytes.
    pub len: u64,
    /// Its pieces, if it is longer than [`SMALL_CONTENT_LEN_MAX`].
    pub pieces: Option<PieceList>,
}

/// How the bytes of a content are found, as one program tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// In one place, under the content's own id.
    Small,
    /// In the places of these pieces.
    Pieces(PieceList),
    /// In the places of pieces whose list is too long to be told in one message.
    List {
        /// The content that is the encoded list.
        list: ContentId,
        /// How many pieces the list has.
        count: u32,
    },
}

impl Content {
    /// Describes bytes that are at hand.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        if bytes.len() as u64 <= SMALL_CONTENT_LEN_MAX {
            return Self::small(bytes);
        }
        let pieces =
            cutter(bytes).map(|cut| Piece::of(&bytes[cut.offset..cut.offset + cut.length]));
        Self::large(PieceList::new(pieces.collect()).expect("the cutter keeps to the limits"))
    }

    /// Describes the content that a list of pieces makes up.
    #[must_use]
    pub fn large(pieces: PieceList) -> Self {
        Self {
            id: pieces.content_id(),
            len: pieces.total_len(),
            pieces: Some(pieces),
        }
    }

    /// Returns how a client describes the content to the server.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match &self.pieces {
            None => Layout::Small,
            Some(list) if list.pieces().len() <= PIECES_INLINE_MAX => Layout::Pieces(list.clone()),
            Some(list) => Layout::List {
                list: Self::of_bytes(&list.encode()).id,
                count: list.count(),
            },
        }
    }

    fn small(bytes: &[u8]) -> Self {
        Self {
            id: small_content_id(bytes),
            len: bytes.len() as u64,
            pieces: None,
        }
    }
}

/// Returns the piece that a large content has where `bytes` begin, if that is a cut of it: they must
/// go on for [`PIECE_LEN_MAX`] bytes, or to the end of the content. `None` without bytes.
///
/// Where it ends depends on its own bytes and the one behind them, and on nothing else but the end of
/// the content; that one may be two bytes behind the piece.
#[must_use]
pub fn first_piece(bytes: &[u8]) -> Option<Piece> {
    let cut = cutter(bytes).next()?;
    Some(Piece::of(&bytes[..cut.length]))
}

fn cutter(bytes: &[u8]) -> FastCDC<'_> {
    FastCDC::with_level(
        bytes,
        PIECE_LEN_MIN as usize,
        PIECE_LEN_AVERAGE as usize,
        PIECE_LEN_MAX as usize,
        Normalization::Level1,
    )
}

/// Returns the name of a content of up to 1 MiB, or of a piece: the SHA-256 of its bytes.
#[must_use]
pub fn small_content_id(bytes: &[u8]) -> ContentId {
    ContentId(Hasher::digest(bytes).into())
}

/// Hashes a whole content in bounded memory.
///
/// Fails only where `reader` does, or if it goes on for more than
/// [`PIECES_MAX`](crate::limits::PIECES_MAX) pieces.
pub fn describe(mut reader: impl Read) -> io::Result<Content> {
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(SMALL_CONTENT_LEN_MAX + 1)
        .read_to_end(&mut head)?;
    if head.len() as u64 <= SMALL_CONTENT_LEN_MAX {
        return Ok(Content::small(&head));
    }
    let pieces = cut(head.chain(reader))
        .map(|cut| cut.map(|(piece, _)| piece))
        .collect::<io::Result<Vec<_>>>()?;
    let list = PieceList::new(pieces)
        .map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error))?;
    Ok(Content::large(list))
}

/// Cuts a large content into its pieces, with their bytes, holding a few MiB at a time.
///
/// Cutting may start at any earlier cut: the rest then falls as if it had started at the front.
/// The iterator ends after the first error.
pub fn cut<R: Read>(reader: R) -> impl Iterator<Item = io::Result<(Piece, Vec<u8>)>> {
    let mut cutter = Some(StreamCDC::with_level(
        reader,
        PIECE_LEN_MIN as usize,
        PIECE_LEN_AVERAGE as usize,
        PIECE_LEN_MAX as usize,
        Normalization::Level1,
    ));
    std::iter::from_fn(move || {
        loop {
            match cutter.as_mut()?.next()?.map_err(io::Error::from) {
                Ok(chunk) => return Some(Ok((Piece::of(&chunk.data), chunk.data))),
                // A signal came; the cutter has lost nothing and reads on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    cutter = None;
                    return Some(Err(error));
                }
            }
        }
    })
}
