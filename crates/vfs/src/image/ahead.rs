//! Directories that the kernel will want next, given to it before it asks.
//!
//! EROFS reads metadata block by block, each with a request, and does not read ahead. A program that walks a tree
//! asks for directories in the order of their paths. So behind a directory that was asked for, those that follow in
//! that order are stored in the kernel's cache: few at first, and more while it asks for them in that order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_erofs::address;
use lfsfs_types::{DirId, Kind};

use super::{BLOCK_LEN, ImageFile, ImageKernel, Rendered, VersionImage};
use crate::error::VfsError;
use crate::inode::Place;

/// Directories that are stored behind one that was asked for out of order, as far as their listings are in memory.
const FIRST: usize = 8;
/// Directories that are stored at most behind one that was asked for.
const MOST: usize = 512;
/// Directories that are handed to the kernel together.
const TOGETHER: usize = 16;
/// A directory behind which is not looked: to find what follows would take too long.
const ENTRIES_MAX: u32 = 20_000;

/// How far the walk of a program was seen.
#[derive(Debug, Default)]
pub(super) struct Walk(Mutex<WalkState>);

#[derive(Debug, Default)]
struct WalkState {
    /// The directory that follows what was asked for or stored last.
    next: Option<DirId>,
    window: usize,
    /// How many are still to be stored.
    left: usize,
    /// The program goes through the tree, so listings are worth being asked for.
    is_walk: bool,
    /// A task stores directories.
    is_storing: bool,
    /// Those that were asked for, or stored.
    seen: HashSet<DirId>,
}

/// What to store now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    dir: DirId,
    is_walk: bool,
}

impl Walk {
    /// Returns true if the kernel asks for a directory for the first time.
    fn is_new(&self, dir: DirId) -> bool {
        !self.state().seen.contains(&dir)
    }

    /// Notes that the kernel asked for a directory, and which one follows. Returns true if a task is to be started.
    fn ask(&self, dir: DirId, next: Option<DirId>) -> bool {
        let mut state = self.state();
        state.seen.insert(dir);
        state.is_walk = state.next == Some(dir);
        state.window = if state.is_walk {
            (state.window * 2).min(MOST)
        } else {
            FIRST
        };
        (state.left, state.next) = (state.window, next);
        !std::mem::replace(&mut state.is_storing, true)
    }

    /// Returns the next directory to store; `None` ends the task.
    fn step(&self) -> Option<Step> {
        let mut state = self.state();
        let left = state.left.checked_sub(1);
        match (left, state.next) {
            (Some(left), Some(dir)) => {
                state.left = left;
                Some(Step {
                    dir,
                    is_walk: state.is_walk,
                })
            }
            _ => {
                state.is_storing = false;
                None
            }
        }
    }

    /// Notes that a directory is stored, and which one follows. The kernel may have gone elsewhere meanwhile.
    fn stored(&self, dir: DirId, next: Option<DirId>) {
        let mut state = self.state();
        state.seen.insert(dir);
        if state.next == Some(dir) {
            state.next = next;
        }
    }

    fn stop(&self) {
        let mut state = self.state();
        (state.left, state.is_storing) = (0, false);
    }

    /// No method panics between two changes of it.
    fn state(&self) -> MutexGuard<'_, WalkState> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl VersionImage {
    /// Notes that the kernel asked for a directory, and stores those that follow.
    pub(super) fn note_asked(self: &Arc<Self>, dir: DirId) {
        if !self.walk.is_new(dir) {
            // It came back for another part of it, or dropped it for want of memory.
            return;
        }
        let next = self.directory_behind(dir);
        if self.walk.ask(dir, next) {
            let image = Arc::clone(self);
            let store = async move { image.store_behind().await };
            // The mount tracks the task.
            drop(self.version.spawner().spawn(store));
        }
    }

    async fn store_behind(&self) {
        let mut rendered = Vec::new();
        while let Some(step) = self.walk.step() {
            let is_at_hand = self.version.listing_in_memory(step.dir).is_some();
            if !(step.is_walk || is_at_hand) {
                self.walk.stop();
                break;
            }
            let Ok(directory) = self.directory(step.dir).await else {
                // The program that asks for it gets the error.
                self.walk.stop();
                break;
            };
            rendered.push((step.dir, directory));
            self.walk.stored(step.dir, self.directory_behind(step.dir));
            if rendered.len() == TOGETHER {
                self.store(std::mem::take(&mut rendered)).await;
            }
        }
        self.store(rendered).await;
    }

    async fn store(&self, rendered: Vec<(DirId, Arc<Rendered>)>) {
        let store = move |kernel: &dyn ImageKernel| {
            for (dir, rendered) in rendered {
                let Ok(offset) = address::region(dir) else {
                    continue;
                };
                let mut region = rendered.0.region.clone();
                region.resize(region.len().next_multiple_of(BLOCK_LEN), 0);
                kernel.store_pages(ImageFile::Metadata, offset, &region);
            }
        };
        self.tell_kernel(store).await;
    }

    /// Returns the directory behind another in the order of paths, as far as listings in memory tell.
    fn directory_behind(&self, dir: DirId) -> Option<DirId> {
        let mut next = self.first_below(Place { dir, index: 0 });
        let mut at = dir;
        while let Ok(None) = next {
            let above = self.places().above(at)?;
            at = above.dir;
            next = self.first_below(Place {
                index: above.index + 1,
                ..above
            });
        }
        next.ok().flatten()
    }

    /// Returns the first directory among the entries of one, from an entry on.
    fn first_below(&self, from: Place) -> Result<Option<DirId>, VfsError> {
        let listing = self.version.listing_in_memory(from.dir);
        let listing = listing.filter(|listing| listing.len() <= ENTRIES_MAX);
        let listing = listing.ok_or(VfsError::NotFound)?;
        for index in from.index..listing.len() {
            if let Kind::Directory { dir } = listing.entry_record(index)?.kind {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(dir: u64) -> Option<DirId> {
        Some(DirId(dir))
    }

    #[test]
    fn a_window_grows_while_directories_are_asked_for_in_order() {
        let walk = Walk::default();
        assert!(walk.ask(DirId(1), next(2)), "a task is started");
        let step = |dir, is_walk| {
            let dir = DirId(dir);
            Some(Step { dir, is_walk })
        };
        assert_eq!(walk.step(), step(2, false));
        walk.stored(DirId(2), next(3));
        // The kernel is faster than the task.
        assert!(!walk.ask(DirId(3), next(4)), "one task is enough");
        for dir in 4..4 + 2 * FIRST as u64 {
            assert_eq!(walk.step(), step(dir, true));
            walk.stored(DirId(dir), next(dir + 1));
        }
        assert_eq!(walk.step(), None);
        assert!(walk.is_new(DirId(20)) && !walk.is_new(DirId(4)));
        assert!(walk.ask(DirId(20), next(21)));
        assert_eq!(walk.state().window, 4 * FIRST);
        assert!(!walk.ask(DirId(90), next(91)));
        assert_eq!(walk.state().window, FIRST, "it went elsewhere");
    }

    #[test]
    fn what_is_stored_does_not_lead_back_from_where_the_kernel_went() {
        let walk = Walk::default();
        walk.ask(DirId(1), next(2));
        walk.step();
        walk.ask(DirId(50), next(51));
        walk.stored(DirId(2), next(3));
        assert_eq!(walk.step().map(|step| step.dir), next(51));
    }
}
