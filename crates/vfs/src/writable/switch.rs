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

mod commit_mapping;
mod delta;
mod flip;
mod kept;
mod object_tracker;
mod remap;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use lfsfs_overlay::{CommitIds, NumberRow, Overlay};
use lfsfs_remote::{ChangedName, Snapshot, VersionRange};
use lfsfs_types::{Name, VersionId};

use self::commit_mapping::CommitMapping;
use self::delta::{Needs, VersionDelta};
use self::flip::Step;
use self::kept::{Kept, refuse_others};
use self::remap::{NotReady, Outcome, known_directory, slots};
use crate::blocking::blocking;
use crate::error::VfsError;
use crate::inode::{DirectoryLookup, InodeTable};
use crate::kernel::KernelCache;
use crate::stack::PinnedBase;
use crate::verb_error::SwitchError;
use crate::writable::{Exclusive, SYNC, Vfs};

const TELL: &str = "telling the kernel";

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
pub(crate) struct PublishedCommit {
    /// The seal that it was made of.
    pub(crate) commit: VersionId,
    /// The version that has what it took: the one that it made, or the head if that had it already.
    pub(crate) snapshot: Snapshot,
    /// The ids that new objects got.
    pub(crate) ids: CommitIds,
}

/// A switch whose changed names are known.
#[derive(Debug)]
pub struct PreparedSwitch<'a> {
    vfs: &'a Vfs,
    pinned: Arc<PinnedBase>,
    next: Arc<PinnedBase>,
    changed: Vec<ChangedName>,
    /// What is ignored stays.
    kept: Arc<Kept>,
}

impl Exclusive<'_> {
    /// Asks which names a switch to another version of the same project changes, up or down.
    ///
    /// Refused with [`SwitchError::HasChanges`] if there is anything that no commit took and that is not ignored,
    /// and with [`SwitchError::InTheWay`] if something ignored cannot stay where it is.
    pub async fn prepare_switch(&self, to: Snapshot) -> Result<PreparedSwitch<'_>, SwitchError> {
        let vfs = self.vfs;
        self.give_up_draft().await?;
        let pinned = vfs.stack.pin();
        let from = pinned.base.snapshot();
        if from.project.id != to.project.id {
            return Err(SwitchError::OtherProject);
        }
        let changed = if from.version.id == to.version.id {
            Vec::new()
        } else {
            let range = VersionRange {
                from: from.version.number,
                to: to.version.number,
            };
            pinned.base.changed_names(range).await?
        };
        let next = next_base(&pinned, &to);
        let kept = Kept::of(vfs, &next.base).await?;
        Ok(PreparedSwitch {
            vfs,
            next,
            pinned,
            changed,
            kept: Arc::new(kept),
        })
    }

    /// Ends a commit: the mount goes on from the version that has what it took.
    pub(crate) async fn end_commit(
        &self,
        published: &PublishedCommit,
        kernel: &Arc<dyn KernelCache>,
    ) -> Result<(), SwitchError> {
        self.vfs.end_commit(published, kernel).await
    }
}

impl PreparedSwitch<'_> {
    /// Returns those of the changed names that `matter` which the switch would make stand for another
    /// object: the kernel drops them, with what is mounted below.
    pub async fn replaced(
        &self,
        matter: impl Fn(&ChangedName) -> bool,
    ) -> Result<Vec<ChangedName>, SwitchError> {
        let mut names = self.changed.clone();
        names.retain(matter);
        let mut delta = self.delta(names.clone());
        loop {
            let mut needs = Needs::default();
            let mut replaced = HashSet::new();
            for dir in delta.dirs() {
                let visible = delta.visible(dir, &mut needs)?.into_iter();
                replaced.extend(visible.map(|name| (dir, name.clone())));
            }
            if needs.is_empty() {
                names.retain(|it| {
                    let place = it.name.clone().map(|name| (it.dir, name));
                    place.is_some_and(|place| replaced.contains(&place))
                });
                return Ok(names);
            }
            delta.load(needs).await?;
        }
    }

    /// Moves the mount to the version.
    ///
    /// Refused with [`SwitchError::HasChanges`] if something was changed meanwhile; then, and on every
    /// other error, the mount shows what it showed.
    pub async fn run(&self, kernel: &Arc<dyn KernelCache>) -> Result<SwitchReport, SwitchError> {
        refuse_others(self.vfs.stack.view().state(), &self.kept.names)?;
        if self.pinned.untouched.base() == self.next.untouched.base() {
            return Ok(SwitchReport::default());
        }
        let delta = self.delta(self.changed.clone());
        let step = Step::Switch(Arc::clone(&self.kept));
        self.vfs.replace(delta, step, kernel).await
    }

    fn delta(&self, changed: Vec<ChangedName>) -> VersionDelta {
        VersionDelta::new(
            Arc::clone(&self.pinned),
            Arc::clone(&self.next),
            changed,
            None,
        )
    }
}

