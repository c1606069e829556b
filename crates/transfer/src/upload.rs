//! The receiving end of an upload.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::error::TransferError;
use crate::frame::Frame;
use crate::window::{Pace, WINDOW_LEN};

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The bytes that follow those before; write them.
    Bytes(Bytes),
    /// Bytes that are there already: a repeated frame, to be acknowledged again.
    Repeated,
}

/// The state of one upload as its receiver sees it.
///
/// Frames come in order and leave no gap. One that lies wholly in what has arrived is taken for a
/// repetition; what it says instead cannot do harm, since the whole chunk is checked against its id
/// at the end. States: open (`received` below `len`), complete (equal); an error ends the transfer.
#[derive(Debug)]
pub struct UploadReceiver {
    len: u64,
    received: u64,
    written: u64,
    window: u64,
}

impl UploadReceiver {
    /// Starts to receive `len` bytes, holding at most about a window of them in memory.
    #[must_use]
    pub const fn new(len: u64) -> Self {
        Self::with_window(len, WINDOW_LEN)
    }

    /// Like [`new`](Self::new) with a window of its own.
    #[must_use]
    pub const fn with_window(len: u64, window: u64) -> Self {
        Self {
            len,
            received: 0,
            written: 0,
            window,
        }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// After an error the transfer is over; it changed nothing.
    pub fn receive(&mut self, frame: Frame) -> Result<Received, TransferError> {
        let end = frame.verify()?;
        if let ControlFlow::Break(answer) = self.place(frame.offset, end)? {
            return Ok(answer);
        }
        if frame.is_final != (end == self.len) {
            return Err(TransferError::WrongFinal { end, len: self.len });
        }
        self.received = end;
        Ok(Received::Bytes(frame.data))
    }

    /// Notes that everything up to `position` has left memory.
    pub fn wrote_up_to(&mut self, position: u64) {
        self.written = position.clamp(self.written, self.received);
    }

    /// Returns how much has arrived.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.received
    }

    /// Returns whether the sender may go on or must wait for the disk.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        if self.received - self.written < self.window {
            Pace::GoOn
        } else {
            Pace::Wait
        }
    }

    /// Returns true when everything has arrived.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.received == self.len
    }

    /// Takes the end of the stream.
    ///
    /// # Errors
    /// [`TransferError::Cut`] unless everything has arrived.
    pub const fn finish(&self) -> Result<(), TransferError> {
        if self.is_complete() {
            return Ok(());
        }
        Err(TransferError::Cut {
            received: self.received,
            len: self.len,
        })
    }

    /// Decides whether bytes from `offset` to `end` are new, repeated or out of place.
    fn place(&self, offset: u64, end: u64) -> Result<ControlFlow<Received>, TransferError> {
        if end > self.len {
            return Err(TransferError::TooLong { end, len: self.len });
        }
        if end <= self.received {
            return Ok(ControlFlow::Break(Received::Repeated));
        }
        if offset != self.received {
            return Err(TransferError::OutOfOrder {
                offset,
                expected: self.received,
            });
        }
        Ok(ControlFlow::Continue(()))
    }
}
