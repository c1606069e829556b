//! How much the changes take, and how much they may.
//!
//! What counts is what the changes are: the bytes of files that the log holds, and a fixed length for each
//! object, and what several files share for each of them. What the log has besides is dead, and goes with the next compaction; so a program that writes and
//! removes again does not run into a limit that its files never reach.

use std::sync::atomic::Ordering;

use crate::error::OverlayError;
use crate::operation::{Change, Operation};
use crate::overlay::Overlay;
use crate::state::State;

/// What an object takes in a checkpoint, roughly.
pub(super) const INODE_LEN: u64 = 256;
/// Below this much, compaction is not worth a checkpoint.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024 * 1024;

impl Overlay {
    /// Returns how many bytes the changes may still take; `None` if there is no limit but the disk.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        let len = len_of(&self.view().state);
        Some(self.size_max?.saturating_sub(len))
    }

    /// Returns true if more than half of the log is dead and that is worth a compaction.
    pub fn should_compact(&self) -> Result<bool, OverlayError> {
        let stats = self.stats()?;
        let half_of_limit = self.size_max.map(|len| len / 2);
        if stats.segment_bytes < SEGMENT_BYTES_MIN.min(half_of_limit.unwrap_or(u64::MAX)) {
            return Ok(false);
        }
        let inodes = stats.inodes as u64 * INODE_LEN;
        let is_worth_it = |content| stats.segment_bytes / 2 > content + inodes;
        let may_share = self.may_share.load(Ordering::Acquire);
        Ok(is_worth_it(stats.content_bytes)
            || may_share && is_worth_it(self.distinct_content_bytes()))
    }

    /// Returns how many bytes of the log files have, each once: the state counts those that several files have
    /// for each of them.
    fn distinct_content_bytes(&self) -> u64 {
        // Set again by what is shared from here on.
        self.may_share.store(false, Ordering::Release);
        let view = self.view();
        let state = &view.state;
        let distinct = state.segments_in_use().values().sum();
        if state.sealed.is_some() || distinct != state.log_bytes {
            self.may_share.store(true, Ordering::Release);
        }
        distinct
    }

    /// Fails if changes would take more than they may. What takes nothing is never refused, so that
    /// room can be made.
    pub(super) fn check_room(
        &self,
        state: &State,
        changes: &[Change<'_>],
    ) -> Result<(), OverlayError> {
        let Some(len_max) = self.size_max else {
            return Ok(());
        };
        let most: u64 = changes.iter().map(most_growth).sum();
        if most == 0 || len_of(state).saturating_add(most) <= len_max {
            return Ok(());
        }
        let growth: u64 = changes.iter().map(|change| growth(state, change)).sum();
        if growth == 0 || len_of(state).saturating_add(growth) <= len_max {
            return Ok(());
        }
        Err(OverlayError::SizeLimit { len_max })
    }
}

fn len_of(state: &State) -> u64 {
    state.log_bytes + state.inodes.size() as u64 * INODE_LEN
}

/// Returns how much a change takes at most.
fn most_growth(change: &Change<'_>) -> u64 {
    match change.operation {
        Operation::Create { .. } => INODE_LEN,
        Operation::Write { .. } => change.data.len() as u64,
        Operation::Share { from, .. } => from.len,
        _ => 0,
    }
}

/// Returns how much more a change takes than what it replaces.
fn growth(state: &State, change: &Change<'_>) -> u64 {
    let logged = |ino, offset, len| {
        let file = state.inode(ino).and_then(|inode| inode.file());
        file.map_or(0, |file| file.log_bytes_within(offset, len))
    };
    let most = most_growth(change);
    match change.operation {
        Operation::Write { ino, offset, .. } => most - logged(ino, offset, most),
        Operation::Share { from, .. } => logged(from.ino, from.offset, from.len),
        _ => most,
    }
}
