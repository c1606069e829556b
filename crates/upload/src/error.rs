//! Why sending failed.

use lfsfs_remote::RemoteError;
use thiserror::Error;

/// Why changes or contents could not be sent.
#[derive(Debug, Clone, Error)]
pub enum UploadError {
    /// The server failed, refused or found a conflict.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Another part stopped and has its own reason, which is the one to tell; without one this is a
    /// defect.
    #[error("sending stopped: {0}")]
    Stopped(&'static str),
}
