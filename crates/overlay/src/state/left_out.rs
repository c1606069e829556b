//! Changes that no commit takes: new objects under some names, which stay when the rest is committed or another
//! version becomes the base.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lfsfs_types::VersionId;

use crate::base::Base;
use crate::entries::Entries;
use crate::error::ApplyError;
use crate::inode::{BaseObject, Inode, Node, Slot};
use crate::operation::EntryName;
use crate::state::{SealedLayer, State};

impl State {
    /// Returns this state without the new objects under some names, and without all below them.
    ///
    /// # Errors
    ///
    /// If a name stands for nothing new, or if anything below it is of the base.
    pub fn without(&self, names: &[EntryName]) -> Result<Self, ApplyError> {
        let mut state = self.clone();
        names.iter().try_for_each(|place| state.take_out(place))?;
        Ok(state)
    }

    fn take_out(&mut self, place: &EntryName) -> Result<(), ApplyError> {
        let ino = self.new_object(place)?;
        if let Some(Node::Directory(data)) = self.node_mut(place.directory) {
            data.entries.remove_mut(&place.name);
        }
        let mut gone = vec![ino];
        while let Some(ino) = gone.pop() {
            let inode = self.known(ino)?;
            if inode.base.is_some() {
                return Err(ApplyError::InodeInUse { ino });
            }
            match inode.directory() {
                Some(directory) => {
                    let below = directory.entries.values();
                    gone.extend(below.filter_map(|slot| match slot {
                        Slot::Inode { ino, .. } => Some(*ino),
                        Slot::Removed => None,
                    }));
                    self.remove(ino);
                }
                None if inode.attributes.nlink > 1 => {
                    if let Some(inode) = self.inodes.get_mut(&ino) {
                        inode.attributes.nlink -= 1;
                    }
                }
                None => drop(self.remove(ino)),
            }
        }
        Ok(())
    }

    /// Returns the new object under a name that the base's directory has not.
    fn new_object(&self, place: &EntryName) -> Result<u64, ApplyError> {
        let directory = self.live_directory(place.directory)?;
        match directory.entries.get(&place.name) {
            Some(Slot::Inode {
                ino,
                covers_base: false,
            }) => Ok(*ino),
            _ => Err(ApplyError::EntryUnchanged {
                directory: place.directory,
                name: place.name.clone(),
            }),
        }
    }

    fn node_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.inodes.get_mut(&ino).map(|inode| &mut inode.node)
    }

    /// Makes a seal a draft: nothing was told of it to the server, and names may still be left out.
    pub(super) fn draft(&mut self, commit: VersionId) -> Result<(), ApplyError> {
        self.seal(commit)?;
        self.set_layer(commit, |layer| layer.is_draft = true)
    }

    /// Takes names out of a draft. For the state that goes on they are changes that came after the seal.
    pub(super) fn leave_out(
        &mut self,
        commit: VersionId,
        names: &[EntryName],
    ) -> Result<(), ApplyError> {
        let layer = self.draft_layer(commit)?;
        let state = layer.state.without(names)?;
        self.set_layer(commit, |layer| layer.state = state)?;
        for place in names {
            // One that was removed since has lost these names before.
            self.touch(place.directory, |_| {});
        }
        Ok(())
    }

    /// Makes a draft the seal of a commit.
    pub(super) fn begin(&mut self, commit: VersionId) -> Result<(), ApplyError> {
        self.draft_layer(commit)?;
        self.set_layer(commit, |layer| layer.is_draft = false)
    }

    fn draft_layer(&self, commit: VersionId) -> Result<Arc<SealedLayer>, ApplyError> {
        let layer = self.layer(commit)?;
        if layer.is_draft {
            Ok(layer)
        } else {
            Err(ApplyError::SealOutstanding { commit })
        }
    }

    fn set_layer(
        &mut self,
        commit: VersionId,
        change: impl FnOnce(&mut SealedLayer),
    ) -> Result<(), ApplyError> {
        let layer = self.layer(commit)?;
        let mut changed = SealedLayer {
            commit,
            state: layer.state.clone(),
            is_draft: layer.is_draft,
        };
        change(&mut changed);
        self.sealed = Some(Arc::new(changed));
        Ok(())
    }

    /// Makes another version the base of an overlay that has no changes but new objects under some names.
    /// `directories` says what those become that the names are in.
    pub(super) fn switch_keeping(
        &mut self,
        base: Base,
        names: &[EntryName],
        directories: &[(u64, Arc<BaseObject>)],
    ) -> Result<(), ApplyError> {
        self.check_unsealed()?;
        if !self.without(names)?.is_unchanged() {
            return Err(ApplyError::Changed);
        }
        let mut kept: BTreeMap<u64, Entries> = BTreeMap::new();
        for place in names {
            let ino = self.new_object(place)?;
            let slot = Slot::Inode {
                ino,
                covers_base: false,
            };
            let entries = kept.entry(place.directory).or_default();
            entries.insert_mut(place.name.clone(), slot);
        }
        let mut objects: HashMap<u64, &Arc<BaseObject>> = directories
            .iter()
            .map(|(ino, object)| (*ino, object))
            .collect();
        let known = self.clean.iter().chain(self.dirty.iter());
        let of_base = known.filter(|ino| self.inode(*ino).is_some_and(|it| it.base.is_some()));
        for ino in of_base.collect::<Vec<_>>() {
            self.remove(ino);
        }
        for (ino, entries) in kept {
            let object = objects.remove(&ino);
            let object = object.ok_or(ApplyError::NotMapped { ino })?;
            let mut inode = Inode::of_base(Arc::clone(object), self.generation);
            let Node::Directory(data) = &mut inode.node else {
                return Err(ApplyError::NotDirectory { ino });
            };
            data.entries = entries;
            self.insert(ino, inode);
            self.dirty.insert_mut(ino);
        }
        self.base = base;
        Ok(())
    }
}
