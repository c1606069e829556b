//! What a walk asks the server for each directory.

use std::collections::{HashMap, HashSet};

use lfsfs_remote::{DirectoryPlace, RemoteError, RemoteRead, Snapshot};
use lfsfs_types::limits::DIRS_PER_MESSAGE_MAX;
use lfsfs_types::{DirId, Kind, Name, Record, VersionNumber};

use super::scope::{Extent, Pending, Reach, Scope};
use crate::changes::Mark;
use crate::listings::Listings;

type Entries = Vec<(Name, Record)>;

/// The entries of a directory, and what is needed to compare them with what is there.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) entries: Entries,
    /// The entries of the directories that a repair compares with.
    others: Vec<(VersionNumber, Entries)>,
    /// Directories in it that changed, and are at the same place in the version that is there.
    in_place: HashSet<DirId>,
}

impl Listed {
    /// Returns the record of a name.
    pub(crate) fn find(&self, name: &Name) -> Option<&Record> {
        find(&self.entries, name)
    }

    /// Returns true if another version has an entry of this name.
    pub(crate) fn is_elsewhere(&self, name: &Name) -> bool {
        let mut others = self.others.iter();
        others.any(|(_, entries)| find(entries, name).is_some())
    }

    /// Returns the directories of other versions with this name.
    pub(crate) fn dirs_elsewhere(&self, name: &Name) -> Vec<(VersionNumber, DirId)> {
        let dir = |(version, entries): &(VersionNumber, Entries)| {
            Some((*version, directory(find(entries, name)?)?))
        };
        self.others.iter().filter_map(dir).collect()
    }

    /// Returns true if a changed directory is the one that was there before.
    pub(crate) fn is_in_place(&self, dir: DirId) -> bool {
        self.in_place.contains(&dir)
    }
}

fn find<'e>(entries: &'e [(Name, Record)], name: &Name) -> Option<&'e Record> {
    let found = entries.binary_search_by(|(entry, _)| entry.cmp(name));
    found.ok().map(|at| &entries[at].1)
}

/// Returns the id of a plain directory.
pub(crate) const fn directory(record: &Record) -> Option<DirId> {
    match record.kind {
        Kind::Directory { dir } => Some(dir),
        _ => None,
    }
}

/// Asks the server.
#[derive(Clone, Copy)]
pub(crate) struct Lister<'a> {
    pub(crate) remote: &'a dyn RemoteRead,
    pub(crate) snapshot: &'a Snapshot,
    /// Those of the version.
    pub(crate) listings: &'a Listings<'a>,
    pub(crate) scope: &'a Scope,
}

impl Lister<'_> {
    /// Returns a directory with its entries.
    pub(crate) async fn list(self, pending: Pending) -> (Pending, Result<Listed, RemoteError>) {
        let listed = self.listed(&pending).await;
        (pending, listed)
    }

    async fn listed(&self, pending: &Pending) -> Result<Listed, RemoteError> {
        let version = self.snapshot.version.number;
        let mut listed = Listed {
            entries: self.entries(version, pending.dir).await?,
            ..Listed::default()
        };
        if let Extent::Repair(others) = &pending.extent {
            for (version, dir) in others {
                let entries = self.entries(*version, *dir).await?;
                listed.others.push((*version, entries));
            }
        }
        listed.in_place = self.in_place(pending, &listed).await?;
        Ok(listed)
    }

    async fn entries(&self, version: VersionNumber, dir: DirId) -> Result<Entries, RemoteError> {
        if version == self.snapshot.version.number {
            return Ok(self.listings.list(dir).await?.entries);
        }
        let project = self.snapshot.project.id;
        let listing = self.remote.list_directory(project, version, dir).await?;
        Ok(listing.entries)
    }

    /// Finds the changed directories that the version that is there has at the same place.
    async fn in_place(
        &self,
        pending: &Pending,
        listed: &Listed,
    ) -> Result<HashSet<DirId>, RemoteError> {
        let Reach::Since(from, changes) = &self.scope.reach else {
            return Ok(HashSet::new());
        };
        let changed = changes.in_dir(&pending.path);
        let changed = changed.filter(|(_, mark)| *mark == Mark::Changed);
        let dirs: Vec<(DirId, &Name)> = changed
            .filter_map(|(name, _)| Some((directory(listed.find(name)?)?, name)))
            .collect();
        if dirs.is_empty() || pending.extent != Extent::Changed {
            return Ok(HashSet::new());
        }
        let mut in_place = HashSet::new();
        for part in dirs.chunks(DIRS_PER_MESSAGE_MAX) {
            let names: HashMap<DirId, &Name> = part.iter().copied().collect();
            let ids: Vec<DirId> = names.keys().copied().collect();
            let project = self.snapshot.project.id;
            let places = self.remote.directory_places(project, *from, &ids).await?;
            // This directory is in place itself, so its id says where those in it are.
            let is_in_place = |(dir, above, old): &DirectoryPlace| {
                *above == pending.dir && names.get(dir) == Some(&old)
            };
            let places = places.iter().filter(|place| is_in_place(place));
            in_place.extend(places.map(|(dir, _, _)| *dir));
        }
        Ok(in_place)
    }
}
