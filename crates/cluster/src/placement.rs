//! Where a chunk goes.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use lfsfs_types::NodeId;
use rand::{Rng, RngExt as _};

use crate::member::{Heard, Member};
use crate::membership::Membership;

/// How nodes are chosen for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Those of which the least part is used.
    LeastUsed,
    /// At random, by their free bytes.
    WeightedRandom,
    /// At random, by their free bytes, one in each zone where there are enough zones.
    #[default]
    ZoneAware,
}

/// The names that configuration has for them.
const NAMES: [(&str, Placement); 3] = [
    ("least-used", Placement::LeastUsed),
    ("weighted-random", Placement::WeightedRandom),
    ("zone-aware", Placement::ZoneAware),
];

/// A name that no placement has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPlacement;

impl fmt::Display for UnknownPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected least-used, weighted-random or zone-aware")
    }
}

impl std::error::Error for UnknownPlacement {}

impl FromStr for Placement {
    type Err = UnknownPlacement;

    fn from_str(text: &str) -> Result<Self, UnknownPlacement> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, placement)| *placement)
            .ok_or(UnknownPlacement)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, placement)| placement == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// What a place is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// How many nodes, at most.
    pub count: usize,
    /// Bytes that each of them must have free.
    pub len: u64,
    /// Nodes that have the chunk already.
    pub holders: &'a [NodeId],
}

impl Membership {
    /// Returns nodes that a chunk can go to, the best first; fewer than wanted if there are not more.
    pub fn choose(
        &self,
        placement: Placement,
        wanted: Wanted<'_>,
        random: &mut impl Rng,
        now: Instant,
    ) -> Vec<Member> {
        let fits = |heard: &&Heard| {
            heard.free() >= wanted.len && !wanted.holders.contains(&heard.member.id)
        };
        let mut open: Vec<_> = self.takers(now).filter(fits).collect();
        let zones = wanted.holders.iter().filter_map(|id| self.find(*id));
        let mut zones: Vec<_> = zones.map(|member| member.zone.as_str()).collect();
        let mut chosen = Vec::new();
        while chosen.len() < wanted.count && !open.is_empty() {
            let at = match placement {
                Placement::LeastUsed => least_used(&open),
                Placement::WeightedRandom => by_weight(&open, |_| true, random),
                Placement::ZoneAware => {
                    let uses = |zone: &str| zones.iter().filter(|it| **it == zone).count();
                    let fewest = open.iter().map(|heard| uses(&heard.member.zone)).min();
                    by_weight(
                        &open,
                        |heard| Some(uses(&heard.member.zone)) == fewest,
                        random,
                    )
                }
            };
            let heard = open.swap_remove(at);
            zones.push(&heard.member.zone);
            chosen.push(heard.member.clone());
        }
        chosen
    }
}

/// Returns the index of the node of which the least part is used.
fn least_used(open: &[&Heard]) -> usize {
    // Parts of a million, so that whole numbers do.
    let part = |heard: &Heard| {
        let free = u128::from(heard.free());
        1_000_000 - free * 1_000_000 / u128::from(heard.member.capacity.max(1))
    };
    let least = open.iter().enumerate().min_by_key(|(_, heard)| part(heard));
    least.map_or(0, |(at, _)| at)
}

/// Returns the index of a node that `may_be`, at random, by its free bytes.
fn by_weight(open: &[&Heard], may_be: impl Fn(&Heard) -> bool, random: &mut impl Rng) -> usize {
    let weight = |heard: &Heard| match may_be(heard) {
        true => u128::from(heard.free()) + 1,
        false => 0,
    };
    let total: u128 = open.iter().map(|heard| weight(heard)).sum();
    let mut point = random.random_range(0..total.max(1));
    for (at, heard) in open.iter().enumerate() {
        let weight = weight(heard);
        if point < weight {
            return at;
        }
        point -= weight;
    }
    0
}

#[cfg(test)]
mod tests;
