//! Dropping changes: paths become what the version has there.
//!
//! All that a call drops is one record of the log, so after a crash it was made or was not. What is
//! open goes on: a file of the base shows the base's content from then on, a file that only the
//! mount had lives without a name until it is forgotten. The kernel is told afterwards, without any
//! lock: until then it may show what it knows, and what it does to it does no harm.

mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lfsfs_overlay::{ApplyError, Change, Operation, OverlayError, State};
use lfsfs_types::{DirId, Name, ObjectPath, nodeid};

use crate::error::{Stop, VfsError};
use crate::kernel::KernelCache;
use crate::writable::changes::places_of_changes;
use crate::writable::known::Known;
use crate::writable::scene::Held;
use crate::writable::{WritableVfs, scene};

use self::plan::{Dropped, plan};

impl WritableVfs {
    /// Drops the changes at and below these paths, or all without any, and returns how many objects
    /// differ from the base no more.
    ///
    /// A path may be one of the mount or of its base. What was moved from or to it goes back to where
    /// the base has it, with all below; a hard-linked file becomes the base's under all its names. Waits for a commit or a switch.
    ///
    /// # Errors
    ///
    /// [`VfsError::NoSuchPath`] if neither side has a path; [`VfsError::DiscardBlocked`] if something
    /// would have to go back to a place that other changes took; [`VfsError::CommitUnderWay`].
    /// Nothing was dropped then.
    pub async fn discard(
        &self,
        paths: &[ObjectPath],
        kernel: Arc<dyn KernelCache>,
    ) -> Result<u64, VfsError> {
        let _turn = self.take_turn().await;
        for path in paths {
            self.expect_path(path).await?;
        }
        loop {
            let moment = self.moment();
            let places = places_of_changes(moment.base(), moment.state()).await?;
            let attempt = |held: &Held| self.try_discard(held, paths, &places);
            // Changes of directories whose place is not known yet came meanwhile.
            let Some(dropped) = self.with_listings(attempt).await? else {
                continue;
            };
            let count = dropped.count;
            // A runtime that ends takes the mount with it.
            let told = move || tell(&dropped, &*kernel);
            let _ = self.base().spawner().spawn_blocking(told).await;
            return Ok(count);
        }
    }

    /// Drops the changes with what is at hand; `None` if places of directories are missing.
    fn try_discard(
        &self,
        held: &Held,
        paths: &[ObjectPath],
        places: &HashMap<DirId, (DirId, Name)>,
    ) -> Result<Option<Dropped>, Stop> {
        let Some(overlay) = self.overlay.get() else {
            return Ok(Some(Dropped::default()));
        };
        let mut known = self.lock_known();
        self.expect_current(&held.ground)?;
        let dropped = overlay.transact(|state| {
            if state.base() != held.ground.untouched.base() {
                return Err(Stop::Moved);
            }
            let Some(mut dropped) = plan(state, held, places, paths)? else {
                return Ok((None, Vec::new()));
            };
            try_out(state, &mut dropped)?;
            let changes = self.with_forgets(&known, &dropped);
            Ok((Some(dropped), changes))
        })?;
        if let Some(dropped) = &dropped {
            self.settle_dropped(&mut known, dropped);
        }
        Ok(dropped)
    }

    /// Returns the operation, and those that drop objects of the base which nobody knows.
    fn with_forgets(&self, known: &Known, dropped: &Dropped) -> Vec<Change<'static>> {
        let unknown = dropped
            .clean
            .iter()
            .filter(|ino| !known.is_known(&self.inodes, **ino));
        let forgets = unknown.map(|ino| Operation::Forget { ino: *ino });
        let operation = dropped.operation.clone().into_iter();
        operation.chain(forgets).map(Change::from).collect()
    }

    fn settle_dropped(&self, known: &mut Known, dropped: &Dropped) {
        for (directory, (parent, name)) in &dropped.home {
            known.put(*directory, *parent, name);
        }
        for ino in &dropped.nameless {
            if !known.is_known(&self.inodes, *ino) {
                self.note_gone(known, *ino);
            }
        }
    }

    /// Fails unless the mount or its base has something at a path.
    async fn expect_path(&self, path: &ObjectPath) -> Result<(), VfsError> {
        let names: Vec<Name> = path.names().collect();
        let found = self.with_listings(|held| {
            let moment = self.moment_above(&held.ground)?;
            let scene = scene(moment.state(), held);
            let mut object = scene.object(nodeid::ROOT)?;
            for name in &names {
                let Some(dir) = scene.directory_of(&object) else {
                    return Ok(false);
                };
                match scene.find(&dir, name)? {
                    Some(below) => object = below,
                    None => return Ok(false),
                }
            }
            Ok(true)
        });
        if found.await? || self.base_has(&names).await? {
            return Ok(());
        }
        Err(VfsError::NoSuchPath { path: path.clone() })
    }

    async fn base_has(&self, names: &[Name]) -> Result<bool, VfsError> {
        let base = self.base();
        let mut dir = Some(DirId::ROOT);
        for name in names {
            let Some(above) = dir else {
                return Ok(false);
            };
            let listing = base.listing(above).await?;
            let Some(index) = listing.find(name.as_bytes()) else {
                return Ok(false);
            };
            let record = listing.record(index).map_err(VfsError::damaged_record)?;
            dir = record.dir();
        }
        Ok(true)
    }
}

/// Notes what the operation would do; fails as it would.
fn try_out(state: &State, dropped: &mut Dropped) -> Result<(), VfsError> {
    let Some(operation) = &dropped.operation else {
        return Ok(());
    };
    let mut after = state.clone();
    after.apply(operation, None).map_err(|error| match error {
        ApplyError::SealOutstanding { .. } => VfsError::CommitUnderWay,
        error => OverlayError::from(error).into(),
    })?;
    dropped.count = state.changes_len().saturating_sub(after.changes_len()) as u64;
    let still: HashSet<u64> = after.changed().map(|(ino, _)| ino).collect();
    let of_base = state.changed().filter(|(_, inode)| inode.base.is_some());
    let clean = of_base.filter(|(ino, _)| !still.contains(ino));
    dropped.clean = clean
        .map(|(ino, _)| ino)
        .filter(|ino| after.inode(*ino).is_some_and(|it| !it.is_orphan()))
        .collect();
    Ok(())
}

/// Tells the kernel to drop what it knows of what was dropped.
fn tell(dropped: &Dropped, kernel: &dyn KernelCache) {
    for (parent, name) in &dropped.entries {
        kernel.drop_entry(*parent, name.as_bytes());
    }
    for ino in &dropped.stale {
        kernel.drop_data(*ino);
    }
    for ino in &dropped.nameless {
        kernel.drop_attributes(*ino);
    }
}
