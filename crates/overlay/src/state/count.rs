//! How much differs from the base, as far as the overlay alone can tell.

use std::collections::HashSet;

use lfsfs_types::{DirId, Name};

use crate::inode::{DirectoryData, Inode, Slot};
use crate::state::State;

impl State {
    /// Returns how many names differ from the base: those that were made, changed or taken away. What
    /// was below a removed directory does not count, nor do times of directories; what was changed
    /// back by writing does.
    #[must_use]
    pub fn changes_len(&self) -> usize {
        let homes: HashSet<_> = self.changed().filter_map(|it| moved_from(it.1)).collect();
        let count = |inode: &Inode| {
            let changed = inode.base.is_some() && inode.base_names > 0 && inode.differs();
            let moved = inode.directory().is_some() && inode.new_names() > 0;
            let own = usize::from(changed && !moved) + inode.new_names() as usize;
            own + inode.directory().map_or(0, |it| taken_away(it, &homes))
        };
        self.changed().map(|(_, inode)| count(inode)).sum()
    }

    /// Returns true if there is nothing to commit: nothing differs from the base but times of
    /// directories, and ctimes.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changed().all(|(_, inode)| inode.is_only_touched())
    }

    /// Returns the inodes of which nothing differs but times of directories, and ctimes.
    pub fn touched(&self) -> impl Iterator<Item = u64> + '_ {
        let touched = self.changed().filter(|(_, inode)| inode.is_only_touched());
        touched.map(|(ino, _)| ino)
    }
}

/// Returns where the base has a directory that is elsewhere now.
fn moved_from(inode: &Inode) -> Option<(DirId, &Name)> {
    let base = inode.base.as_ref().filter(|_| !inode.in_place)?;
    inode.directory()?;
    Some((base.directory, base.name.as_ref()?))
}

/// Returns how many names were taken away from a directory for good.
fn taken_away(directory: &DirectoryData, homes: &HashSet<(DirId, &Name)>) -> usize {
    let Some(base) = directory.base else {
        return 0;
    };
    let removed = directory
        .entries
        .iter()
        .filter(|(name, slot)| matches!(slot, Slot::Removed) && !homes.contains(&(base, *name)));
    removed.count()
}
