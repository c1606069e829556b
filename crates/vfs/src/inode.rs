//! The table of inodes that the kernel knows: what each number stands for, until it is forgotten.
//!
//! An inode is a place in a listing, not a record: 1,000,000 of them take a few dozen megabytes.
//! Numbers come from `lfsfs_types::nodeid`, so they are the same after every remount. Two objects
//! whose numbers collide get neighbouring ones; which of them moved is remembered until it is
//! forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use lfsfs_types::nodeid;
use lfsfs_types::{ContentId, DirId, LinkId};

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
}

/// All inodes with at least one lookup, and the root.
#[derive(Debug)]
pub(crate) struct InodeTable {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<u64, Slot>,
    directories: HashMap<u64, Directory>,
    links: HashMap<u64, (LinkId, ContentId)>,
    /// Objects that do not have their own number because another one had it first.
    displaced: HashMap<Identity, u64>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    /// How often the kernel was told; at its maximum it stays there and the inode is never freed.
    lookups: u32,
}

impl InodeTable {
    pub(crate) fn new() -> Self {
        let root = Candidate {
            nodeid: nodeid::ROOT,
            identity: Identity::Directory(DirId::ROOT),
            place: Place {
                dir: DirId::ABOVE_ROOT,
                index: 0,
            },
            parent: nodeid::ROOT,
        };
        let table = Self {
            state: Mutex::default(),
        };
        table.look_up(&root);
        table
    }

    /// Counts one lookup of an entry and returns its inode.
    pub(crate) fn look_up(&self, candidate: &Candidate) -> u64 {
        self.look_up_beside(candidate, &|_| false)
    }

    /// Like [`look_up`](Self::look_up), but no number that is taken elsewhere is chosen.
    pub(crate) fn look_up_beside(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        self.lock().look_up(candidate, taken)
    }

    /// Returns the inode that an entry has, or would have, without counting.
    pub(crate) fn peek(&self, candidate: &Candidate) -> u64 {
        self.peek_beside(candidate, &|_| false)
    }

    /// Like [`peek`](Self::peek), but no number that is taken elsewhere is chosen.
    pub(crate) fn peek_beside(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        self.lock().choose(candidate, taken)
    }

    pub(crate) fn place(&self, ino: u64) -> Option<Place> {
        self.lock().slots.get(&ino).map(|slot| slot.place)
    }

    pub(crate) fn directory(&self, ino: u64) -> Option<Directory> {
        self.lock().directories.get(&ino).copied()
    }

    /// Takes back lookups; an inode without any is freed. The root stays.
    pub(crate) fn forget(&self, ino: u64, lookups: u64) {
        if ino != nodeid::ROOT {
            self.lock().forget(ino, lookups);
        }
    }

    /// Returns the number of inodes and how many of them are directories.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.slots.len(), state.directories.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn look_up(&mut self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        let ino = self.choose(candidate, taken);
        if let Some(slot) = self.slots.get_mut(&ino) {
            slot.lookups = slot.lookups.saturating_add(1);
            return ino;
        }
        let slot = Slot {
            place: candidate.place,
            lookups: 1,
        };
        self.slots.insert(ino, slot);
        if ino != candidate.nodeid {
            self.displaced.insert(candidate.identity, ino);
        }
        match candidate.identity {
            Identity::Directory(dir) => {
                let parent = candidate.parent;
                self.directories.insert(ino, Directory { dir, parent });
            }
            Identity::Link(link, content) => {
                self.links.insert(ino, (link, content));
            }
            Identity::Entry(_) => {}
        }
        ino
    }

    /// Returns the inode that the entry has, or the next free one.
    fn choose(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        if let Some(ino) = self.displaced.get(&candidate.identity) {
            return *ino;
        }
        let mut ino = candidate.nodeid;
        while taken(ino)
            || self
                .identity(ino)
                .is_some_and(|it| it != candidate.identity)
        {
            ino = nodeid::next_on_collision(ino);
        }
        ino
    }

    fn identity(&self, ino: u64) -> Option<Identity> {
        let slot = self.slots.get(&ino)?;
        let directory = || Some(Identity::Directory(self.directories.get(&ino)?.dir));
        let link = || self.links.get(&ino).map(|it| Identity::Link(it.0, it.1));
        directory()
            .or_else(link)
            .or(Some(Identity::Entry(slot.place)))
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
        if let Some(identity) = self.identity(ino).filter(|_| !self.displaced.is_empty())
            && self.displaced.get(&identity) == Some(&ino)
        {
            self.displaced.remove(&identity);
        }
        self.slots.remove(&ino);
        self.directories.remove(&ino);
        self.links.remove(&ino);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(nodeid: u64, index: u32) -> Candidate {
        let place = Place {
            dir: DirId(7),
            index,
        };
        Candidate {
            nodeid,
            identity: Identity::Entry(place),
            place,
            parent: nodeid::ROOT,
        }
    }

    #[test]
    fn an_inode_lives_until_all_its_lookups_are_forgotten() {
        let table = InodeTable::new();
        assert_eq!(table.look_up(&entry(50, 1)), 50);
        assert_eq!(table.look_up(&entry(50, 1)), 50);
        table.forget(50, 1);
        assert!(table.place(50).is_some());
        table.forget(50, 1);
        assert!(table.place(50).is_none());
        assert_eq!(table.count(), (1, 1));
    }

    #[test]
    fn the_root_is_never_freed() {
        let table = InodeTable::new();
        table.forget(nodeid::ROOT, u64::MAX);
        let root = table.directory(nodeid::ROOT).unwrap();
        assert_eq!((root.dir, root.parent), (DirId::ROOT, nodeid::ROOT));
    }

    #[test]
    fn forgetting_what_is_not_known_or_too_often_is_harmless() {
        let table = InodeTable::new();
        table.forget(99, 3);
        table.look_up(&entry(50, 1));
        table.forget(50, u64::MAX);
        assert_eq!(table.count().0, 1);
    }

    #[test]
    fn colliding_objects_get_numbers_of_their_own_and_keep_them() {
        let table = InodeTable::new();
        let (first, second) = (entry(50, 1), entry(50, 2));
        assert_eq!(table.look_up(&first), 50);
        assert_eq!((table.peek(&second), table.look_up(&second)), (51, 51));
        table.forget(50, 1);
        // The second must not move to the number that is free now, while the kernel knows it.
        assert_eq!(table.look_up(&second), 51);
        assert_eq!(table.place(51).unwrap().index, 2);
        assert_eq!(table.look_up(&first), 50);
        table.forget(51, 2);
        assert_eq!(table.peek(&second), 51);
        table.forget(50, 1);
        assert_eq!(table.peek(&second), 50);
    }

    #[test]
    fn a_number_that_is_taken_elsewhere_is_left_alone() {
        let table = InodeTable::new();
        let candidate = entry(50, 1);
        let taken = |ino| ino == 50 || ino == 51;
        assert_eq!(table.peek_beside(&candidate, &taken), 52);
        assert_eq!(table.look_up_beside(&candidate, &taken), 52);
        // It keeps the number when the others are free again.
        assert_eq!(table.look_up(&candidate), 52);
    }

    #[test]
    fn names_of_one_link_share_an_inode_whatever_their_places() {
        let table = InodeTable::new();
        let link = Identity::Link(LinkId(3), ContentId::EMPTY);
        let name = |index| Candidate {
            identity: link,
            ..entry(60, index)
        };
        assert_eq!(table.look_up(&name(1)), 60);
        assert_eq!(table.look_up(&name(2)), 60);
        assert_eq!(table.count().0, 2);
    }
}
