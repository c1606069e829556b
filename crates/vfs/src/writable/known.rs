//! What the kernel knows of the overlay's inodes: how often it was told, and where directories are.
//!
//! Inodes of the base are counted in the table that the read-only core has. One that gets into the
//! overlay keeps its count there; what comes later is counted here, and it is known as long as
//! either count is above zero.

use std::collections::{HashMap, HashSet};

use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{Name, nodeid};

use crate::inode::InodeTable;

/// Lookups of inodes of the overlay, and the directories that the kernel's directories are in.
#[derive(Debug, Default)]
pub(crate) struct Known {
    lookups: HashMap<u64, u64>,
    /// The directory above, and the length of the name there, by directory. What is not here is where
    /// the table of the base says.
    parents: HashMap<u64, (u64, u8)>,
    /// No path of what was made or moved in the mount is longer.
    longest: usize,
    /// Inodes without names that the kernel forgot; the overlay still has to.
    pub(crate) gone: HashSet<u64>,
}

impl Known {
    pub(crate) fn count(&mut self, ino: u64) {
        *self.lookups.entry(ino).or_default() += 1;
    }

    /// Returns the lookups that are counted here.
    pub(crate) fn lookups(&self, ino: u64) -> u64 {
        self.lookups.get(&ino).copied().unwrap_or(0)
    }

    /// Drops what is counted here of an inode that the overlay gave back.
    pub(crate) fn release(&mut self, ino: u64) {
        self.lookups.remove(&ino);
        self.parents.remove(&ino);
    }

    pub(crate) fn is_known(&self, inodes: &InodeTable, ino: u64) -> bool {
        self.lookups.contains_key(&ino) || inodes.knows(ino)
    }

    /// Takes back lookups. Returns true if the kernel knows the inode no more.
    pub(crate) fn forget(&mut self, inodes: &InodeTable, ino: u64, lookups: u64) -> bool {
        let here = self.lookups.get(&ino).copied().unwrap_or(0);
        match here.checked_sub(lookups) {
            Some(left) if left > 0 => {
                self.lookups.insert(ino, left);
            }
            _ => {
                self.lookups.remove(&ino);
                inodes.forget(ino, lookups.saturating_sub(here));
            }
        }
        let is_gone = !self.is_known(inodes, ino);
        if is_gone {
            self.parents.remove(&ino);
        }
        is_gone
    }

    /// Notes that a directory is in another one.
    pub(crate) fn put(&mut self, directory: u64, parent: u64, name: &Name) {
        let name_len = u8::try_from(name.as_bytes().len()).unwrap_or(u8::MAX);
        self.parents.insert(directory, (parent, name_len));
    }

    /// Returns the directory that a directory is in; the root's is the root.
    pub(crate) fn parent(&self, inodes: &InodeTable, directory: u64) -> Option<u64> {
        self.above(inodes, directory).map(|above| above.0)
    }

    fn above(&self, inodes: &InodeTable, directory: u64) -> Option<(u64, u8)> {
        let noted = self.parents.get(&directory).copied();
        noted.or_else(|| inodes.above(directory))
    }

    /// Returns the length of the path of a directory, if the way up is known.
    pub(crate) fn path_len(&self, inodes: &InodeTable, directory: u64) -> Option<usize> {
        let (mut at, mut len) = (directory, 0);
        while at != nodeid::ROOT {
            let (parent, name_len) = self.above(inodes, at)?;
            // Names of the path with a slash between each two.
            len += usize::from(len > 0) + usize::from(name_len);
            at = parent;
            if len > PATH_LEN_MAX {
                break;
            }
        }
        Some(len)
    }

    /// Returns an upper bound of the paths of what was made or moved in the mount.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Notes how long the path of something got.
    pub(crate) fn note_longest(&mut self, len: usize) {
        self.longest = self.longest.max(len);
    }

    /// Sets the upper bound of the paths, after the base was replaced.
    pub(crate) fn set_longest(&mut self, len: usize) {
        self.longest = len;
    }

    /// Returns true if `directory` is `ancestor` or below it.
    ///
    /// A caller that has a directory has those above it, as a kernel does, so the way up is known.
    pub(crate) fn is_within(&self, inodes: &InodeTable, directory: u64, ancestor: u64) -> bool {
        let mut at = directory;
        loop {
            if at == ancestor {
                return true;
            }
            match self.parent(inodes, at) {
                Some(parent) if at != nodeid::ROOT => at = parent,
                Some(_) => return false,
                // A switch moved it below what the kernel does not know: it may be there.
                None => return true,
            }
        }
    }
}
