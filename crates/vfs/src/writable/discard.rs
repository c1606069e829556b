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

use crate::blocking::blocking;
use crate::changes::places_of_changes;
use crate::error::{Interrupted, VfsError};
use crate::kernel::KernelCache;
use crate::merged::{Fetched, MergedView};
use crate::verb_error::DiscardError;
use crate::writable::known::Known;
use crate::writable::{Exclusive, Vfs};

use self::plan::{Dropped, plan};

impl Exclusive<'_> {
    /// Drops the changes at and below these paths, or all without any, and returns how many objects
    /// differ from the base no more. What is ignored is dropped only at and below a path.
    ///
    /// A path may be one of the mount or of its base. What was moved from or to it goes back to where
    /// the base has it, with all below; a hard-linked file becomes the base's under all its names.
    ///
    /// # Errors
    ///
    /// [`DiscardError::NoSuchPath`] if neither side has a path; [`DiscardError::Blocked`] if something
    /// would have to go back to a place that other changes took; [`DiscardError::CommitUnderWay`].
    /// Nothing was dropped then.
    pub async fn discard(
        &self,
        paths: &[ObjectPath],
        kernel: Arc<dyn KernelCache>,
    ) -> Result<u64, DiscardError> {
        let vfs = self.vfs;
        self.give_up_draft().await?;
        let changed;
        let paths = match paths {
            [] => match self.changed_paths().await? {
                None => paths,
                Some(others) if others.is_empty() => return Ok(0),
                Some(others) => {
                    changed = others;
                    &changed
                }
            },
            paths => paths,
        };
        for path in paths {
            vfs.expect_path(path).await?;
        }
        loop {
            let view = vfs.stack.view();
            let places = places_of_changes(view.base(), view.state()).await?;
            let attempt = |fetched: &Fetched| vfs.try_discard(fetched, paths, &places);
            // Changes of directories whose place is not known yet came meanwhile.
            let Some(dropped) = vfs.with_listings(attempt).await? else {
                continue;
            };
            let count = dropped.count;
            // The changes are gone whatever becomes of the kernel: its failure was logged.
            let _ = blocking(self.vfs.base().spawner(), "telling the kernel", move || {
                tell(&dropped, &*kernel);
            })
            .await;
            return Ok(count);
        }
    }
}

impl Exclusive<'_> {
    /// Returns the paths of all changes, if some others are ignored.
    async fn changed_paths(&self) -> Result<Option<Vec<ObjectPath>>, DiscardError> {
        if self.vfs.ignored().await?.is_empty() {
            return Ok(None);
        }
        let changes = self.vfs.changes().await?;
        Ok(Some(
            changes.into_iter().map(|change| change.path).collect(),
        ))
    }
}

impl Vfs {
    /// Drops the changes with what is at hand; `None` if places of directories are missing.
    fn try_discard(
        &self,
        fetched: &Fetched,
        paths: &[ObjectPath],
        places: &HashMap<DirId, (DirId, Name)>,
    ) -> Result<Option<Dropped>, Interrupted<DiscardError>> {
        let Some(overlay) = self.stack.overlay() else {
            return Ok(Some(Dropped::default()));
        };
        let mut known = self.lock_known();
        self.stack.expect_current(&fetched.pinned)?;
        let dropped = overlay.transact(|state| -> Result<_, Interrupted<DiscardError>> {
            fetched.pinned.expect_below(state)?;
            let Some(mut dropped) = plan(state, fetched, places, paths)? else {
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

    /// Returns the operation, and those that drop objects of the base which the kernel does not know.
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
        for (directory, home) in &dropped.home {
            known.put(*directory, home.directory, &home.name);
        }
        for ino in &dropped.nameless {
            if !known.is_known(&self.inodes, *ino) {
                self.note_gone(known, *ino);
            }
        }
    }

    /// Fails unless the mount or its base has something at a path.
    async fn expect_path(&self, path: &ObjectPath) -> Result<(), DiscardError> {
        let names: Vec<Name> = path.names().collect();
        let found = self.with_listings::<_, VfsError>(|fetched| {
            let view = self.stack.view_above(&fetched.pinned)?;
            let merged = MergedView::new(view.state(), fetched);
            let mut object = merged.object(nodeid::ROOT)?;
            for name in &names {
                let Some(dir) = merged.directory_of(&object) else {
                    return Ok(false);
                };
                match merged.find(&dir, name)? {
                    Some(below) => object = below,
                    None => return Ok(false),
                }
            }
            Ok(true)
        });
        if found.await? || self.base_has(&names).await? {
            return Ok(());
        }
        Err(DiscardError::NoSuchPath { path: path.clone() })
    }

    async fn base_has(&self, names: &[Name]) -> Result<bool, VfsError> {
        let base = self.base();
        let mut dir = Some(DirId::ROOT);
        for name in names {
            let Some(above) = dir else {
                return Ok(false);
            };
            let listing = base.listing(above).await?;
            let Some(record) = listing.record_of(name)? else {
                return Ok(false);
            };
            dir = record.dir();
        }
        Ok(true)
    }
}

/// Notes what the operation would do; fails as it would.
fn try_out(state: &State, dropped: &mut Dropped) -> Result<(), DiscardError> {
    let Some(operation) = &dropped.operation else {
        return Ok(());
    };
    let mut after = state.clone();
    after.apply(operation, None).map_err(|error| match error {
        ApplyError::SealOutstanding { .. } => DiscardError::CommitUnderWay,
        error => VfsError::from(OverlayError::from(error)).into(),
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
