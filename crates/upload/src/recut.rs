//! Cutting a changed large file again, only where it changed.
//!
//! A piece of the base's content is kept where its bytes are, and what decided its end is too.
//! Elsewhere bytes are read and cut until an old cut is met. So reading, hashing and sending follow
//! the edits, and the pieces are those that cutting the whole file would give.

use lfsfs_types::content::{Piece, PlacedPiece};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;

use crate::source::{ContentSource, Cut};
use crate::window::{WINDOW_LEN, Window};

/// Bytes behind a piece on which its end may depend: the cutter looks at two at a time.
const LOOK_AHEAD: u64 = 2;

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
    window: Window,
}

impl<'a> Recut<'a> {
    fn new(file: ChangedFile<'a>) -> Self {
        let window = Window::default();
        Self { file, window }
    }

    /// Returns the next piece, or `None` at the end of the file. `read` gives all bytes of a range
    /// of the file.
    fn next<E>(
        &mut self,
        read: impl FnOnce(u64, u64) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Cut>, E> {
        if let Some(piece) = self.kept() {
            self.window.pass(u64::from(piece.len));
            return Ok(Some(Cut::Known(piece)));
        }
        if self.is_zeros() {
            return Ok(Some(self.window.cut_zeros()));
        }
        let (from, room) = self.window.missing();
        let len = room.min(self.file.size - from);
        if len > 0 {
            self.window.fill(&read(from, len)?);
        }
        Ok(self.window.cut())
    }

    /// Returns the old piece that starts here, if it ends here too.
    fn kept(&self) -> Option<Piece> {
        let old = self.file.base;
        let found = old.binary_search_by_key(&self.window.at(), |old| old.start);
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

    /// Returns true if so many zeros follow that the cutter sees nothing else.
    fn is_zeros(&self) -> bool {
        let end = self.window.at() + WINDOW_LEN;
        end <= self.file.size && self.is_made_of(StretchOrigin::Zeros, end)
    }

    /// Returns true if everything from here to `end` has one origin.
    fn is_made_of(&self, origin: StretchOrigin, end: u64) -> bool {
        let stretches = self.file.stretches;
        let at = self.window.at();
        let first = stretches.partition_point(|it| it.offset + it.len <= at);
        let mut to_end = stretches[first..].iter().take_while(|it| it.offset < end);
        to_end.all(|it| it.origin == origin)
    }
}

#[cfg(test)]
mod tests;
