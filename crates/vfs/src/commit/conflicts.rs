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
use crate::vfs::Vfs;

/// Conflicts of which the paths are told.
const TOLD_MAX: usize = 1000;

/// A place that was changed here and by others: a directory and a name, none for the root.
pub(super) type Place = (DirId, Option<Name>);

/// The first places in conflict, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    first: BTreeSet<Place>,
    count: u64,
}

impl Conflicts {
    pub(super) fn add(&mut self, place: Place) {
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
    pub(super) async fn name(self, remote: &dyn RemoteRead, base: &Vfs) -> CommitError {
        let snapshot = base.snapshot();
        let dirs: BTreeSet<DirId> = self.first.iter().map(|(dir, _)| *dir).collect();
        let dirs: Vec<_> = dirs.into_iter().collect();
        let (project, version) = (snapshot.project.id, snapshot.version.number);
        let places = remote.directory_places(project, version, &dirs).await;
        let places = match places {
            Ok(places) => places,
            Err(error) => return error.into(),
        };
        let place = |(dir, parent, name)| (dir, (parent, name));
        let places = places.into_iter().map(place).collect();
        let mut paths: Vec<_> = self
            .first
            .iter()
            .map(|(dir, name)| path(&places, *dir, name.as_ref()))
            .collect();
        paths.sort();
        CommitError::Conflict {
            paths,
            count: self.count,
        }
    }
}

/// Returns the path of a name; from where it is known, if the version does not have its directory.
fn path(places: &BTreeMap<DirId, (DirId, Name)>, dir: DirId, name: Option<&Name>) -> Vec<u8> {
    let mut names: Vec<_> = name.into_iter().collect();
    let mut above = dir;
    while let Some((parent, name)) = places.get(&above) {
        names.push(name);
        above = *parent;
    }
    let names = names.iter().rev().map(|name| name.as_bytes());
    names.collect::<Vec<_>>().join(&b'/')
}