impl Vfs {
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
        let view = self.stack.view();
        let upper = view.upper(parent).and_then(|it| it.directory()?.base);
        let dir = upper.or_else(|| match view.base().inodes().directory(parent) {
            Ok(DirectoryLookup::Directory(directory)) => Some(directory.dir),
            _ => None,
        });
        dir.is_none_or(|dir| !self.drain.covers(dir))
    }

    /// Ends a commit: the mount goes on from the version that has what it took, and shows what
    /// others changed in it. Numbers and caches are kept; on return this survives a power loss.
    async fn end_commit(
        &self,
        published: &PublishedCommit,
        kernel: &Arc<dyn KernelCache>,
    ) -> Result<(), SwitchError> {
        let overlay = self.stack.overlay();
        let sealed = overlay.and_then(|overlay| Some((overlay, overlay.sealed()?)));
        let (overlay, sealed) =
            sealed.ok_or_else(|| VfsError::internal("a commit ends that has no seal"))?;
        let pinned = self.stack.pin();
        let (changed, others) = changed_by_commit(&pinned, published).await?;
        let next = next_base(&pinned, &published.snapshot);
        let delta = VersionDelta::new(pinned, next, changed, Some(others));
        let step = Step::Commit {
            commit: published.commit,
            mapping: Box::new(CommitMapping::new(&sealed, published.ids.clone())),
        };
        self.replace(delta, step, kernel).await?;
        let overlay = Arc::clone(overlay);
        Ok(blocking(self.base().spawner(), SYNC, move || overlay.sync()).await??)
    }

    async fn replace(
        &self,
        mut delta: VersionDelta,
        step: Step,
        kernel: &Arc<dyn KernelCache>,
    ) -> Result<SwitchReport, SwitchError> {
        // What is known is loaded before anything is drained, and again what gets known meanwhile.
        self.entries(&mut delta).await?;
        let drained = self.drain.begin(delta.drained());
        let entries = self.entries(&mut delta).await?;
        let mut report = SwitchReport {
            changed: delta.changed().count() as u64,
            entries: entries.len() as u64,
            ..SwitchReport::default()
        };
        let cache = Arc::clone(kernel);
        blocking(self.base().spawner(), TELL, move || {
            drop_entries(&*cache, &entries);
        })
        .await?;
        let outcome = loop {
            match self.flip(&delta, &step) {
                Ok(outcome) => break outcome,
                Err(NotReady::Needs(needs)) => delta.load(needs).await?,
                Err(NotReady::Failed(error)) => return Err(error),
            }
        };
        report.entries += outcome.entries.len() as u64;
        report.directories = outcome.directories.len() as u64;
        report.attributes = outcome.stale_attributes().count() as u64;
        let cache = Arc::clone(kernel);
        let (overlay, inodes) = (self.stack.overlay().cloned(), Arc::clone(&self.inodes));
        // Goes to its end even if the caller is dropped.
        blocking(self.base().spawner(), TELL, move || {
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
    async fn entries(&self, delta: &mut VersionDelta) -> Result<Vec<(u64, Name)>, VfsError> {
        loop {
            let mut needs = Needs::default();
            let entries = self.known_entries(delta, &mut needs)?;
            if needs.is_empty() {
                return Ok(entries);
            }
            delta.load(needs).await?;
        }
    }

    fn known_entries(
        &self,
        delta: &VersionDelta,
        needs: &mut Needs,
    ) -> Result<Vec<(u64, Name)>, VfsError> {
        let view = self.stack.view();
        let project = &delta.pinned.base.snapshot().project.id;
        let mut entries = Vec::new();
        for dir in delta.drained() {
            let Some(ino) = known_directory(project, dir, view.state(), &self.inodes) else {
                continue;
            };
            let covered = slots(view.state(), ino);
            let visible = delta.visible(dir, needs)?.into_iter();
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

fn next_base(pinned: &PinnedBase, snapshot: &Snapshot) -> Arc<PinnedBase> {
    Arc::new(PinnedBase::new(pinned.base.next_version(snapshot.clone())))
}

/// Returns what differs between the base and what a commit led to, and which of it others changed.
async fn changed_by_commit(
    pinned: &PinnedBase,
    published: &PublishedCommit,
) -> Result<(Vec<ChangedName>, Vec<ChangedName>), VfsError> {
    let from = pinned.untouched.base();
    let base = &pinned.base;
    let to = &published.snapshot.version;
    let changed_to = |to| {
        let from = from.number;
        base.changed_names(VersionRange { from, to })
    };
    let changed = changed_to(to.number).await?;
    // A head that had everything already is the work of others.
    let theirs = if to.id == published.commit {
        to.parent
    } else {
        to.number
    };
    let others = if theirs == from.number {
        Vec::new()
    } else {
        changed_to(theirs).await?
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
