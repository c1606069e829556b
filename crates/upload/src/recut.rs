//! Cutting a changed large file again, only where it changed.
//!
//! A piece of the base's content is kept where its bytes are, and what decided its end is too.
//! Elsewhere bytes are read and cut until an old cut is met. So reading, hashing and sending follow
//! the edits, and the pieces are those that cutting the whole file would give.

use lfsfs_types::content::{Piece, PlacedPiece, first_piece};
use lfsfs_types::limits::{PIECE_LEN_MAX, SMALL_CONTENT_LEN_MAX};

use crate::source::{ContentSource, Cut};

/// Bytes behind a piece on which its end may depend: the cutter looks at two at a time.
const LOOK_AHEAD: u64 = 2;
const WINDOW_LEN: u64 = PIECE_LEN_MAX as u64;

/// Bytes of a changed file that follow each other and have one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where in the file they start.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
    /// Where they are from.
    pub origin: StretchOrigin,
}

/// Where bytes of a changed file are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StretchOrigin {
    /// The base has them at the same offset.
    Base,
    /// They are a hole.
    Zeros,
    /// They were written since.
    Written,
}

/// A file that was changed, and what is known of its base.
#[derive(Debug, Clone, Copy)]
pub struct ChangedFile<'a> {
    /// Its length in bytes.
    pub size: u64,
    /// What it is made of, in order and without gaps. A small one is read as a whole and needs none.
    pub stretches: &'a [Stretch],
    /// What the base's content is cut into, in order; nothing if it is small.
    pub base: &'a [PlacedPiece],
}

impl<'a> ChangedFile<'a> {
    /// Returns the source of the file's content. `read` returns all bytes of a range of the file: it gets
    /// an offset and a length.
    pub fn source<E: std::error::Error + 'static>(
        self,
        read: impl FnMut(u64, u64) -> Result<Vec<u8>, E>,
    ) -> impl ContentSource<Error = E> {
        ChangedSource {
            recut: Recut::new(self),
            read,
        }
    }
}

struct ChangedSource<'a, R> {
    recut: Recut<'a>,
    read: R,
}

impl<R, E> ContentSource for ChangedSource<'_, R>
where
    R: FnMut(u64, u64) -> Result<Vec<u8>, E>,
    E: std::error::Error + 'static,
{
    type Error = E;

    fn read_small(&mut self) -> Result<Option<Vec<u8>>, E> {
        let size = self.recut.file.size;
        if size > SMALL_CONTENT_LEN_MAX {
            return Ok(None);
        }
        (self.read)(0, size).map(Some)
    }

    fn next_piece(&mut self) -> Result<Option<Cut>, E> {
        self.recut.next(&mut self.read)
    }
}

/// A file that is being cut.
#[derive(Debug)]
struct Recut<'a> {
    file: ChangedFile<'a>,
    at: u64,
    /// Bytes that were read and not cut yet, from `at` on.
    window: Vec<u8>,
    /// The piece that a long run of zeros is cut into, once it was met.
    zeros: Option<Piece>,
}

impl<'a> Recut<'a> {
    fn new(file: ChangedFile<'a>) -> Self {
        Self {
            file,
            at: 0,
            window: Vec::new(),
            zeros: None,
        }
    }

    /// Returns the next piece, or `None` at the end of the file. `read` gives all bytes of a range
    /// of the file.
    fn next<E>(
        &mut self,
        read: impl FnOnce(u64, u64) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Cut>, E> {
        let known = self.kept().or_else(|| self.zeros_again());
        if let Some(piece) = known {
            self.advance(u64::from(piece.len));
            return Ok(Some(Cut::Known(piece)));
        }
        let wanted = WINDOW_LEN.min(self.file.size - self.at);
        let missing = wanted.saturating_sub(self.window.len() as u64);
        if missing > 0 {
            let bytes = read(self.at + self.window.len() as u64, missing)?;
            self.window.extend_from_slice(&bytes);
        }
        let Some(piece) = first_piece(&self.window) else {
            return Ok(None);
        };
        if self.is_zeros() {
            self.zeros = Some(piece);
        }
        let bytes = self.window[..piece.len as usize].to_vec();
        self.advance(u64::from(piece.len));
        Ok(Some(Cut::Read(piece, bytes)))
    }

    /// Returns the old piece that starts here, if it ends here too.
    fn kept(&self) -> Option<Piece> {
        let old = self.file.base;
        let found = old.binary_search_by_key(&self.at, |old| old.start);
        let PlacedPiece { start, piece } = old[found.ok()?];
        let end = start + u64::from(piece.len);
        let decided_by = if end == self.file.size {
            end
        } else {
            end + LOOK_AHEAD
        };
        let is_same =
            decided_by <= self.file.size && self.is_made_of(StretchOrigin::Base, decided_by);
        is_same.then_some(piece)
    }

    fn zeros_again(&self) -> Option<Piece> {
        self.zeros.filter(|_| self.is_zeros())
    }

    /// Returns true if so many zeros follow that the cutter sees nothing else.
    fn is_zeros(&self) -> bool {
        let end = self.at + WINDOW_LEN;
        end <= self.file.size && self.is_made_of(StretchOrigin::Zeros, end)
    }

    /// Returns true if everything from here to `end` has one origin.
    fn is_made_of(&self, origin: StretchOrigin, end: u64) -> bool {
        let stretches = self.file.stretches;
        let first = stretches.partition_point(|it| it.offset + it.len <= self.at);
        let mut to_end = stretches[first..].iter().take_while(|it| it.offset < end);
        to_end.all(|it| it.origin == origin)
    }

    fn advance(&mut self, len: u64) {
        self.at += len;
        let used = usize::try_from(len).unwrap_or(usize::MAX);
        self.window.drain(..used.min(self.window.len()));
    }
}

#[cfg(test)]
mod tests;
