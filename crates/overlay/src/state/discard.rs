//! Dropping changes, and changing the base below an overlay without any.

use std::sync::Arc;

use crate::Map;
use crate::error::ApplyError;
use crate::inode::{Base, Inode, Node, Slot};
use crate::operation::Place;
use crate::state::State;

impl State {
    /// Drops all changes. New objects lose their names and live until they are forgotten.
    pub(super) fn discard_all(&mut self) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        for ino in self.inodes_with_names() {
            let Some(inode) = self.remove(ino) else {
                continue;
            };
            match inode.base.as_ref().map(|base| base.key()) {
                Some(key) => self.numbers.insert_mut(key, ino),
                None => self.insert_orphan(ino, inode),
            }
        }
        Ok(())
    }

    /// Drops a slot, so that the base shows through; `revealed` is what it shows, if that has an
    /// inode.
    pub(super) fn discard_entry(
        &mut self,
        place: &Place,
        revealed: Option<u64>,
    ) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        let slot = self
            .live_directory(place.directory)?
            .entries
            .get(&place.name)
            .copied();
        let unchanged = || ApplyError::EntryUnchanged {
            directory: place.directory,
            name: place.name.clone(),
        };
        let slot = slot.ok_or_else(unchanged)?;
        if let Some(revealed) = revealed {
            let inode = self.known(revealed)?;
            // Only a hard-linked file can be elsewhere too.
            let linked = inode
                .base
                .as_ref()
                .is_some_and(|base| base.record.link.is_some());
            if !linked || inode.is_orphan() || inode.directory().is_some() {
                return Err(ApplyError::InodeInUse { ino: revealed });
            }
        }
        if let Slot::Inode { ino, .. } = slot
            && self.known(ino)?.directory().is_some()
        {
            self.check_empty(ino)?;
        }
        self.drop_slot(place, slot);
        if let Some(revealed) = revealed {
            self.reveal(place, revealed);
        }
        Ok(())
    }

    fn drop_slot(&mut self, place: &Place, slot: Slot) {
        let time = self
            .inode(place.directory)
            .map(|it| it.attributes.mtime)
            .unwrap_or_default();
        self.change_entries(place.directory, time, |entries| {
            entries.remove_mut(&place.name);
        });
        if let Slot::Inode { ino, .. } = slot {
            let ctime = self
                .inode(ino)
                .map(|it| it.attributes.ctime)
                .unwrap_or_default();
            self.lose_link(ino, ctime);
        }
    }

    /// Counts a name of the base as the inode's again.
    fn reveal(&mut self, place: &Place, ino: u64) {
        let base_dir = self
            .inode(place.directory)
            .and_then(Inode::directory)
            .and_then(|it| it.base);
        self.touch(ino, |inode| {
            inode.base_names = inode.base_names.saturating_add(1);
            inode.attributes.nlink = inode.attributes.nlink.saturating_add(1);
            inode.in_place |= inode.base.as_ref().is_some_and(|base| {
                Some(base.directory) == base_dir && base.name.as_ref() == Some(&place.name)
            });
        });
    }

    /// Makes an object that is in its place in the base what it is there.
    pub(super) fn discard_inode(&mut self, ino: u64) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        let in_use = ApplyError::InodeInUse { ino };
        let inode = self.known(ino)?;
        let base = inode.base.clone().ok_or(in_use.clone())?;
        let all_names = inode.base_names
            == Inode::of_base(base.clone(), 0)
                .ok_or(ApplyError::Pack)?
                .base_names;
        let same_names = all_names && inode.base_names == inode.attributes.nlink;
        let slots = inode.directory().is_some_and(|it| !it.entries.is_empty());
        if !same_names || slots || !inode.in_place {
            return Err(in_use);
        }
        self.remove(ino);
        let inode = Inode::of_base(base, self.generation).ok_or(ApplyError::Pack)?;
        self.insert(ino, inode);
        self.clean.insert_mut(ino);
        Ok(())
    }

    /// Makes another version the base; adopted objects are looked up anew.
    pub(super) fn switch(&mut self, base: Base) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        if !self.is_unchanged() {
            return Err(ApplyError::Changed);
        }
        let clean: Vec<_> = self.clean.iter().copied().collect();
        for ino in clean {
            self.remove(ino);
        }
        self.numbers = Map::default();
        self.base = base;
        Ok(())
    }

    fn check_unsealed(&self) -> Result<(), ApplyError> {
        match self.sealed_commit() {
            Some(commit) => Err(ApplyError::SealOutstanding { commit }),
            None => Ok(()),
        }
    }

    fn inodes_with_names(&self) -> Vec<u64> {
        self.dirty
            .iter()
            .chain(self.clean.iter())
            .copied()
            .collect()
    }

    fn insert_orphan(&mut self, ino: u64, mut inode: Inode) {
        inode.attributes.nlink = 0;
        inode.generation = self.generation;
        if let Node::Directory(data) = &mut inode.node {
            data.entries = Map::default();
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
