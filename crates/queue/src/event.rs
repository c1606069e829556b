//! What a queue tells those who watch it.

use crate::uploader::FileId;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Files are remote now.
    Remote {
        /// Which.
        files: Vec<FileId>,
        /// Bytes that went over the network for them.
        bytes_sent: u64,
    },
    /// An attempt failed, and there will be another one.
    Retrying {
        /// Which file.
        file: FileId,
        /// Failed attempts so far.
        tries: u32,
        /// Why.
        reason: String,
    },
    /// A file was set aside.
    Failed {
        /// Which.
        file: FileId,
        /// Why.
        reason: String,
    },
    /// The queue was paused or resumed.
    Paused(bool),
}
