//! The table of inodes that the kernel knows: what each number stands for, until it is forgotten.
//!
//! An inode is a place in a listing, not a record: 1,000,000 of them take a few dozen megabytes.
//! Numbers come from `lfsfs_types::nodeid`, so they are the same after every remount. Two objects
//! whose numbers collide get neighbouring ones; which of them moved is remembered until it is
//! forgotten.
//!
//! Places belong to one version. When a mount goes to another, the table goes with it
//! (`replace.rs`) and begins a new epoch; a request that asks with the old one is told to begin anew. What
//! the new version does not have any more is *detached*: it keeps its number and its record as long
//! as the kernel knows it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_overlay::BaseObject;
use lfsfs_types::nodeid;
use lfsfs_types::{ContentId, DirId, LinkId};

mod replace;

pub(crate) use self::replace::{Change, Former, Remap};

/// Where the record of an object is: an entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The directory; [`DirId::ABOVE_ROOT`] for the root itself.
    pub(crate) dir: DirId,
    /// The position in its listing.
    pub(crate) index: u32,
}

/// What makes two entries the same inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A directory is itself wherever it is.
    Directory(DirId),
    /// All names of a hard-linked file are one inode.
    Link(LinkId, ContentId),
    /// Anything else is its place.
    Entry(Place),
}

/// A directory among the inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) dir: DirId,
    /// The inode of the directory that it is in; its own for the root.
    pub(crate) parent: u64,
    /// The length of its name there; 0 for the root.
    pub(crate) name_len: u8,
}

/// An entry that is about to be shown to the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// The number that it has unless another object has it.
    pub(crate) nodeid: u64,
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    /// The inode of the directory that it is in.
    pub(crate) parent: u64,
    /// The length of its name, which has 255 bytes at most.
    pub(crate) name_len: u8,
}

/// What a number stands for.
#[derive(Debug, Clone)]
pub(crate) enum InodeState {
    /// An entry of this version.
    Listed(Place),
    /// Something that this version does not have.
    Detached(Arc<Detached>),
}

/// What a number stands for when a directory is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectoryLookup {
    Directory(Directory),
    /// A directory that this version does not have; nothing is in it.
    Removed,
    NotDirectory,
    Unknown,
}

/// An object that the kernel knows and the version does not have.
#[derive(Debug)]
pub(crate) struct Detached {
    /// Its number by `lfsfs_types::nodeid`, by which it is recognised if it comes back.
    pub(crate) nodeid: u64,
    /// What it was.
    pub(crate) object: BaseObject,
}

impl Detached {
    /// Returns true if an entry is the same object, which is there again. A directory that was gone
    /// is never: the kernel may keep that names are not in it.
    fn may_return_as(&self, candidate: &Candidate) -> bool {
        self.nodeid == candidate.nodeid && self.object.record.dir().is_none()
    }
}

/// The base was replaced since: begin anew with the one that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseReplaced;

/// All inodes with at least one lookup, and the root.
#[derive(Debug)]
pub(crate) struct InodeTable {
    state: Mutex<TableState>,
}

/// The table as one version uses it.
#[derive(Debug, Clone)]
pub(crate) struct Inodes {
    table: Arc<InodeTable>,
    epoch: u64,
}

#[derive(Debug, Default)]
struct TableState {
    /// Counts versions; [`replace::CLOSED`] while one takes the place of another.
    epoch: u64,
    slots: HashMap<u64, Slot>,
    directories: HashMap<u64, Directory>,
    links: HashMap<u64, (LinkId, ContentId)>,
    /// Objects that do not have their own number: because another one had it first, or because they
    /// had theirs before they were committed.
    displaced: HashMap<Identity, u64>,
    detached: HashMap<u64, Arc<Detached>>,
    /// The numbers that objects had before they were committed, by [`Candidate::nodeid`]. What is old
    /// here costs nothing: a number that stands for something else is not taken. Shared with who
    /// writes it to disk.
    former: Arc<HashMap<u64, u64>>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    /// How often the kernel was told; at its maximum it stays there and the inode is never freed.
    lookups: u32,
}

