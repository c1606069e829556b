//! A file that is cut while it is read: the bytes from the last cut on, as many as the next one needs.

use lfsfs_types::content::{ZERO_PIECE, ZERO_PIECE_BYTES, first_piece};

use crate::source::Cut;

/// So many bytes behind a cut say where the next one is.
pub(crate) const WINDOW_LEN: u64 = ZERO_PIECE_BYTES.len() as u64;

/// Bytes of a file that were read and not cut yet.
#[derive(Debug, Default)]
pub(crate) struct Window {
    at: u64,
    bytes: Vec<u8>,
    /// Whether the piece of zeros was given with its bytes.
    has_given_zeros: bool,
}

impl Window {
    /// Returns where in the file the last cut is.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Returns where the bytes that are missing begin, and how many they are at most.
    pub(crate) fn missing(&self) -> (u64, u64) {
        let len = self.bytes.len() as u64;
        (self.at + len, WINDOW_LEN.saturating_sub(len))
    }

    /// Takes the bytes that follow. They end where the window is full or the file ends.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Cuts what was taken; `None` if that is nothing.
    pub(crate) fn cut(&mut self) -> Option<Cut> {
        let piece = first_piece(&self.bytes)?;
        let bytes = self.bytes[..piece.len as usize].to_vec();
        self.pass(u64::from(piece.len));
        Some(Cut::Read(piece, bytes))
    }

    /// Cuts zeros: at least [`WINDOW_LEN`] of them follow, read or not. Their bytes are given once.
    pub(crate) fn cut_zeros(&mut self) -> Cut {
        self.pass(WINDOW_LEN);
        if std::mem::replace(&mut self.has_given_zeros, true) {
            return Cut::Known(ZERO_PIECE);
        }
        Cut::Read(ZERO_PIECE, ZERO_PIECE_BYTES.to_vec())
    }

    /// Goes on behind bytes that need no cutting.
    pub(crate) fn pass(&mut self, len: u64) {
        self.at += len;
        let used = usize::try_from(len).unwrap_or(usize::MAX);
        self.bytes.drain(..used.min(self.bytes.len()));
    }
}
