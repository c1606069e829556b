//! The version below an overlay, as it names it.

use lfsfs_types::{ProjectId, VersionId, VersionNumber};

use crate::field::struct_field;

/// A version as a base: its number and its random id, so that another history is never taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The version's number.
    pub number: VersionNumber,
    /// Its random id.
    pub id: VersionId,
}
struct_field!(Base { number, id });

/// What an overlay lies above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectBase {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub base: Base,
}
