//! The moment at which another version takes the place of the base.
//!
//! Everything that is needed is at hand before: nothing waits for the network here, and for the disk
//! only as any change does, for one write to the overlay's log. While it lasts, requests that want the
//! base, the overlay or the table of inodes wait for the base; then all three are of the new
//! version.

use std::sync::Arc;

use lfsfs_overlay::{BaseObject, Overlay, State};
use lfsfs_types::{VersionId, nodeid};

use super::drift::{Drift, Needs};
use super::fates::{Fates, Halt, Outcome};
use super::landings::Landings;
use super::successors::Successors;
use crate::verb_error::SwitchError;
use crate::writable::{WritableVfs, depth};

/// What makes another version the base.
#[derive(Debug)]
pub(in crate::writable) enum Step {
    /// A switch of a mount without changes.
    Switch,
    /// The end of a commit.
    Land {
        commit: VersionId,
        landings: Box<Landings>,
    },
}

impl WritableVfs {
    /// Puts the next version in the place of the base, or changes nothing.
    pub(super) fn flip(&self, drift: &Drift, step: &Step) -> Result<Outcome, Halt> {
        let mut known = self.lock_known();
        let mut pinned = self.stack.lock();
        let closed = drift.pinned.base.inodes().close();
        let none = Landings::default();
        let decide = |before: &State, after: &State| {
            let fates = Fates {
                drift,
                table: &self.inodes,
                known: &known,
                states: (before, after),
                landings: match step {
                    Step::Switch => &none,
                    Step::Land { landings, .. } => landings,
                },
                successors: Successors::new(drift),
            };
            fates.decide()
        };
        let mut outcome = match self.stack.overlay() {
            Some(overlay) => step_overlay(overlay, drift, step, decide)?,
            None => decide(&drift.pinned.untouched, &drift.next.untouched)?,
        };
        outcome.numbers = closed.replace(&outcome.changes, &outcome.former);
        for ino in &outcome.released {
            known.release(*ino);
        }
        let base = depth::longest_of(&drift.next.base);
        known.set_longest(match self.stack.overlay() {
            Some(overlay) => depth::longest_in(&overlay.state(), base),
            None => 0,
        });
        *pinned = Arc::clone(&drift.next);
        drift.next.base.inherit(&drift.pinned.base, &drift.dirs());
        Ok(outcome)
    }
}

fn step_overlay(
    overlay: &Overlay,
    drift: &Drift,
    step: &Step,
    decide: impl FnOnce(&State, &State) -> Result<Outcome, Halt>,
) -> Result<Outcome, Halt> {
    let base = drift.next.untouched.base();
    match step {
        Step::Switch => {
            refuse_changes(&overlay.state())?;
            let switched = overlay.switch(base, decide);
            // A program may have changed something since.
            switched.map_err(|halt| match refuse_changes(&overlay.state()) {
                Ok(()) => halt,
                Err(error) => error.into(),
            })
        }
        Step::Land { commit, landings } => {
            let end = (base, landings.directories());
            let landed = |state: &State| landed(state, drift, landings);
            overlay.committed(*commit, end, landed, decide)
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
fn landed(
    state: &State,
    drift: &Drift,
    landings: &Landings,
) -> Result<Vec<(u64, BaseObject)>, Halt> {
    let mut needs = Needs::default();
    let mut landed = Vec::new();
    for ino in state.changed_since_seal() {
        let Some(inode) = state.inode(ino) else {
            continue;
        };
        let place = landings.place(ino, inode, drift, &mut needs)?;
        let Some((directory, name)) = place else {
            continue;
        };
        let record = match &name {
            None if ino == nodeid::ROOT => Some(drift.next.base.snapshot().root.clone()),
            None => None,
            Some(name) => match drift.new_listing(directory, &mut needs) {
                Some(listing) => listing.record_of(name)?,
                None => continue,
            },
        };
        let object = record.map(|record| BaseObject {
            directory,
            name,
            record,
        });
        landed.extend(object.map(|object| (ino, object)));
    }
    if needs.is_empty() {
        Ok(landed)
    } else {
        Err(needs.into())
    }
}