impl Inodes {
    /// Returns a table with nothing but the root.
    pub(crate) fn new() -> Self {
        let root = Candidate {
            nodeid: nodeid::ROOT,
            identity: Identity::Directory(DirId::ROOT),
            place: Place {
                dir: DirId::ABOVE_ROOT,
                index: 0,
            },
            parent: nodeid::ROOT,
            name_len: 0,
        };
        let mut state = TableState::default();
        state.look_up(&root, &|_| false);
        let state = Mutex::new(state);
        Self {
            table: Arc::new(InodeTable { state }),
            epoch: 0,
        }
    }

    /// Returns the table itself.
    pub(crate) fn table(&self) -> &Arc<InodeTable> {
        &self.table
    }

    /// Returns the same table for the version that comes next.
    pub(crate) fn next(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            epoch: self.epoch + 1,
        }
    }

    /// Counts one lookup of an entry and returns its inode; no number that is taken elsewhere is
    /// chosen.
    pub(crate) fn look_up(
        &self,
        candidate: &Candidate,
        taken: &dyn Fn(u64) -> bool,
    ) -> Result<u64, BaseReplaced> {
        Ok(self.current()?.look_up(candidate, taken))
    }

    /// Returns the inode that an entry has, or would have, without counting.
    pub(crate) fn peek(
        &self,
        candidate: &Candidate,
        taken: &dyn Fn(u64) -> bool,
    ) -> Result<u64, BaseReplaced> {
        Ok(self.current()?.choose(candidate, taken))
    }

    pub(crate) fn state_of(&self, ino: u64) -> Result<Option<InodeState>, BaseReplaced> {
        Ok(self.current()?.state_of(ino))
    }

    pub(crate) fn directory(&self, ino: u64) -> Result<DirectoryLookup, BaseReplaced> {
        Ok(self.current()?.directory(ino))
    }

    fn current(&self) -> Result<MutexGuard<'_, TableState>, BaseReplaced> {
        let state = self.table.lock();
        if state.epoch == self.epoch {
            Ok(state)
        } else {
            Err(BaseReplaced)
        }
    }
}

impl Deref for Inodes {
    type Target = InodeTable;

    fn deref(&self) -> &InodeTable {
        &self.table
    }
}

/// What is the same whatever version the table is of.
impl InodeTable {
    /// Takes back lookups; an inode without any is freed. The root stays.
    pub(crate) fn forget(&self, ino: u64, lookups: u64) {
        if ino != nodeid::ROOT {
            self.lock().forget(ino, lookups);
        }
    }

    /// Returns true if the kernel knows the number.
    pub(crate) fn knows(&self, ino: u64) -> bool {
        self.lock().slots.contains_key(&ino)
    }

    /// Takes the numbers that objects had in earlier mounts, before the first inode is known.
    pub(crate) fn take_former(&self, numbers: HashMap<u64, u64>) {
        self.lock().former = Arc::new(numbers);
    }

    /// Returns the numbers that objects had before they were committed, by those that follow from
    /// what they are.
    pub(crate) fn former(&self) -> Arc<HashMap<u64, u64>> {
        Arc::clone(&self.lock().former)
    }

    /// Returns the directory that a directory is in, and the length of its name there.
    pub(crate) fn above(&self, directory: u64) -> Option<(u64, u8)> {
        let state = self.lock();
        let found = state.directories.get(&directory)?;
        Some((found.parent, found.name_len))
    }

