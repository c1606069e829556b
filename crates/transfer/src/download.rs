//! The receiving end of a download.

use std::ops::Range;

use bytes::Bytes;

use crate::error::TransferError;
use crate::frame::Frame;

/// The state of one download of a range as its receiver sees it.
///
/// Each frame is checked before its bytes are given out, and the stream must end exactly where the
/// range ends: neither a cut stream nor a longer one passes.
#[derive(Debug)]
pub struct DownloadReceiver {
    range: Range<u64>,
    next: u64,
}

impl DownloadReceiver {
    /// Starts to receive a range of a chunk.
    #[must_use]
    pub const fn new(range: Range<u64>) -> Self {
        let next = range.start;
        Self { range, next }
    }

    /// Takes the next frame and returns its bytes.
    pub fn receive(&mut self, frame: Frame) -> Result<Bytes, TransferError> {
        let end = frame.verify()?;
        if frame.offset != self.next {
            return Err(TransferError::OutOfOrder {
                offset: frame.offset,
                expected: self.next,
            });
        }
        let len = self.range.end;
        if end > len {
            return Err(TransferError::TooLong { end, len });
        }
        if frame.is_final != (end == len) {
            return Err(TransferError::WrongFinal { end, len });
        }
        self.next = end;
        Ok(frame.data)
    }

    /// Takes the end of the stream.
    ///
    /// # Errors
    /// [`TransferError::Cut`] unless the whole range has arrived.
    pub const fn finish(&self) -> Result<(), TransferError> {
        if self.next >= self.range.end {
            return Ok(());
        }
        Err(TransferError::Cut {
            received: self.next - self.range.start,
            len: self.range.end - self.range.start,
        })
    }
}
