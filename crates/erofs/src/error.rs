//! What an image cannot hold.

use thiserror::Error;

/// Why an object cannot be in an image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// Its id is beyond the space of the image.
    #[error("{what} {id} is beyond what an image has room for")]
    Id {
        /// What has the id.
        what: &'static str,
        /// The id.
        id: u64,
    },
    /// A directory has too many entries.
    #[error("a directory of {entries} entries is too large for an image")]
    Entries {
        /// How many it has.
        entries: usize,
    },
    /// The extended attributes of one object are too long together.
    #[error("{len} bytes of extended attributes of one object are too many for an image")]
    Xattrs {
        /// How many bytes they take.
        len: usize,
    },
}
