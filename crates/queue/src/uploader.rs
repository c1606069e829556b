//! The seam of the queue: where local files are, and how they become remote.

use std::collections::BTreeSet;
use std::fmt::Debug;

/// A local file; the uploader says which number stands for which.
pub type FileId = u64;

/// What has local files and can upload them.
///
/// Every call may block. Those of [`upload`](Self::upload) come from several threads at once, never two for one file.
pub trait Uploader: Debug + Send + Sync + 'static {
    /// Returns all files whose bytes only this machine has. It is called once, at the start.
    fn local_files(&self) -> Vec<FileId>;

    /// Returns the files that were written to since the last call, or since the start.
    fn take_touched(&self) -> BTreeSet<FileId>;

    /// Returns the length of a file in bytes; `None` if it is gone or remote, so that there is nothing to upload.
    fn len(&self, file: FileId) -> Option<u64>;

    /// Uploads files and marks them as remote, but for those that were written to meanwhile. Returns what became of
    /// each, or why nothing did.
    fn upload(&self, files: &[FileId]) -> Result<Uploads, Failure>;
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uploads {
    /// Files that are remote now.
    pub remote: BTreeSet<FileId>,
    /// Files that failed, each for a reason of its own. The others were written to or removed meanwhile.
    pub failed: Vec<(FileId, Failure)>,
    /// Bytes that went over the network.
    pub bytes_sent: u64,
}

/// Why an upload failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The remote answers no call.
    #[error("{0}")]
    Away(String),
    /// Another attempt may succeed.
    #[error("{0}")]
    Passing(String),
    /// It would fail again.
    #[error("{0}")]
    Lasting(String),
}

impl Failure {
    /// Returns true if it would fail again.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Lasting(_))
    }
}
