//! Directories that the kernel will want next, given to it before it asks.
//!
//! EROFS reads metadata block by block, each with a request, and does not read ahead. A program that walks a tree
//! asks for directories in the order of their paths. So behind a directory that was asked for, those that follow in
//! that order are stored in the kernel's cache: few at first, and more while it asks for them in that order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_erofs::address;
use lfsfs_types::{DirId, Kind};

use super::places::Above;
use super::{ImageFile, VersionImage};
use crate::error::VfsError;

/// Directories that are stored behind one that was asked for out of order.
const FIRST: usize = 8;
/// Directories that are stored at most behind one that was asked for.
const MOST: usize = 512;

/// How far the walk of a program was seen.
#[derive(Debug, Default)]
pub(super) struct Walk(Mutex<WalkState>);

#[derive(Debug, Default)]
struct WalkState {
    /// The directory that follows what was stored last.
    next: Option<DirId>,
    window: usize,
    /// Those that were stored, or are.
    stored: HashSet<DirId>,
}

/// Which directories to store behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    dirs: usize,
    /// The program goes through the tree, so listings are worth being asked for.
    is_walk: bool,
}

impl Walk {
    /// Notes that the kernel asked for a directory. Returns what to store behind it.
    pub(super) fn note(&self, dir: DirId) -> Option<Window> {
        let mut state = self.state();
        if !state.stored.insert(dir) {
            // It came back for another part of it, or dropped it for want of memory.
            return None;
        }
        let is_walk = state.next == Some(dir);
        state.window = if is_walk {
            (state.window * 2).min(MOST)
        } else {
            FIRST
        };
        Some(Window {
            dirs: state.window,
            is_walk,
        })
    }

    fn begin(&self, dir: DirId) -> bool {
        self.state().stored.insert(dir)
    }

    fn end(&self, next: Option<DirId>) {
        self.state().next = next;
    }

    /// No method panics between two changes of it.
    fn state(&self) -> MutexGuard<'_, WalkState> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl VersionImage {
    /// Stores directories behind one that the kernel has, in the order of paths.
    pub(super) async fn store_behind(&self, dir: DirId, window: Window) {
        let mut at = dir;
        for _ in 0..window.dirs {
            let Ok(Some(next)) = self.next_directory(at, window.is_walk).await else {
                break;
            };
            at = next;
            if self.walk.begin(next) && self.store_directory(next).await.is_err() {
                break;
            }
        }
        let next = self.next_directory(at, window.is_walk).await;
        self.walk.end(next.ok().flatten());
    }

    async fn store_directory(&self, dir: DirId) -> Result<(), VfsError> {
        let rendered = self.directory(dir).await?;
        let Some(kernel) = self.kernel.get().cloned() else {
            return Ok(());
        };
        let offset = address::region(dir).map_err(super::too_large)?;
        let store = move || {
            let mut region = rendered.0.region.clone();
            region.resize(region.len().next_multiple_of(super::BLOCK_LEN), 0);
            kernel.store_pages(ImageFile::Metadata, offset, &region);
        };
        // It ends early only with the mount.
        let _ = self.version.spawner().spawn_blocking(store).await;
        Ok(())
    }

    /// Returns the directory behind another in the order of paths, if there is one. Unless listings are asked for, one
    /// that is not in memory counts as the end.
    async fn next_directory(&self, dir: DirId, asks: bool) -> Result<Option<DirId>, VfsError> {
        let mut next = self.first_below(Above { dir, index: 0 }, asks).await?;
        let mut at = dir;
        while next.is_none() {
            let Some(above) = self.places().above(at) else {
                return Ok(None);
            };
            let behind = Above {
                index: above.index + 1,
                ..above
            };
            next = self.first_below(behind, asks).await?;
            at = above.dir;
        }
        let has_listing = next.is_some_and(|next| self.version.listing_in_memory(next).is_some());
        Ok(next.filter(|_| asks || has_listing))
    }

    /// Returns the first directory among the entries of one, from an entry on.
    async fn first_below(&self, from: Above, asks: bool) -> Result<Option<DirId>, VfsError> {
        let listing = match self.version.listing_in_memory(from.dir) {
            Some(listing) => listing,
            None if asks => self.version.listing(from.dir).await?,
            None => return Ok(None),
        };
        for index in from.index..listing.len() {
            if let Kind::Directory { dir } = listing.entry_record(index)?.kind {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    /// As [`store_behind`](Self::store_behind), in a task.
    pub(super) fn spawn_store_behind(self: &Arc<Self>, dir: DirId, window: Window) {
        let image = Arc::clone(self);
        let store = async move { image.store_behind(dir, window).await };
        // The mount tracks the task.
        drop(self.version.spawner().spawn(store));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_while_directories_are_asked_for_in_order() {
        let walk = Walk::default();
        let dirs = |dir| walk.note(DirId(dir)).map(|window| window.dirs);
        assert_eq!(dirs(1), Some(FIRST));
        walk.end(Some(DirId(10)));
        assert_eq!(dirs(10), Some(2 * FIRST));
        walk.end(Some(DirId(30)));
        assert_eq!(dirs(30), Some(4 * FIRST));
        walk.end(Some(DirId(70)));
        assert_eq!(dirs(5), Some(FIRST));
        assert_eq!(dirs(5), None);
        assert!(walk.begin(DirId(6)) && !walk.begin(DirId(6)));
        assert_eq!(dirs(6), None);
    }
}
