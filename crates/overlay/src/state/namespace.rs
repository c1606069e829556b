//! Names: making, linking, removing and moving them.
//!
//! A directory's slot says whether the base's directory has the name too. That follows from the
//! history alone: a name that exists without a slot is the base's, a name that is made where there
//! is no slot is not.

use lfsfs_types::{DirId, Name, Timestamp};

use crate::entries::Entries;
use crate::error::ApplyError;
use crate::extent::FileData;
use crate::inode::{Attributes, BaseKey, DirectoryData, Inode, Node, Slot};
use crate::operation::{Creation, EntryName, NewNode};
use crate::state::State;

impl State {
    pub(super) fn create(
        &mut self,
        place: &EntryName,
        ino: u64,
        node: &NewNode,
        creation: Creation,
    ) -> Result<(), ApplyError> {
        self.check_create(place, ino)?;
        let attributes = Attributes {
            mode: creation.mode,
            uid: creation.uid,
            gid: creation.gid,
            atime: None,
            mtime: creation.time,
            ctime: creation.time,
            nlink: 1,
            xattrs: crate::Map::default(),
        };
        let inode = Inode {
            attributes,
            node: new_node(node),
            base: None,
            base_names: 0,
            in_place: false,
            generation: self.generation,
        };
        self.insert(ino, inode);
        self.dirty.insert_mut(ino);
        self.add_name(place, ino, creation.time);
        Ok(())
    }

    pub(super) fn check_create(&self, place: &EntryName, ino: u64) -> Result<(), ApplyError> {
        self.check_free(ino)?;
        self.check_vacant(place)
    }

    pub(super) fn link(
        &mut self,
        ino: u64,
        place: &EntryName,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        let inode = self.known(ino)?;
        if inode.directory().is_some() {
            return Err(ApplyError::IsDirectory { ino });
        }
        if inode.is_orphan() || inode.attributes.nlink == u32::MAX {
            return Err(ApplyError::InodeInUse { ino });
        }
        self.check_vacant(place)?;
        self.touch(ino, |inode| {
            inode.attributes.nlink += 1;
            inode.attributes.ctime = time;
        });
        self.add_name(place, ino, time);
        Ok(())
    }

    pub(super) fn unlink(
        &mut self,
        place: &EntryName,
        ino: u64,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.check_unlink(place, ino)?;
        self.remove_name(place, ino, time);
        self.lose_link(ino, time);
        Ok(())
    }

    pub(super) fn check_unlink(&self, place: &EntryName, ino: u64) -> Result<(), ApplyError> {
        self.check_named(place, ino)?;
        if self.known(ino)?.directory().is_some() {
            return Err(ApplyError::IsDirectory { ino });
        }
        Ok(())
    }

    pub(super) fn rmdir(
        &mut self,
        place: &EntryName,
        ino: u64,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.check_rmdir(place, ino)?;
        self.remove_name(place, ino, time);
        self.lose_link(ino, time);
        Ok(())
    }

    pub(super) fn check_rmdir(&self, place: &EntryName, ino: u64) -> Result<(), ApplyError> {
        self.check_named(place, ino)?;
        self.check_empty(ino)
    }

    pub(super) fn rename(
        &mut self,
        from: &EntryName,
        to: &EntryName,
        ino: u64,
        replaced: Option<u64>,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.check_rename(from, to, ino, replaced)?;
        if let Some(replaced) = replaced {
            self.remove_name(to, replaced, time);
            self.lose_link(replaced, time);
        }
        self.remove_name(from, ino, time);
        self.add_name(to, ino, time);
        self.touch(ino, |inode| inode.attributes.ctime = time);
        Ok(())
    }

    pub(super) fn check_rename(
        &self,
        from: &EntryName,
        to: &EntryName,
        ino: u64,
        replaced: Option<u64>,
    ) -> Result<(), ApplyError> {
        self.check_named(from, ino)?;
        let Some(replaced) = replaced else {
            return self.check_vacant(to);
        };
        self.check_named(to, replaced)?;
        if replaced == ino {
            return Err(ApplyError::InodeInUse { ino });
        }
        match self.known(replaced)?.directory() {
            Some(_) => self.check_empty(replaced),
            None => Ok(()),
        }
    }

    pub(super) fn exchange(
        &mut self,
        first: &EntryName,
        first_ino: u64,
        second: &EntryName,
        second_ino: u64,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.check_named(first, first_ino)?;
        self.check_named(second, second_ino)?;
        if first == second || first_ino == second_ino {
            return Err(ApplyError::InodeInUse { ino: first_ino });
        }
        self.remove_name(first, first_ino, time);
        self.remove_name(second, second_ino, time);
        self.add_name(first, second_ino, time);
        self.add_name(second, first_ino, time);
        for ino in [first_ino, second_ino] {
            self.touch(ino, |inode| inode.attributes.ctime = time);
        }
        Ok(())
    }

    /// Fails unless the name stands for the inode, by a slot or through the base.
    pub(super) fn check_named(&self, place: &EntryName, ino: u64) -> Result<(), ApplyError> {
        let directory = self.live_directory(place.directory)?;
        let inode = self.known(ino)?;
        let named = match directory.entries.get(&place.name) {
            Some(Slot::Inode { ino: found, .. }) => *found == ino,
            Some(Slot::Removed) => false,
            None => directory
                .base
                .is_some_and(|base| shows_through(inode, base, &place.name)),
        };
        named.then_some(()).ok_or_else(|| ApplyError::NoEntry {
            directory: place.directory,
            name: place.name.clone(),
            ino,
        })
    }

