//! The changes of a writable mount in memory.
//!
//! Owns every inode of the overlay and how it is found. A clone is O(1) and never changes, which is
//! what sealing for a commit, checkpoints and readers without a lock build on. It changes by
//! [`Operation`]s only: `apply.rs` has one arm for each, `check.rs` tells which surely apply, `namespace.rs` has
//! names, `content.rs` has attributes and data, `commit.rs` has seals, `discard.rs` has what drops changes, `left_out.rs`
//! what no commit takes, `shared.rs` has bytes that files have in common, `count.rs` says how much differs.

mod apply;
mod check;
mod commit;
mod content;
mod count;
mod discard;
mod left_out;
mod namespace;
mod shared;

pub(crate) use apply::carries_data;
pub(crate) use namespace::new_node;

use std::collections::BTreeMap;
use std::sync::Arc;

use lfsfs_types::{DirId, Name, VersionId};

use crate::Map;
use crate::base::Base;
use crate::error::ApplyError;
use crate::extent::{FileData, Location};
use crate::inode::{BaseKey, BaseObject, DirectoryData, Inode, Slot};
use crate::inode_map::{InodeMap, InodeSet};
use crate::operation::Operation;

/// Everything that an overlay holds above its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) base: Base,
    pub(crate) inodes: InodeMap,
    /// Which inode an object of the base has.
    pub(crate) by_base: Map<BaseKey, u64>,
    /// Inodes with names that differ from the base.
    pub(crate) dirty: InodeSet,
    /// Inodes that were copied up and do not differ.
    pub(crate) clean: InodeSet,
    /// Inodes without names.
    pub(crate) orphans: InodeSet,
    /// Counts operations.
    pub(crate) generation: u64,
    /// Counts seals.
    pub(crate) seals: u64,
    /// Bytes of file content in the log.
    pub(crate) log_bytes: u64,
    pub(crate) sealed: Option<Arc<SealedLayer>>,
    /// What inodes of the seal became, as far as it was said.
    pub(crate) mapped: Map<u64, Arc<BaseObject>>,
}

/// What a commit took.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SealedLayer {
    pub(crate) commit: VersionId,
    /// The state at the seal; it has no seal itself.
    pub(crate) state: State,
    /// Whether nothing was told of it to the server.
    pub(crate) is_draft: bool,
}

/// What the overlay knows about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It stands for this inode.
    Inode(u64),
    /// There is no such entry, whatever the base says.
    Absent,
    /// It is as in this directory of the base. What the base has there may have an inode by
    /// [`State::copy_of`].
    Base(DirId),
}

impl State {
    /// Returns a state without changes.
    #[must_use]
    pub fn new(base: Base) -> Self {
        Self {
            base,
            inodes: InodeMap::default(),
            by_base: Map::default(),
            dirty: InodeSet::default(),
            clean: InodeSet::default(),
            orphans: InodeSet::default(),
            generation: 0,
            seals: 0,
            log_bytes: 0,
            sealed: None,
            mapped: Map::default(),
        }
    }

    /// Applies an operation, with the place and the number of the bytes in its log record.
    ///
    /// On an error nothing changes.
    pub fn apply(
        &mut self,
        operation: &Operation,
        data: Option<(Location, u64)>,
    ) -> Result<(), ApplyError> {
        let mut next = self.clone();
        next.change(operation, data)?;
        *self = next;
        Ok(())
    }

