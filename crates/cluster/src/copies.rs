//! What is to be done for one chunk.

use std::time::Instant;

use lfsfs_types::{ChunkId, NodeId};

use crate::membership::{Membership, Standing};

/// Who has a chunk, and how many should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkCopies {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub len: u64,
    /// How many nodes should have it; 0 if all are to drop it.
    pub wanted: usize,
    /// The nodes that have reported it.
    pub holders: Vec<NodeId>,
}

/// What is to be done for a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    /// Nothing.
    Enough,
    /// It has too few copies.
    TooFew {
        /// Nodes to copy it from.
        sources: Vec<NodeId>,
    },
    /// It has too few copies, and none can be read now.
    Unreachable,
    /// It has more copies than it should, all of them live.
    TooMany {
        /// The nodes that have one.
        holders: Vec<NodeId>,
    },
    /// Nothing lies in it, and nodes that answer have copies to drop.
    Unneeded {
        /// These nodes.
        holders: Vec<NodeId>,
    },
}

impl ChunkCopies {
    /// Returns what is to be done.
    pub fn assess(&self, members: &Membership, now: Instant) -> Assessment {
        let standings = self
            .holders
            .iter()
            .map(|id| (*id, members.standing(*id, now)));
        let standings: Vec<_> = standings.collect();
        let with = |wanted: &[Standing]| -> Vec<NodeId> {
            let found = standings.iter().filter(|(_, it)| wanted.contains(it));
            found.map(|(id, _)| *id).collect()
        };
        if self.wanted == 0 {
            let holders = with(&[Standing::Live, Standing::Draining]);
            return match holders.is_empty() {
                true => Assessment::Enough,
                false => Assessment::Unneeded { holders },
            };
        }
        let live = with(&[Standing::Live]);
        if live.len() > self.wanted {
            return Assessment::TooMany { holders: live };
        }
        if with(&[Standing::Live, Standing::Silent]).len() >= self.wanted {
            return Assessment::Enough;
        }
        match with(&[Standing::Live, Standing::Draining]) {
            sources if sources.is_empty() => Assessment::Unreachable,
            sources => Assessment::TooFew { sources },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn a_chunk_in_which_nothing_lies_is_dropped_by_all_that_answer() {
        let (mut members, now) = (table(&[("a", 1), ("b", 1)]), Instant::now());
        let nodes = [NodeId([1; 16]), NodeId([2; 16])];
        members.set_draining(nodes[1], true);
        let unneeded = |holders: &[NodeId]| ChunkCopies {
            chunk: ChunkId([7; 32]),
            len: 1000,
            wanted: 0,
            holders: holders.to_vec(),
        };
        let all = unneeded(&nodes).assess(&members, now);
        let holders = nodes.to_vec();
        assert_eq!(all, Assessment::Unneeded { holders });
        assert_eq!(unneeded(&[]).assess(&members, now), Assessment::Enough);
        let silent = unneeded(&[NodeId([3; 16])]).assess(&members, now);
        assert_eq!(silent, Assessment::Enough, "it does not answer");
    }
}
