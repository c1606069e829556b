//! A datanode, in words and in JSON.

use lfsfs_client::{ClusterNode, NodeState};
use serde::Serialize;

use crate::output;

/// A datanode in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonNode {
    id: String,
    address: String,
    zone: String,
    state: &'static str,
    draining: bool,
    generation: u64,
    chunks: u64,
    stored_bytes: u64,
    used_bytes: u64,
    capacity_bytes: u64,
    last_seen: String,
}

impl JsonNode {
    pub(crate) fn new(node: &ClusterNode) -> Self {
        Self {
            id: node.id.to_string(),
            address: node.address.clone(),
            zone: node.zone.clone(),
            state: state_word(node),
            draining: node.is_draining,
            generation: node.generation,
            chunks: node.chunks,
            stored_bytes: node.stored_bytes,
            used_bytes: node.used_bytes,
            capacity_bytes: node.capacity_bytes,
            last_seen: output::time(node.last_seen),
        }
    }
}

/// Returns one word for a datanode. That it does not answer matters more than that it drains.
pub(crate) const fn state_word(node: &ClusterNode) -> &'static str {
    match node.state {
        NodeState::Available if node.is_draining => "draining",
        NodeState::Available => "available",
        NodeState::Suspect => "suspect",
        NodeState::Offline => "offline",
    }
}

/// Returns all that is to be said of the state.
pub(super) fn state(node: &ClusterNode) -> String {
    match state_word(node) {
        word @ ("suspect" | "offline") if node.is_draining => format!("{word}, draining"),
        word => word.to_owned(),
    }
}

/// Returns which part of a whole is used.
pub(crate) fn percent(used: u64, capacity: u64) -> String {
    if capacity == 0 {
        return "-".to_owned();
    }
    let percent = u128::from(used) * 100 / u128::from(capacity);
    format!("{percent} %")
}
