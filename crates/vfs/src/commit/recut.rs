//! Cutting a changed large file again, only where it changed.
//!
//! A piece of the base's content is kept where its bytes are, and what decided its end is too.
//! Elsewhere bytes are read and cut until an old cut is met. So reading, hashing and sending follow
//! the edits, and the pieces are those that cutting the whole file would give.

use lfsfs_overlay::{Piece as Run, PieceSource};
use lfsfs_reader::PlacedPiece;
use lfsfs_types::content::{Piece, first_piece};
use lfsfs_types::limits::PIECE_LEN_MAX;

/// Bytes behind a piece on which its end may depend: the cutter looks at two at a time.
const LOOK_AHEAD: u64 = 2;
const WINDOW_LEN: u64 = PIECE_LEN_MAX as u64;

/// A file that is being cut. Give it what the file is made of, in order and without gaps, and what
/// the base's content is cut into.
#[derive(Debug)]
pub(super) struct Recut<'a> {
    size: u64,
    runs: &'a [Run],
    old: &'a [PlacedPiece],
    at: u64,
    /// Bytes that were read and not cut yet, from `at` on.
    window: Vec<u8>,
    /// The piece that a long run of zeros is cut into, once it was met.
    zeros: Option<Piece>,
}

/// A piece of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// One that the base has, or that came before.
    Known(Piece),
    /// One that was read, with its bytes.
    Read(Piece, Vec<u8>),
}

impl<'a> Recut<'a> {
    pub(super) fn new(size: u64, runs: &'a [Run], old: &'a [PlacedPiece]) -> Self {
        Self {
            size,
            runs,
            old,
            at: 0,
            window: Vec::new(),
            zeros: None,
        }
    }

    /// Returns the next piece, or `None` at the end of the file. `read` gives all bytes of a range
    /// of the file.
    pub(super) fn next<E>(
        &mut self,
        read: impl FnOnce(u64, u64) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Cut>, E> {
        let known = self.kept().or_else(|| self.zeros_again());
        if let Some(piece) = known {
            self.advance(u64::from(piece.len));
            return Ok(Some(Cut::Known(piece)));
        }
        let wanted = WINDOW_LEN.min(self.size - self.at);
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
        let found = self.old.binary_search_by_key(&self.at, |old| old.start);
        let PlacedPiece { start, piece } = self.old[found.ok()?];
        let end = start + u64::from(piece.len);
        let decided_by = if end == self.size {
            end
        } else {
            end + LOOK_AHEAD
        };
        let is_same = decided_by <= self.size && self.is_made_of(PieceSource::Base, decided_by);
        is_same.then_some(piece)
    }

    fn zeros_again(&self) -> Option<Piece> {
        self.zeros.filter(|_| self.is_zeros())
    }

    /// Returns true if so many zeros follow that the cutter sees nothing else.
    fn is_zeros(&self) -> bool {
        let end = self.at + WINDOW_LEN;
        end <= self.size && self.is_made_of(PieceSource::Zeros, end)
    }

    /// Returns true if everything from here to `end` has one source.
    fn is_made_of(&self, source: PieceSource, end: u64) -> bool {
        let first = self
            .runs
            .partition_point(|run| run.offset + run.len <= self.at);
        let mut runs = self.runs[first..].iter();
        runs.by_ref()
            .take_while(|run| run.offset < end)
            .all(|run| run.source == source)
    }

    fn advance(&mut self, len: u64) {
        self.at += len;
        let used = usize::try_from(len).unwrap_or(usize::MAX);
        self.window.drain(..used.min(self.window.len()));
    }
}

#[cfg(test)]
mod tests;
