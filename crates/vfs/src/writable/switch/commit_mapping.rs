//! What a commit made of what it took: where each inode of the seal is in the new version.

use std::collections::HashMap;

use lfsfs_overlay::{CommitIds, DirectoryRef, Entry, Inode, Sealed};
use lfsfs_types::{DirId, LinkId};

use super::delta::{Needs, VersionDelta};
use crate::directory::VersionPlace;
use crate::error::VfsError;

/// Where a commit put what it took. Takes memory for each object that it took, as the overlay does.
#[derive(Debug, Default)]
pub(in crate::writable) struct CommitMapping {
    /// By inode; `None` for a hard-linked file of which only names are left that it was not changed
    /// by.
    places: HashMap<u64, Option<VersionPlace>>,
    /// The directories that are new: inode and id.
    directories: Vec<(u64, DirId)>,
    /// The inodes of the directories that are new.
    made: HashMap<DirId, u64>,
    links: HashMap<u64, LinkId>,
}

impl CommitMapping {
    /// Finds the places of what a seal took.
    pub(in crate::writable) fn new(sealed: &Sealed, ids: CommitIds) -> Self {
        let directories: HashMap<u64, DirId> = ids.directories.iter().copied().collect();
        let mut mapping = Self {
            made: ids.directories.iter().map(|it| (it.1, it.0)).collect(),
            links: ids.links.into_iter().collect(),
            directories: ids.directories,
            places: HashMap::new(),
        };
        for change in sealed.changes() {
            let Entry::Present { ino, .. } = change.entry else {
                continue;
            };
            let directory = match change.directory {
                DirectoryRef::Base(dir) => Some(dir),
                DirectoryRef::New(ino) => directories.get(&ino).copied(),
                DirectoryRef::NamesOf(_) => None,
            };
            let name = change.name.cloned();
            let place = directory.map(|dir| VersionPlace { dir, name });
            let known = mapping.places.entry(ino).or_default();
            *known = known.take().or(place);
        }
        mapping
    }

    /// Returns what was taken.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.places.keys().copied()
    }

    /// Returns true for what was taken.
    pub(super) fn has(&self, ino: u64) -> bool {
        self.places.contains_key(&ino)
    }

    /// Returns the ids that new directories have.
    pub(super) fn directories(&self) -> &[(u64, DirId)] {
        &self.directories
    }

    /// Returns the inode of a directory that is new.
    pub(super) fn directory(&self, dir: DirId) -> Option<u64> {
        self.made.get(&dir).copied()
    }

    /// Returns a place that an inode of the seal has in the new version, if one can be found.
    pub(super) fn place(
        &self,
        ino: u64,
        inode: &Inode,
        delta: &VersionDelta,
        needs: &mut Needs,
    ) -> Result<Option<VersionPlace>, VfsError> {
        if let Some(Some(place)) = self.places.get(&ino) {
            return Ok(Some(place.clone()));
        }
        // The new link count is in the record of each of its names, so all of them changed.
        let Some(link) = self.link(ino, inode) else {
            return Ok(None);
        };
        for (dir, name, _) in delta.changed().filter(|it| it.2.new) {
            let listing = delta.new_listing(dir, needs);
            let found = listing.map(|listing| listing.record_of(name)).transpose()?;
            let found = found.flatten().and_then(|record| record.link);
            if found.is_some_and(|it| it.id == link) {
                let name = Some(name.clone());
                return Ok(Some(VersionPlace { dir, name }));
            }
        }
        Ok(None)
    }

    fn link(&self, ino: u64, inode: &Inode) -> Option<LinkId> {
        let made = self.links.get(&ino).copied();
        made.or_else(|| Some(inode.base.as_ref()?.record.link?.id))
    }
}