    /// Fails if the name is known to be taken. Names that only the base knows are the caller's.
    fn check_vacant(&self, place: &EntryName) -> Result<(), ApplyError> {
        let directory = self.live_directory(place.directory)?;
        let is_held = |base: DirId| {
            let key = BaseKey::Entry(base, place.name.clone());
            self.by_base.contains_key(&key)
        };
        let taken = match directory.entries.get(&place.name) {
            Some(Slot::Inode { .. }) => true,
            Some(Slot::Removed) => false,
            None => directory.base.is_some_and(is_held),
        };
        if taken {
            return Err(ApplyError::EntryExists {
                directory: place.directory,
                name: place.name.clone(),
            });
        }
        Ok(())
    }

    /// Fails unless the directory has no entry that the overlay knows.
    pub(super) fn check_empty(&self, ino: u64) -> Result<(), ApplyError> {
        let directory = self.live_directory(ino)?;
        let mut slots = directory.entries.values();
        if slots.any(|slot| matches!(slot, Slot::Inode { .. })) {
            return Err(ApplyError::NotEmpty { ino });
        }
        Ok(())
    }

    fn add_name(&mut self, place: &EntryName, ino: u64, time: Timestamp) {
        self.change_entries(place.directory, time, |entries| {
            let covers_base = entries.get(&place.name).is_some_and(|slot| {
                matches!(
                    slot,
                    Slot::Removed
                        | Slot::Inode {
                            covers_base: true,
                            ..
                        }
                )
            });
            entries.insert_mut(place.name.clone(), Slot::Inode { ino, covers_base });
        });
    }

    /// Takes a name away that was checked.
    fn remove_name(&mut self, place: &EntryName, ino: u64, time: Timestamp) {
        let mut was_base = false;
        self.change_entries(place.directory, time, |entries| {
            match entries.get(&place.name) {
                Some(Slot::Inode {
                    covers_base: false, ..
                }) => {
                    entries.remove_mut(&place.name);
                }
                found => {
                    was_base = found.is_none();
                    entries.insert_mut(place.name.clone(), Slot::Removed);
                }
            }
        });
        if was_base {
            self.leave_base(place, ino);
        }
    }

    /// Counts a base's name of the inode as gone.
    fn leave_base(&mut self, place: &EntryName, ino: u64) {
        let base_dir = self
            .inode(place.directory)
            .and_then(Inode::directory)
            .and_then(|it| it.base);
        let Some(inode) = self.inode(ino) else { return };
        let leaves_place = inode.base.as_ref().is_some_and(|base| {
            Some(base.directory) == base_dir && base.name.as_ref() == Some(&place.name)
        });
        let key = inode.base_key();
        self.touch(ino, |inode| {
            inode.base_names = inode.base_names.saturating_sub(1);
            inode.in_place &= !leaves_place;
        });
        // A directory and a hard-linked file stay what they are; anything else is its place.
        if leaves_place && let Some(key @ BaseKey::Entry(..)) = key {
            self.by_base.remove_mut(&key);
        }
    }

    /// Takes one name off the count; without any the inode is no change any more.
    pub(super) fn lose_link(&mut self, ino: u64, time: Timestamp) {
        let key = self.inode(ino).and_then(Inode::base_key);
        self.touch(ino, |inode| {
            inode.attributes.nlink = inode.attributes.nlink.saturating_sub(1);
            inode.attributes.ctime = time;
        });
        if !self.inode(ino).is_some_and(Inode::is_orphan) {
            return;
        }
        self.dirty.remove_mut(&ino);
        self.clean.remove_mut(&ino);
        self.orphans.insert_mut(ino);
        if let Some(key) = key {
            self.by_base.remove_mut(&key);
        }
    }

    pub(super) fn change_entries(
        &mut self,
        directory: u64,
        time: Timestamp,
        change: impl FnOnce(&mut Entries),
    ) {
        self.touch(directory, |inode| {
            if let Node::Directory(data) = &mut inode.node {
                change(&mut data.entries);
            }
            inode.attributes.mtime = time;
            inode.attributes.ctime = time;
        });
    }
}

/// Returns true if the inode can be what a directory of the base has under a name.
fn shows_through(inode: &Inode, directory: DirId, name: &Name) -> bool {
    let Some(base) = &inode.base else {
        return false;
    };
    // The base may have a hard-linked file under names that only the caller has seen.
    let linked = base.record.link.is_some();
    let own_place = base.directory == directory && base.name.as_ref() == Some(name);
    inode.base_names > 0 && (linked || own_place && inode.in_place)
}

pub(crate) fn new_node(node: &NewNode) -> Node {
    match node {
        NewNode::File => Node::File(FileData::default()),
        NewNode::Directory => Node::Directory(DirectoryData::default()),
        NewNode::Symlink(target) => Node::Symlink(target.as_ref().into()),
        NewNode::Fifo => Node::Fifo,
        NewNode::Socket => Node::Socket,
        NewNode::BlockDevice(rdev) => Node::BlockDevice(*rdev),
        NewNode::CharDevice(rdev) => Node::CharDevice(*rdev),
    }
}
