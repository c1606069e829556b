//! Copies that would be better on another node, such as one that has just joined.
//!
//! A copy moves from a fuller node to an emptier one if the used parts of both differ by more than a bound,
//! and still do once it has moved. So each move makes the difference smaller, and moving comes to an end. A
//! move is a copy more than there should be; then the chunk gives up one as any chunk with too many does.

use std::time::Instant;

use lfsfs_types::NodeId;

use crate::copies::ChunkCopies;
use crate::member::Heard;
use crate::membership::{Membership, Standing};

/// How finely used parts are compared.
const WHOLE: u128 = 1_000_000;

/// The used part of a node, in millionths of what it may use.
fn used_part(heard: &Heard, further: u64) -> u128 {
    let member = &heard.member;
    let used = u128::from(member.used) + u128::from(heard.promised) + u128::from(further);
    used * WHOLE / u128::from(member.capacity.max(1))
}

/// By how much used parts may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    percent: u8,
}

impl Tolerance {
    /// With this one nothing moves.
    pub const ANY: Self = Self { percent: 100 };

    /// Creates one of so many hundredths.
    pub const fn percent(percent: u8) -> Self {
        Self { percent }
    }

    fn part(self) -> u128 {
        u128::from(self.percent) * WHOLE / 100
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self::percent(10)
    }
}

/// A copy that would be better elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// The node that gets one.
    pub(crate) to: NodeId,
    /// The fuller one, which gives up its own.
    pub(crate) from: NodeId,
}

impl Membership {
    /// Returns whether any copy may be better elsewhere: quick to ask once for many chunks.
    pub(crate) fn is_uneven(&self, tolerance: Tolerance, now: Instant) -> bool {
        let parts = || self.takers(now).map(|heard| used_part(heard, 0));
        match (parts().min(), parts().max()) {
            (Some(least), Some(most)) => most - least > tolerance.part(),
            _ => false,
        }
    }

    /// Returns where a copy of a chunk that has as many as it should would be better.
    pub(crate) fn better_place(
        &self,
        copies: &ChunkCopies,
        tolerance: Tolerance,
        now: Instant,
    ) -> Option<Move> {
        let is_live = |id: &&NodeId| self.standing(**id, now) == Standing::Live;
        if copies.holders.iter().filter(is_live).count() != copies.wanted {
            return None;
        }
        let live: Vec<_> = copies.holders.iter().filter(is_live).copied().collect();
        let with = |heard: &Heard| {
            let to = heard.member.id;
            if copies.holders.contains(&to) || heard.free() < copies.len {
                return None;
            }
            let all: Vec<_> = live.iter().copied().chain([to]).collect();
            let gives = self.heard(self.to_give_up(&all)?)?;
            let is_better = used_part(gives, 0) > used_part(heard, copies.len) + tolerance.part();
            let from = gives.member.id;
            is_better.then_some((used_part(heard, 0), Move { to, from }))
        };
        let better = self.takers(now).filter_map(with);
        let best = better.min_by_key(|(part, _)| *part);
        best.map(|(_, it)| it)
    }

    /// Returns the holder that should give up its copy if there are too many: one of those that share a
    /// zone, the fullest.
    pub(crate) fn to_give_up(&self, holders: &[NodeId]) -> Option<NodeId> {
        let known: Vec<_> = holders.iter().filter_map(|id| self.heard(*id)).collect();
        let shares = |one: &Heard| {
            let in_zone = |it: &&&Heard| it.member.zone == one.member.zone;
            known.iter().filter(in_zone).count()
        };
        let chosen = known
            .iter()
            .max_by_key(|heard| (shares(heard), used_part(heard, 0)));
        chosen.map(|heard| heard.member.id)
    }
}

#[cfg(test)]
mod tests;
