//! How far a sender may run ahead of the receiver.

use lfsfs_types::limits::FRAME_LEN_MAX;

use crate::error::TransferError;

/// Most bytes of one transfer that are sent and not acknowledged, or received and not written.
pub const WINDOW_LEN: u64 = 4 * FRAME_LEN_MAX as u64;

/// What a receiver asks of its sender with each acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Send more.
    GoOn,
    /// Send nothing before the next acknowledgement.
    Wait,
}

/// What a sender has sent, and what of it was acknowledged.
#[derive(Debug)]
pub struct SendWindow {
    sent: u64,
    acknowledged: u64,
    pace: Pace,
    window: u64,
}

impl SendWindow {
    /// Starts at the front of a chunk.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_window(WINDOW_LEN)
    }

    /// Like [`new`](Self::new) with a window of its own.
    #[must_use]
    pub const fn with_window(window: u64) -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            pace: Pace::GoOn,
            window,
        }
    }

    /// Returns true if a frame may be sent now; otherwise wait for an acknowledgement.
    ///
    /// A frame longer than the window may be sent when nothing else is on its way.
    #[must_use]
    pub const fn may_send(&self, frame_len: usize) -> bool {
        let on_its_way = self.sent - self.acknowledged;
        matches!(self.pace, Pace::GoOn)
            && (on_its_way == 0 || on_its_way + frame_len as u64 <= self.window)
    }

    /// Notes that a frame was sent.
    pub const fn sent(&mut self, frame_len: usize) {
        self.sent += frame_len as u64;
    }

    /// Takes an acknowledgement.
    ///
    /// # Errors
    /// [`TransferError::WrongAck`] if it is about what was not sent or falls behind an earlier one.
    pub fn acknowledged(&mut self, bytes_received: u64, pace: Pace) -> Result<(), TransferError> {
        if !(self.acknowledged..=self.sent).contains(&bytes_received) {
            return Err(TransferError::WrongAck {
                acknowledged: bytes_received,
                from: self.acknowledged,
                to: self.sent,
            });
        }
        self.acknowledged = bytes_received;
        self.pace = pace;
        Ok(())
    }
}

impl Default for SendWindow {
    fn default() -> Self {
        Self::new()
    }
}
