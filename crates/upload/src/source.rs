//! Where the bytes of a content come from.

use std::io::{self, Cursor, Read};

use lfsfs_types::content::{Piece, cut};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;

use crate::contents::ContentBytes;

/// A file whose bytes become a content. [`ContentSender::read`](crate::ContentSender::read) reads it
/// once, from the start.
pub trait ContentSource {
    /// Why it cannot be read.
    type Error: std::error::Error + 'static;

    /// Returns all bytes, or `None` if there are more than [`SMALL_CONTENT_LEN_MAX`].
    fn read_small(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Returns the next piece of a file that is not small, or `None` at its end. The pieces are those
    /// that [`cut`] gives of all bytes.
    fn next_piece(&mut self) -> Result<Option<Cut>, Self::Error>;
}

/// A piece of a large file.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// One that the base has, or that came before: its bytes were not read.
    Known(Piece),
    /// One that was read, with its bytes.
    Read(Piece, Vec<u8>),
}

impl Cut {
    /// Returns the piece, and what the server may lack of it.
    pub(crate) fn into_parts(self) -> (Piece, Option<ContentBytes>) {
        match self {
            Self::Known(piece) => (piece, None),
            Self::Read(piece, bytes) => {
                let id = piece.hash;
                (piece, Some(ContentBytes { id, bytes }))
            }
        }
    }
}

type Cuts<'a> = dyn Iterator<Item = io::Result<(Piece, Vec<u8>)>> + 'a;

/// Bytes that come once and in order, such as those of a pipe.
pub struct StreamSource<'a> {
    reader: Box<dyn Read + 'a>,
    /// Of a stream that is not small.
    cuts: Option<Box<Cuts<'a>>>,
}

impl std::fmt::Debug for StreamSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSource").finish_non_exhaustive()
    }
}

impl<'a> StreamSource<'a> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(reader: impl Read + 'a) -> Self {
        Self {
            reader: Box::new(reader),
            cuts: None,
        }
    }
}

impl ContentSource for StreamSource<'_> {
    type Error = io::Error;

    fn read_small(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = Vec::new();
        let reader = &mut self.reader;
        reader
            .take(SMALL_CONTENT_LEN_MAX + 1)
            .read_to_end(&mut head)?;
        if head.len() as u64 <= SMALL_CONTENT_LEN_MAX {
            return Ok(Some(head));
        }
        // What was read does not come again.
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.cuts = Some(Box::new(cut(Cursor::new(head).chain(rest))));
        Ok(None)
    }

    fn next_piece(&mut self) -> io::Result<Option<Cut>> {
        let next = self.cuts.as_mut().and_then(Iterator::next).transpose()?;
        Ok(next.map(|(piece, bytes)| Cut::Read(piece, bytes)))
    }
}
