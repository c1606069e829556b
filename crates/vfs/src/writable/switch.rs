//! Going to another version while the mount is in use.
//!
//! A switch drains the mount out of the version that it shows: from now on replies about directories
//! with changed names are not to be kept, the kernel drops those names, the base is replaced, the
//! kernel drops what it has of changed directories and attributes. What is the same in both versions
//! keeps its number and its pages; what is open goes on showing what was opened. The end of a commit
//! is the same step, for what others changed since the base; what this mount changed the kernel has
//! seen.
//!
//! No lock is held and no request waits while the kernel is told something: it may wait itself for
//! a request in that directory.

mod drift;
mod fates;
mod flip;
mod landings;
mod successors;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use lfsfs_common::tasks::Spawner;
use lfsfs_overlay::{CommitIds, NumberRow, Overlay};
use lfsfs_remote::{ChangedName, Snapshot, VersionRange};
use lfsfs_types::{Name, VersionId};
use tokio::sync::MutexGuard;

use self::drift::{Drift, Needs};
use self::fates::{Halt, Outcome, known_directory, slots};
use self::flip::{Step, refuse_changes};
use self::landings::Landings;
use crate::error::VfsError;
use crate::inode::{InodeTable, Searched};
use crate::kernel::KernelCache;
use crate::writable::ground::Ground;
use crate::writable::{WritableVfs, in_background};

/// What a switch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchReport {
    /// Names whose object, or whose times, differ between the two versions.
    pub changed: u64,
    /// Names that the kernel was told to drop, each once.
    pub entries: u64,
    /// Objects that the kernel keeps and whose attributes it was told to drop.
    pub attributes: u64,
    /// Directories whose listing the kernel was told to drop.
    pub directories: u64,
}

/// A commit that was published.
#[derive(Debug)]
pub(crate) struct Landing {
    /// The seal that it was made of.
    pub(crate) commit: VersionId,
    /// The version that has what it took: the one that it made, or the head if that had it already.
    pub(crate) snapshot: Snapshot,
    /// The ids that new objects got.
    pub(crate) ids: CommitIds,
}

impl WritableVfs {
    /// Returns false while entries of this directory are being drained: a reply about one must then
    /// have the lifetime 0, for entry and attributes alike.
    ///
    /// To be asked before the call that the reply answers, not after it: what was found out before
    /// the drain began is safe, because the kernel drops an entry only when it has the replies to
    /// all requests for the directory that it sent before.
    #[must_use]
    pub fn may_keep(&self, parent: u64) -> bool {
        if !self.drain.is_active() {
            return true;
        }
        let moment = self.moment();
        let upper = moment.upper(parent).and_then(|it| it.1.directory()?.base);
        let dir = upper.or_else(|| match moment.base().inodes().directory(parent) {
            Ok(Searched::Directory(directory)) => Some(directory.dir),
            _ => None,
        });
        dir.is_none_or(|dir| !self.drain.covers(dir))
    }

    /// Returns those of the names that `matter` which a switch would make stand for another object:
    /// the kernel drops them, with what is mounted below.
    pub async fn replaced_by(
        &self,
        to: &Snapshot,
        matter: impl Fn(&ChangedName) -> bool,
    ) -> Result<Vec<ChangedName>, VfsError> {
        let ground = self.ground();
        let mut names = changed_between(&ground, to).await?;
        names.retain(matter);
        let next = ground.base.successor(to.clone());
        let mut drift = Drift::new((ground, next), names.clone(), None);
        loop {
            let mut needs = Needs::default();
            let mut replaced = HashSet::new();
            for dir in drift.dirs() {
                let visible = drift.visible(*dir, &mut needs)?.into_iter();
                replaced.extend(visible.map(|name| (*dir, name.clone())));
            }
            if needs.is_empty() {
                names.retain(|it| {
                    let place = it.name.clone().map(|name| (it.dir, name));
                    place.is_some_and(|place| replaced.contains(&place))
                });
                return Ok(names);
            }
            drift.load(needs).await?;
        }
    }

