//! The head of a project and the base of a commit: one version, and no other of its number.

use lfsfs_types::{VersionId, VersionNumber};

/// A version by its number, which finds it, and by its own random id, which proves that it is the one
/// that was meant: a restored backup may have another version of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactVersion {
    /// Its number.
    pub number: VersionNumber,
    /// Its own random id.
    pub id: VersionId,
}
