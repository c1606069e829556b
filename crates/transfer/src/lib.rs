//! Frames, acknowledgements and sessions of a chunk transfer; no sockets.
//!
//! A chunk travels as frames: bytes, where in the chunk they start, and their SHA-256. This crate
//! owns what both ends must agree on, as values that are driven by the code that has the stream:
//! [`cut_frames`] and [`SendWindow`] for the sender of an upload, [`UploadReceiver`] for its
//! receiver, [`DownloadReceiver`] for the receiver of a range. It does no I/O, knows no clock and
//! no message of the wire; docs/protocol.md tells the same in prose.

#![forbid(unsafe_code)]

mod download;
mod error;
mod frame;
mod rate;
mod upload;
mod window;

pub use download::DownloadReceiver;
pub use error::TransferError;
pub use frame::{Frame, cut_frames};
pub use rate::{CHUNK_TIME_MAX, RATE_FAIR, RATE_MIN, SenderRate};
pub use upload::{Received, UploadReceiver};
pub use window::{Pace, SendWindow, WINDOW_LEN};