    /// Moves to another version of the same project, up or down.
    ///
    /// Refused with [`VfsError::HasChanges`] if there is anything that no commit took; then, and on
    /// every other error, the mount shows what it showed.
    pub async fn switch(
        &self,
        to: Snapshot,
        kernel: Arc<dyn KernelCache>,
    ) -> Result<SwitchReport, VfsError> {
        let _turn = self.take_turn().await;
        refuse_changes(self.moment().state())?;
        let ground = self.ground();
        if ground.base.snapshot().version.id == to.version.id {
            return Ok(SwitchReport::default());
        }
        let changed = changed_between(&ground, &to).await?;
        let next = ground.base.successor(to);
        let drift = Drift::new((ground, next), changed, None);
        self.replace(drift, Step::Switch, &kernel).await
    }

    /// Ends a commit: the mount goes on from the version that has what it took, and shows what
    /// others changed in it. Numbers and caches are kept; on return this survives a power loss.
    ///
    /// The caller has the turn.
    pub(crate) async fn land(
        &self,
        landing: &Landing,
        kernel: &Arc<dyn KernelCache>,
    ) -> Result<(), VfsError> {
        let overlay = self.overlay.get().ok_or(VfsError::Stale)?;
        let sealed = overlay.sealed().ok_or(VfsError::Stale)?;
        let ground = self.ground();
        let (changed, others) = changed_by_commit(&ground, landing).await?;
        let next = ground.base.successor(landing.snapshot.clone());
        let drift = Drift::new((ground, next), changed, Some(others));
        let step = Step::Land {
            commit: landing.commit,
            landings: Box::new(Landings::new(&sealed, landing.ids.clone())),
        };
        self.replace(drift, step, kernel).await?;
        let overlay = Arc::clone(overlay);
        in_background(self.base().spawner(), move || overlay.sync()).await
    }

    /// Waits until nobody else switches, commits or discards, and lets nobody until it is dropped.
    pub(crate) async fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    async fn replace(
        &self,
        mut drift: Drift,
        step: Step,
        kernel: &Arc<dyn KernelCache>,
    ) -> Result<SwitchReport, VfsError> {
        // What is known is loaded before anything is drained, and again what gets known meanwhile.
        self.entries(&mut drift).await?;
        let drained = self.drain.begin(drift.drained());
        let entries = self.entries(&mut drift).await?;
        let mut report = SwitchReport {
            changed: drift.changed().count() as u64,
            entries: entries.len() as u64,
            ..SwitchReport::default()
        };
        let cache = Arc::clone(kernel);
        tell(self.base().spawner(), move || {
            drop_entries(&*cache, &entries);
        })
        .await?;
        let outcome = loop {
            match self.flip(&drift, &step) {
                Ok(outcome) => break outcome,
                Err(Halt::Needs(needs)) => drift.load(needs).await?,
                Err(Halt::Failed(error)) => return Err(error),
            }
        };
        report.entries += outcome.entries.len() as u64;
        report.directories = outcome.directories.len() as u64;
        report.attributes = outcome.stale_attributes().count() as u64;
        let cache = Arc::clone(kernel);
        let (overlay, inodes) = (self.overlay.get().cloned(), Arc::clone(&self.inodes));
        // Goes to its end even if nobody waits for it any more.
        tell(self.base().spawner(), move || {
            drop_stale(&*cache, &outcome);
            drop(drained);
            if let Some(overlay) = overlay {
                keep_numbers(&overlay, &inodes, &outcome.numbers);
            }
        })
        .await?;
        Ok(report)
    }

    /// Returns the entries that the kernel may know and that will stand for something else.
    async fn entries(&self, drift: &mut Drift) -> Result<Vec<(u64, Name)>, VfsError> {
        loop {
            let mut needs = Needs::default();
            let entries = self.known_entries(drift, &mut needs)?;
            if needs.is_empty() {
                return Ok(entries);
            }
            drift.load(needs).await?;
        }
    }