    /// Returns the number of inodes and how many of them are directories.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.slots.len(), state.directories.len())
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl TableState {
    fn look_up(&mut self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        let ino = self.choose(candidate, taken);
        if let Some(slot) = self.slots.get_mut(&ino) {
            slot.lookups = slot.lookups.saturating_add(1);
            if self.detached.is_empty() || self.detached.remove(&ino).is_none() {
                return ino;
            }
        }
        self.put(ino, candidate, 1);
        ino
    }

    /// Makes a number stand for an entry, with more lookups if it had none.
    fn put(&mut self, ino: u64, candidate: &Candidate, lookups: u32) {
        let (place, parent) = (candidate.place, candidate.parent);
        let name_len = candidate.name_len;
        let slot = self.slots.entry(ino).or_insert(Slot { place, lookups });
        slot.place = place;
        if ino != candidate.nodeid {
            self.displaced.insert(candidate.identity, ino);
        }
        match candidate.identity {
            Identity::Directory(dir) => {
                let directory = Directory {
                    dir,
                    parent,
                    name_len,
                };
                self.directories.insert(ino, directory);
            }
            Identity::Link(link, content) => {
                self.links.insert(ino, (link, content));
            }
            Identity::Entry(_) => {}
        }
    }

    /// Returns the inode that the entry has, or the next free one.
    fn choose(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        if let Some(ino) = self.displaced.get(&candidate.identity)
            && !taken(*ino)
        {
            return *ino;
        }
        let is_taken = |ino| taken(ino) || self.is_another(ino, candidate);
        let is_known = self.slots.contains_key(&candidate.nodeid);
        if is_known && !is_taken(candidate.nodeid) {
            return candidate.nodeid;
        }
        let former = self.former.get(&candidate.nodeid).copied();
        // Beside a former number there are others' former numbers, so they are not probed.
        if let Some(ino) = former.filter(|ino| !is_taken(*ino)) {
            return ino;
        }
        let mut ino = candidate.nodeid;
        while is_taken(ino) {
            ino = nodeid::next_on_collision(ino);
        }
        ino
    }

    /// Returns true if the number stands for something else than the entry.
    fn is_another(&self, ino: u64, candidate: &Candidate) -> bool {
        match self.detached.get(&ino) {
            Some(detached) => !detached.may_return_as(candidate),
            None => {
                let identity = self.identity(ino);
                identity.is_some_and(|it| it != candidate.identity)
            }
        }
    }

    fn identity(&self, ino: u64) -> Option<Identity> {
        let slot = self.slots.get(&ino)?;
        let directory = || Some(Identity::Directory(self.directories.get(&ino)?.dir));
        let link = || self.links.get(&ino).map(|it| Identity::Link(it.0, it.1));
        directory()
            .or_else(link)
            .or(Some(Identity::Entry(slot.place)))
    }

    fn state_of(&self, ino: u64) -> Option<InodeState> {
        let slot = self.slots.get(&ino)?;
        Some(match self.detached.get(&ino) {
            Some(detached) => InodeState::Detached(Arc::clone(detached)),
            None => InodeState::Listed(slot.place),
        })
    }

    fn directory(&self, ino: u64) -> DirectoryLookup {
        if let Some(directory) = self.directories.get(&ino) {
            return DirectoryLookup::Directory(*directory);
        }
        match self.state_of(ino) {
            Some(InodeState::Detached(it)) if it.object.record.dir().is_some() => {
                DirectoryLookup::Removed
            }
            Some(_) => DirectoryLookup::NotDirectory,
            None => DirectoryLookup::Unknown,
        }
    }

    fn forget(&mut self, ino: u64, lookups: u64) {
        let Some(slot) = self.slots.get_mut(&ino) else {
            return;
        };
        if slot.lookups == u32::MAX {
            return;
        }
        let lookups = u32::try_from(lookups).unwrap_or(u32::MAX);
        slot.lookups = slot.lookups.saturating_sub(lookups);
        if slot.lookups > 0 {
            return;
        }
        self.take_out(ino);
        self.detached.remove(&ino);
        self.slots.remove(&ino);
    }

    /// Makes a number stand for nothing that other entries could be.
    fn take_out(&mut self, ino: u64) {
        if let Some(identity) = self.identity(ino).filter(|_| !self.displaced.is_empty())
            && self.displaced.get(&identity) == Some(&ino)
        {
            self.displaced.remove(&identity);
        }
        self.directories.remove(&ino);
        self.links.remove(&ino);
    }
}

#[cfg(test)]
mod tests;
