//! Dropping changes, and changing the base below an overlay without any.

use std::collections::BTreeMap;
use std::sync::Arc;

use lfsfs_types::{DirId, Name};

use crate::entries::Entries;

use crate::base::Base;
use crate::error::ApplyError;
use crate::inode::{Attributes, BaseKey, BaseObject, Inode, Node, Slot};
use crate::operation::EntryName;
use crate::state::State;

impl State {
    /// Drops all changes. Objects of the base keep their inodes; new ones live on without names
    /// until they are forgotten.
    pub(super) fn discard_all(&mut self) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        let changed: Vec<_> = self.dirty.iter().collect();
        for ino in changed {
            let Some(inode) = self.remove(ino) else {
                continue;
            };
            match inode.base.clone() {
                Some(base) => self.insert_clean(ino, base)?,
                None => self.insert_orphan(ino, inode),
            }
        }
        Ok(())
    }

    /// Drops what the overlay says about names, and makes objects what they are in the base.
    pub(super) fn discard(
        &mut self,
        entries: &[EntryName],
        revealed: &[(u64, (DirId, Name))],
        inodes: &[u64],
    ) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        let mut lost: BTreeMap<u64, u32> = BTreeMap::new();
        for place in entries {
            if let Slot::Inode { ino, .. } = self.drop_slot(place)? {
                *lost.entry(ino).or_default() += 1;
            }
        }
        for (ino, (directory, name)) in revealed {
            self.reveal(*ino, *directory, name)?;
        }
        for ino in inodes {
            let lost = lost.remove(ino).unwrap_or(0);
            self.reset(*ino, lost)?;
        }
        for (ino, count) in lost {
            self.lose_names(ino, count)?;
        }
        for place in entries {
            self.settle_parent(place.directory)?;
        }
        Ok(())
    }

    fn drop_slot(&mut self, place: &EntryName) -> Result<Slot, ApplyError> {
        let directory = self.live_directory(place.directory)?;
        let slot = directory.entries.get(&place.name).copied();
        let slot = slot.ok_or_else(|| ApplyError::EntryUnchanged {
            directory: place.directory,
            name: place.name.clone(),
        })?;
        self.touch(place.directory, |inode| {
            if let Node::Directory(data) = &mut inode.node {
                data.entries.remove_mut(&place.name);
            }
        });
        Ok(slot)
    }

    /// Makes an object what it is in the base. What is not in its place there goes back to it without
    /// any other name; a file with more names keeps those that were not dropped.
    fn reset(&mut self, ino: u64, lost: u32) -> Result<(), ApplyError> {
        let in_use = || ApplyError::InodeInUse { ino };
        let inode = self.known(ino)?;
        let base = inode.base.clone().filter(|_| !inode.is_orphan());
        let base = base.ok_or_else(in_use)?;
        if inode.directory().is_some_and(|it| !it.entries.is_empty()) {
            return Err(ApplyError::NotEmpty { ino });
        }
        let left = inode.attributes.nlink.checked_sub(lost);
        let left = left.ok_or_else(in_use)?;
        let (base_names, in_place) = (inode.base_names, inode.in_place);
        let goes_home = base.record.link.is_none() && !in_place;
        if goes_home != (left == 0) || goes_home && !self.shows_home(&base) {
            return Err(in_use());
        }
        self.remove(ino);
        self.insert_clean(ino, base)?;
        let whole = self.known(ino)?;
        let names = (whole.attributes.nlink, whole.base_names, whole.in_place);
        if !goes_home && names != (left, base_names, in_place) {
            self.touch(ino, |inode| {
                inode.attributes.nlink = left;
                inode.base_names = base_names;
                inode.in_place = in_place;
            });
        }
        Ok(())
    }

    /// Returns true if nothing stands in the place that an object has in the base.
    fn shows_home(&self, base: &BaseObject) -> bool {
        let above = self.copy_of(&BaseKey::Directory(base.directory));
        let above = above.and_then(|ino| self.inode(ino)?.directory());
        match (above, &base.name) {
            (Some(above), Some(name)) => !above.entries.contains_key(name),
            _ => true,
        }
    }

    /// Takes names off the count that were dropped.
    fn lose_names(&mut self, ino: u64, count: u32) -> Result<(), ApplyError> {
        let inode = self.known(ino)?;
        if let Some(directory) = inode.directory() {
            if inode.base.is_some() {
                return Err(ApplyError::InodeInUse { ino });
            }
            if !directory.entries.is_empty() {
                return Err(ApplyError::NotEmpty { ino });
            }
        }
        let ctime = inode.attributes.ctime;
        for _ in 0..count {
            self.lose_link(ino, ctime);
        }
        Ok(())
    }

    /// Makes a directory clean in which nothing differs any more but the times that its changes left.
    fn settle_parent(&mut self, ino: u64) -> Result<(), ApplyError> {
        let Some(inode) = self.inode(ino).filter(|_| self.dirty.contains(&ino)) else {
            return Ok(());
        };
        let Some(base) = inode.base.clone().filter(|_| inode.in_place) else {
            return Ok(());
        };
        let then = Attributes::of_base(&base.record);
        let now = Attributes {
            atime: then.atime,
            mtime: then.mtime,
            ctime: then.ctime,
            ..inode.attributes.clone()
        };
        let empty = inode.directory().is_some_and(|it| it.entries.is_empty());
        if empty && now == then {
            self.remove(ino);
            self.insert_clean(ino, base)?;
        }
        Ok(())
    }

    fn insert_clean(&mut self, ino: u64, base: Arc<BaseObject>) -> Result<(), ApplyError> {
        let inode = Inode::of_base(base, self.generation);
        self.insert(ino, inode);
        self.clean.insert_mut(ino);
        Ok(())
    }

    /// Counts a name of the base as a hard-linked file's again.
    fn reveal(&mut self, ino: u64, directory: DirId, name: &Name) -> Result<(), ApplyError> {
        let inode = self.known(ino)?;
        let base = inode.base.as_ref().filter(|_| !inode.is_orphan());
        let link = base.and_then(|it| it.record.link);
        let fits = link.is_some_and(|link| inode.base_names < link.nlink);
        if !fits || inode.attributes.nlink == u32::MAX {
            return Err(ApplyError::InodeInUse { ino });
        }
        self.touch(ino, |inode| {
            inode.base_names += 1;
            inode.attributes.nlink += 1;
            inode.in_place |= inode.base.as_ref().is_some_and(|base| {
                base.directory == directory && base.name.as_ref() == Some(name)
            });
        });
        Ok(())
    }

    /// Makes another version the base; objects that were copied up are looked up anew.
    pub(super) fn switch(&mut self, base: Base) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        if !self.is_unchanged() {
            return Err(ApplyError::Changed);
        }
        // What was only touched is as the new base has it.
        let dropped: Vec<_> = self.clean.iter().chain(self.dirty.iter()).collect();
        for ino in dropped {
            self.remove(ino);
        }
        self.base = base;
        Ok(())
    }

    pub(super) fn check_unsealed(&self) -> Result<(), ApplyError> {
        match self.sealed_commit() {
            Some(commit) => Err(ApplyError::SealOutstanding { commit }),
            None => Ok(()),
        }
    }

    fn insert_orphan(&mut self, ino: u64, mut inode: Inode) {
        inode.attributes.nlink = 0;
        inode.generation = self.generation;
        if let Node::Directory(data) = &mut inode.node {
            data.entries = Entries::default();
        }
        self.insert(ino, inode);
        self.orphans.insert_mut(ino);
    }

    /// Returns the layer of a commit that is under way.
    pub(super) fn layer(
        &self,
        commit: lfsfs_types::VersionId,
    ) -> Result<Arc<super::SealedLayer>, ApplyError> {
        let layer = self.sealed.as_ref().filter(|layer| layer.commit == commit);
        layer.cloned().ok_or(ApplyError::NotSealed { commit })
    }
}
