//! Which version each number meant when this client saw it first.
//!
//! A server whose metadata was restored from an older backup may have another version of a number. Calls about
//! a version that was seen say which one is meant, so such a server says that it does not have it, instead of
//! showing parts of the other one. The first id stays: what was read before is of that version.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::{ProjectId, VersionId, VersionNumber};

/// Versions that are remembered. Of further ones calls name the number alone.
const VERSIONS_MAX: usize = 10_000;

/// The random ids of the versions that this client has seen.
#[derive(Debug, Default)]
pub(crate) struct SeenVersions(Mutex<HashMap<(ProjectId, VersionNumber), VersionId>>);

impl SeenVersions {
    /// Notes a version.
    pub(crate) fn note(&self, project: ProjectId, number: VersionNumber, id: VersionId) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < VERSIONS_MAX {
            seen.entry((project, number)).or_insert(id);
        }
    }

    /// Returns the id of a version as a request has it: empty if it is not known.
    pub(crate) fn find(&self, project: ProjectId, number: VersionNumber) -> Vec<u8> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = seen.get(&(project, number));
        id.map_or_else(Vec::new, |id| id.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_number_stays() {
        let seen = SeenVersions::default();
        let (project, number) = (ProjectId([1; 16]), VersionNumber(3));
        assert!(seen.find(project, number).is_empty());
        seen.note(project, number, VersionId([2; 16]));
        seen.note(project, number, VersionId([4; 16]));
        assert_eq!(seen.find(project, number), [2; 16]);
        assert!(seen.find(ProjectId([9; 16]), number).is_empty());
    }
}