    fn known_entries(
        &self,
        drift: &Drift,
        needs: &mut Needs,
    ) -> Result<Vec<(u64, Name)>, VfsError> {
        let moment = self.moment();
        let project = &drift.ground.base.snapshot().project.id;
        let mut entries = Vec::new();
        for dir in drift.drained() {
            let Some(ino) = known_directory(project, dir, moment.state(), &self.inodes) else {
                continue;
            };
            let covered = slots(moment.state(), ino);
            let visible = drift.visible(dir, needs)?.into_iter();
            let shown = visible.filter(|name| !covered(name));
            entries.extend(shown.map(|name| (ino, name.clone())));
        }
        Ok(entries)
    }
}

impl Outcome {
    /// Returns the inodes whose attributes the kernel is not told to drop with everything else.
    fn stale_attributes(&self) -> impl Iterator<Item = u64> {
        let whole: HashSet<u64> = self.directories.iter().map(|it| it.0).collect();
        let attributes = self.attributes.iter().copied();
        attributes.filter(move |ino| !whole.contains(ino))
    }
}

/// Returns what differs between the base and another version of its project.
async fn changed_between(ground: &Ground, to: &Snapshot) -> Result<Vec<ChangedName>, VfsError> {
    let from = ground.base.snapshot();
    if from.project.id != to.project.id {
        return Err(VfsError::Invalid);
    }
    let (from, to) = (from.version.number, to.version.number);
    ground.base.changed_names(VersionRange { from, to }).await
}

/// Returns what differs between the base and what a commit led to, and which of it others changed.
async fn changed_by_commit(
    ground: &Ground,
    landing: &Landing,
) -> Result<(Vec<ChangedName>, Vec<ChangedName>), VfsError> {
    let from = ground.untouched.base();
    let base = &ground.base;
    let to = &landing.snapshot.version;
    let changed_to = |to| {
        let from = from.number;
        base.changed_names(VersionRange { from, to })
    };
    let changed = changed_to(to.number).await?;
    // A head that had everything already is the work of others.
    let theirs = match to.id == landing.commit {
        true => to.parent,
        false => to.number,
    };
    let others = match theirs == from.number {
        true => Vec::new(),
        false => changed_to(theirs).await?,
    };
    Ok((changed, others))
}

fn drop_entries(kernel: &dyn KernelCache, entries: &[(u64, Name)]) {
    for (parent, name) in entries {
        kernel.drop_entry(*parent, name.as_bytes());
    }
}

fn drop_stale(kernel: &dyn KernelCache, outcome: &Outcome) {
    drop_entries(kernel, &outcome.entries);
    for (ino, name) in &outcome.directories {
        // It returns when no reply is on its way that could bring old entries back.
        kernel.drop_entry(*ino, name.as_bytes());
        kernel.drop_data(*ino);
    }
    for ino in outcome.stale_attributes() {
        kernel.drop_attributes(ino);
    }
}

/// Keeps for later mounts by which numbers committed objects are shown. Without that they only get
/// other numbers there, so a commit does not fail by it.
fn keep_numbers(overlay: &Overlay, inodes: &InodeTable, rows: &[NumberRow]) {
    if rows.is_empty() {
        return;
    }
    if let Err(error) = overlay.keep_numbers(rows, &inodes.former()) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            "the next mount shows other inode numbers for what was committed"
        );
    }
}

/// Tells the kernel something on a thread that serves no request.
async fn tell(spawner: &Spawner, work: impl FnOnce() + Send + 'static) -> Result<(), VfsError> {
    // The runtime ends, or the work panicked, which was told already.
    let told = spawner.spawn_blocking(work).await;
    told.map_err(|_| VfsError::Stale)
}
