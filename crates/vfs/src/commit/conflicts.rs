//! Changes of others that the mount found itself, and their paths.
//!
//! The server finds conflicts with versions that it has and the base of a commit does not. One case it
//! cannot see: something changed here while a commit was under way, and that commit was rebased on
//! another change of the same. Then the base has the other change, and the object here was still made
//! from what was there before.

use std::collections::{BTreeMap, BTreeSet};

use lfsfs_remote::RemoteRead;
use lfsfs_types::{DirId, Name};

use super::error::CommitError;
use crate::base::BaseVersion;
use crate::directory::VersionPlace;

/// Conflicts of which the paths are told.
const TOLD_MAX: usize = 1000;

/// The first places that were changed here and by others, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    first: BTreeSet<VersionPlace>,
    count: u64,
}

impl Conflicts {
    pub(super) fn add(&mut self, place: VersionPlace) {
        if self.first.contains(&place) {
            return;
        }
        self.count += 1;
        if self.first.len() < TOLD_MAX {
            self.first.insert(place);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Returns the error that tells them, by their paths in the base.
    pub(super) async fn name(self, remote: &dyn RemoteRead, base: &BaseVersion) -> CommitError {
        let snapshot = base.snapshot();
        let dirs: BTreeSet<DirId> = self.first.iter().map(|it| it.dir).collect();
        let dirs: Vec<_> = dirs.into_iter().collect();
        let (project, version) = (snapshot.project.id, snapshot.version.number);
        let places = remote.directory_places(project, version, &dirs).await;
        let places = match places {
            Ok(places) => places,
            Err(error) => return error.into(),
        };
        let place = |(dir, parent, name)| (dir, (parent, name));
        let places = places.into_iter().map(place).collect();
        let mut paths: Vec<_> = self.first.iter().map(|it| path(&places, it)).collect();
        paths.sort();
        CommitError::Conflict {
            paths,
            count: self.count,
        }
    }
}

/// Returns the path of a name; from where it is known, if the version does not have its directory.
fn path(places: &BTreeMap<DirId, (DirId, Name)>, place: &VersionPlace) -> Vec<u8> {
    let mut names: Vec<_> = place.name.iter().collect();
    let mut above = place.dir;
    while let Some((parent, name)) = places.get(&above) {
        names.push(name);
        above = *parent;
    }
    let names = names.iter().rev().map(|name| name.as_bytes());
    names.collect::<Vec<_>>().join(&b'/')
}