    /// Returns the files whose bytes only this machine has, by their inodes.
    pub fn local_files(&self) -> impl Iterator<Item = u64> + '_ {
        let inodes = self.inodes.iter();
        inodes.filter_map(|(ino, inode)| inode.local_len().map(|_| *ino))
    }

    /// Returns the version that the changes are made on.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// Returns an object of the overlay.
    #[must_use]
    pub fn inode(&self, ino: u64) -> Option<&Inode> {
        self.inodes.get(&ino)
    }

    /// Returns the objects of the overlay by their numbers.
    pub fn inodes(&self) -> impl Iterator<Item = (u64, &Inode)> {
        self.inodes.iter().map(|(ino, inode)| (*ino, inode))
    }

    /// Returns the inode that an object of the base has in the overlay.
    #[must_use]
    pub fn copy_of(&self, key: &BaseKey) -> Option<u64> {
        self.by_base.get(key).copied()
    }

    /// Returns what the overlay knows about a name in one of its directories.
    #[must_use]
    pub fn lookup(&self, directory: u64, name: &Name) -> Option<Lookup> {
        let data = self.inode(directory)?.directory()?;
        Some(match (data.entries.get(name), data.base) {
            (Some(Slot::Inode { ino, .. }), _) => Lookup::Inode(*ino),
            (Some(Slot::Removed), _) | (None, None) => Lookup::Absent,
            (None, Some(base)) => Lookup::Base(base),
        })
    }

    /// Returns the inodes that have names and were changed: among them every directory that says
    /// anything about its entries. Some may not differ from the base any more.
    pub fn changed(&self) -> impl Iterator<Item = (u64, &Inode)> {
        let changed = self.dirty.iter();
        changed.filter_map(|ino| Some((ino, self.inode(ino)?)))
    }

    /// Returns the inodes that lost their last name and were not forgotten.
    pub fn orphans(&self) -> impl Iterator<Item = u64> + '_ {
        self.orphans.iter()
    }

    /// Returns the objects of the base that have an inode and do not differ.
    pub fn unchanged(&self) -> impl Iterator<Item = u64> + '_ {
        self.clean.iter()
    }

    /// Returns the commit that is under way.
    #[must_use]
    pub fn sealed_commit(&self) -> Option<VersionId> {
        self.sealed.as_ref().map(|layer| layer.commit)
    }

    /// Returns true if the seal is one of which nothing was told to the server.
    #[must_use]
    pub fn has_draft(&self) -> bool {
        self.sealed.as_ref().is_some_and(|layer| layer.is_draft)
    }

    /// Returns how many bytes of file content the log holds for this state.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Returns the sealed state of the commit under way.
    #[must_use]
    pub fn sealed_state(&self) -> Option<&Self> {
        self.sealed.as_ref().map(|layer| &layer.state)
    }

    /// Returns how many bytes of each segment this state and its seal refer to. Those that several extents
    /// have count once.
    pub(crate) fn segments_in_use(&self) -> BTreeMap<u32, u64> {
        let states = [Some(self), self.sealed_state()].into_iter().flatten();
        let extents = states.flat_map(Self::located_extents);
        let mut ranges: Vec<_> = extents
            .map(|(_, _, at, len)| (at.segment, at.start(), at.start() + len))
            .collect();
        ranges.sort_unstable();
        let mut used = BTreeMap::new();
        let mut reached = (0, 0);
        for (segment, start, end) in ranges {
            if reached.0 != segment {
                reached = (segment, 0);
            }
            let new = end.saturating_sub(start.max(reached.1));
            reached.1 = end.max(reached.1);
            *used.entry(segment).or_default() += new;
        }
        used
    }

    /// Returns (inode, offset, location, length) of every extent in the log.
    pub(crate) fn located_extents(&self) -> impl Iterator<Item = (u64, u64, Location, u64)> + '_ {
        self.inodes.iter().flat_map(|(ino, inode)| {
            let extents = inode.file().into_iter().flat_map(|file| file.extents());
            extents
                .filter_map(|(offset, extent)| Some((*ino, offset, extent.location()?, extent.len)))
        })
    }

    fn known(&self, ino: u64) -> Result<&Inode, ApplyError> {
        self.inode(ino).ok_or(ApplyError::NoInode { ino })
    }

    fn known_file(&self, ino: u64) -> Result<&FileData, ApplyError> {
        self.known(ino)?.file().ok_or(ApplyError::NotFile { ino })
    }

    /// Returns a directory that can hold entries.
    fn live_directory(&self, ino: u64) -> Result<&DirectoryData, ApplyError> {
        let inode = self.known(ino)?;
        let directory = inode.directory().filter(|_| !inode.is_orphan());
        directory.ok_or(ApplyError::NotDirectory { ino })
    }

    /// Changes an inode that exists, and counts it as changed.
    fn touch(&mut self, ino: u64, change: impl FnOnce(&mut Inode)) {
        let Some(inode) = self.inodes.get_mut(&ino) else {
            return;
        };
        change(inode);
        inode.generation = self.generation;
        if inode.is_orphan() {
            return;
        }
        if !self.dirty.contains(&ino) {
            self.dirty.insert_mut(ino);
            self.clean.remove_mut(&ino);
        }
    }

    /// Adds an inode under its base key and counts its bytes.
    pub(crate) fn insert(&mut self, ino: u64, inode: Inode) {
        if let Some(key) = inode.base_key() {
            self.by_base.insert_mut(key, ino);
        }
        self.log_bytes += inode.log_bytes();
        self.inodes.insert_mut(ino, inode);
    }

    /// Removes an inode with everything that leads to it but names.
    pub(crate) fn remove(&mut self, ino: u64) -> Option<Inode> {
        let inode = self.inodes.remove_mut(&ino)?;
        if let Some(key) = inode.base_key() {
            self.by_base.remove_mut(&key);
        }
        self.log_bytes = self.log_bytes.saturating_sub(inode.log_bytes());
        for set in [&mut self.dirty, &mut self.clean, &mut self.orphans] {
            set.remove_mut(&ino);
        }
        Some(inode)
    }
}
