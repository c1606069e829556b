//! The moment at which another version takes the place of the base.
//!
//! Everything that is needed is at hand before: nothing waits for the network here, and for the disk
//! only as any change does, for one write to the overlay's log. While it lasts, requests that want the
//! base, the overlay or the table of inodes wait for the base; then all three are of the new
//! version.

use std::sync::Arc;

use lfsfs_overlay::{BaseObject, Overlay, State};
use lfsfs_types::{VersionId, nodeid};

use super::commit_mapping::CommitMapping;
use super::delta::{Needs, VersionDelta};
use super::kept::{Kept, refuse_others};
use super::object_tracker::ObjectTracker;
use super::remap::{NotReady, Outcome, Remapper};
use crate::directory::VersionPlace;
use crate::verb_error::SwitchError;
use crate::writable::{Vfs, depth};

/// What makes another version the base.
#[derive(Debug)]
pub(in crate::writable) enum Step {
    /// A switch of a mount without changes but for these.
    Switch(Arc<Kept>),
    /// The end of a commit.
    Commit {
        commit: VersionId,
        mapping: Box<CommitMapping>,
    },
}

impl Vfs {
    /// Puts the next version in the place of the base, or changes nothing.
    pub(super) fn flip(&self, delta: &VersionDelta, step: &Step) -> Result<Outcome, NotReady> {
        let mut known = self.lock_known();
        let mut pinned = self.stack.lock();
        let closed = delta.pinned.base.inodes().close();
        let none = CommitMapping::default();
        let decide = |before: &State, after: &State| {
            let remapper = Remapper {
                delta,
                table: &self.inodes,
                known: &known,
                before,
                after,
                mapping: match step {
                    Step::Switch(_) => &none,
                    Step::Commit { mapping, .. } => mapping,
                },
                tracker: ObjectTracker::new(delta),
            };
            remapper.decide()
        };
        let mut outcome = match self.stack.overlay() {
            Some(overlay) => step_overlay(overlay, delta, step, decide)?,
            None => decide(&delta.pinned.untouched, &delta.next.untouched)?,
        };
        outcome.numbers = closed.replace(&outcome.changes, &outcome.former);
        for ino in &outcome.released {
            known.release(*ino);
        }
        let base = depth::longest_of(&delta.next.base);
        known.set_longest(match self.stack.overlay() {
            Some(overlay) => depth::longest_in(&overlay.state(), base),
            None => 0,
        });
        *pinned = Arc::clone(&delta.next);
        delta.next.base.inherit(&delta.pinned.base, &delta.dirs());
        Ok(outcome)
    }
}

fn step_overlay(
    overlay: &Overlay,
    delta: &VersionDelta,
    step: &Step,
    decide: impl FnOnce(&State, &State) -> Result<Outcome, NotReady>,
) -> Result<Outcome, NotReady> {
    let base = delta.next.untouched.base();
    match step {
        Step::Switch(kept) => {
            refuse_others(&overlay.state(), &kept.names)?;
            let switched = if kept.names.is_empty() {
                overlay.switch(base, decide)
            } else {
                overlay.switch_keeping(base, &kept.names, kept.directories(), decide)
            };
            // A program may have changed something since.
            switched.map_err(
                |not_ready| match refuse_others(&overlay.state(), &kept.names) {
                    Ok(()) => not_ready,
                    Err(error) => error.into(),
                },
            )
        }
        Step::Commit { commit, mapping } => {
            let mapped = |state: &State| mapped(state, delta, mapping);
            overlay.committed(*commit, base, mapping.directories(), mapped, decide)
        }
    }
}

/// Fails if there is something that no commit took.
pub(super) fn refuse_changes(state: &State) -> Result<(), SwitchError> {
    let sealed = state.sealed_state().map_or(0, State::changes_len);
    if state.is_unchanged() && state.sealed_commit().is_none() {
        return Ok(());
    }
    Err(SwitchError::HasChanges {
        count: state.changes_len().max(sealed) as u64,
    })
}

/// Returns what the inodes became that a commit took and that changed since.
fn mapped(
    state: &State,
    delta: &VersionDelta,
    mapping: &CommitMapping,
) -> Result<Vec<(u64, BaseObject)>, NotReady> {
    let mut needs = Needs::default();
    let mut mapped = Vec::new();
    for ino in state.changed_since_seal() {
        let Some(inode) = state.inode(ino) else {
            continue;
        };
        let place = mapping.place(ino, inode, delta, &mut needs)?;
        let Some(VersionPlace {
            dir: directory,
            name,
        }) = place
        else {
            continue;
        };
        let record = match &name {
            None if ino == nodeid::ROOT => Some(delta.next.base.snapshot().root.clone()),
            None => None,
            Some(name) => match delta.new_listing(directory, &mut needs) {
                Some(listing) => listing.record_of(name)?,
                None => continue,
            },
        };
        let object = record.map(|record| BaseObject {
            directory,
            name,
            record,
        });
        mapped.extend(object.map(|object| (ino, object)));
    }
    if needs.is_empty() {
        Ok(mapped)
    } else {
        Err(needs.into())
    }
}
