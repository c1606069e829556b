//! Which datanodes have told what they lost.
//!
//! Rows say that a node has a chunk. Whether it still does is known once the node has compared them with its
//! disk, which it does each time it registers. Until then its copies are no reason to delete those of others:
//! after a restore the rows may be older than what happened since, and a disk may have lost files while its
//! node was stopped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::NodeId;

/// The nodes that have told, with the generation under which they did.
#[derive(Debug, Default)]
pub(super) struct Compared(Mutex<HashMap<NodeId, u64>>);

impl Compared {
    /// Notes what a node says in its heartbeat. Returns true if it has told what it lost, and had not before.
    pub(super) fn note(&self, node: NodeId, generation: u64, has_compared: bool) -> bool {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if has_compared {
            nodes.insert(node, generation) != Some(generation)
        } else {
            nodes.remove(&node);
            false
        }
    }

    /// Returns whether a node has told what it lost, under this generation.
    pub(super) fn has(&self, node: NodeId, generation: u64) -> bool {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&node) == Some(&generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_under_the_registration_in_which_it_compared() {
        let compared = Compared::default();
        let node = NodeId([1; 16]);
        assert!(!compared.has(node, 5));
        assert!(compared.note(node, 5, true), "it is new");
        assert!(!compared.note(node, 5, true));
        assert!(compared.has(node, 5));
        assert!(!compared.has(node, 6), "it registered again");
        assert!(!compared.note(node, 6, false));
        assert!(!compared.has(node, 5));
    }
}
