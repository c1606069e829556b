//! Adds paths to the errors of refused changes: a change names a directory by its id, and a user
//! knows it by its path.

use std::collections::HashMap;

use lfsfs_types::{DirId, Name, Record, path_text};

use super::CommitSession;
use super::staging::Staging;
use crate::error::{MetadataError, Place, Result};
use crate::view::View;

/// No path has more names than this.
const NAMES_MAX: usize = lfsfs_types::limits::PATH_LEN_MAX;

impl CommitSession {
    /// Adds the path to the error of a refused change, as far as it can be found.
    pub(super) fn with_path(&self, error: MetadataError) -> MetadataError {
        with_path(error, self.staging(), &self.versions())
    }

    /// Returns the newest version and the base, in which directories can lie.
    fn versions(&self) -> Vec<View<'_>> {
        let project = self.params.project;
        let head = self.metadata.head(project).map(|head| head.number);
        let numbers = head.into_iter().chain([self.params.base.number]);
        numbers
            .map(|number| self.metadata.view_unchecked(project, number))
            .collect()
    }
}

/// Adds the path to the error of a refused change that is staged in `staging`.
pub(super) fn with_path(
    error: MetadataError,
    staging: Staging<'_>,
    versions: &[View<'_>],
) -> MetadataError {
    match error {
        MetadataError::Refused { place, reason } if place.path.is_none() => {
            // A path that cannot be found must not hide why the change is refused.
            let path = path_of(staging, versions, &place).unwrap_or_default();
            let place = Place { path, ..place };
            MetadataError::Refused { place, reason }
        }
        error => error,
    }
}

/// Returns the path of a place after the staged changes.
fn path_of(staging: Staging<'_>, versions: &[View<'_>], place: &Place) -> Result<Option<String>> {
    if place.dir == DirId::ABOVE_ROOT {
        return Ok(None);
    }
    let placed = placed(staging)?;
    let mut names: Vec<Name> = place.name.iter().cloned().collect();
    let mut at = place.dir;
    while at != DirId::ROOT && names.len() < NAMES_MAX {
        let above = match placed.get(&at) {
            Some(above) => Some(above.clone()),
            None => place_in(versions, at)?,
        };
        let Some((above, Some(name))) = above else {
            return Ok(None);
        };
        names.push(name);
        at = above;
    }
    Ok(Some(path_text(names.iter().rev().map(Name::as_bytes))))
}

/// Returns where the first of the versions that has a directory has it.
fn place_in(versions: &[View<'_>], dir: DirId) -> Result<Option<(DirId, Option<Name>)>> {
    for version in versions.iter().filter(|_| !dir.is_session()) {
        if let Some(row) = version.directory(dir)? {
            return Ok(row.place);
        }
    }
    Ok(None)
}

/// Returns where the changes place directories.
fn placed(staging: Staging<'_>) -> Result<HashMap<DirId, (DirId, Option<Name>)>> {
    let mut placed = HashMap::new();
    for change in staging.all() {
        let change = change?;
        if let Some(dir) = change.state.as_ref().and_then(Record::dir) {
            placed.insert(dir, (change.dir, change.name));
        }
    }
    Ok(placed)
}
