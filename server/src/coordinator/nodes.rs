//! Datanodes on the wire, and what operators do with them.

use std::sync::atomic::Ordering;

use lfsfs_cluster::{Member, MemberState, Summary};
use lfsfs_metadata::Node;
use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::NodeId;

use super::{Coordinator, restored};
use crate::blocking::IntoFault as _;

/// Returns a node as the metadata knows it.
pub(super) fn member_of(node: &Node) -> Member {
    Member {
        id: node.id,
        address: node.address.clone(),
        generation: node.generation,
        zone: node.zone.clone(),
        capacity: node.figures.capacity,
        used: node.figures.used,
        chunks: node.figures.chunks,
        // Not kept: the node tells when it registers.
        chunk_bytes: 0,
        is_draining: node.is_draining,
        state: MemberState::Offline,
        seen: node.seen,
    }
}

/// Returns what the wire says of a node.
pub(super) fn message(member: &Member) -> v1::NodeInfo {
    let state = match member.state {
        MemberState::Available => v1::NodeState::Available,
        MemberState::Suspect => v1::NodeState::Suspect,
        MemberState::Offline => v1::NodeState::Offline,
    };
    v1::NodeInfo {
        id: member.id.as_bytes().to_vec(),
        address: member.address.clone(),
        capacity_bytes: member.capacity,
        used_bytes: member.used,
        state: state.into(),
        generation: member.generation,
        last_seen: Some(member.seen.into()),
        chunks: member.chunks,
        chunk_bytes: member.chunk_bytes,
        zone: member.zone.clone(),
        draining: member.is_draining,
    }
}

pub(super) fn messages(members: &[Member]) -> Vec<v1::NodeInfo> {
    members.iter().map(message).collect()
}

pub(super) fn node_id(bytes: &[u8]) -> Result<NodeId, Fault> {
    id("node id", bytes, NodeId::from_slice).map_err(ProtocolError::into_fault)
}

fn unknown(node: NodeId) -> Fault {
    let text = format!("there is no datanode {node}");
    Fault::new(FaultKind::Invalid, text)
}

/// Notes that a node is to be taken away, or not any more.
pub(super) async fn drain(
    coordinator: &Coordinator,
    request: v1::DrainNodeRequest,
) -> Result<v1::DrainNodeResponse, Fault> {
    let node = node_id(&request.node_id)?;
    let is_draining = request.draining;
    let found = coordinator
        .metadata(move |metadata| metadata.set_draining(node, is_draining))
        .await?;
    if found.is_none() {
        return Err(unknown(node));
    }
    coordinator.cluster().set_draining(node, is_draining);
    tracing::info!(%node, is_draining, "an operator drains a datanode, or does so no more");
    Ok(v1::DrainNodeResponse {})
}

/// Forgets a node.
pub(super) async fn remove(
    coordinator: &Coordinator,
    request: v1::RemoveNodeRequest,
) -> Result<v1::RemoveNodeResponse, Fault> {
    let node = node_id(&request.node_id)?;
    refuse_heard(coordinator, node)?;
    if !request.force {
        let only = coordinator
            .metadata(move |metadata| metadata.only_copies(node))
            .await?;
        if only > 0 {
            let text = format!(
                "{only} chunks have their only copy on datanode {node}; start it and drain it, or \
                 force its removal and lose them"
            );
            return Err(Fault::new(FaultKind::Invalid, text));
        }
    }
    let lost = coordinator
        .metadata(move |metadata| metadata.remove_node(node))
        .await?;
    coordinator.cluster().remove(node);
    let lost = lost.ok_or_else(|| unknown(node))?;
    tracing::warn!(%node, lost, "an operator removed a datanode");
    Ok(v1::RemoveNodeResponse { lost })
}

impl Coordinator {
    /// Returns the nodes whose copies are a reason to delete another one: they answer, and have told what they
    /// lost.
    pub(super) fn counted_on(&self) -> Vec<NodeId> {
        let members = {
            let cluster = self.cluster();
            let live = cluster.live(self.clock.monotonic());
            let found = live.iter().filter_map(|id| cluster.members().find(*id));
            found.map(|it| (it.id, it.generation)).collect::<Vec<_>>()
        };
        let has_compared = |(id, generation): &(_, _)| self.compared.has(*id, *generation);
        let counted = members.into_iter().filter(has_compared);
        counted.map(|(id, _)| id).collect()
    }
}

/// A node that is heard would register again.
fn refuse_heard(coordinator: &Coordinator, node: NodeId) -> Result<(), Fault> {
    let now = coordinator.clock.monotonic();
    let mut cluster = coordinator.cluster();
    cluster.tick(now);
    let member = cluster.members().find(node);
    if member.is_some_and(|member| member.state != MemberState::Offline) {
        let text = format!(
            "datanode {node} still runs, or did a moment ago: stop it, and wait until it is offline"
        );
        return Err(Fault::new(FaultKind::Invalid, text));
    }
    Ok(())
}

/// Tells how the cluster is.
pub(super) fn status(coordinator: &Coordinator) -> v1::GetClusterStatusResponse {
    let now = coordinator.clock.monotonic();
    let mut cluster = coordinator.cluster();
    cluster.tick(now);
    let repairs = cluster.repairs();
    let scan = |(summary, at): (Summary, std::time::Instant)| v1::ChunkScan {
        chunks: summary.chunks,
        under_replicated: summary.too_few,
        missing: summary.unreachable,
        over_replicated: summary.too_many,
        age_secs: now.saturating_duration_since(at).as_secs(),
    };
    v1::GetClusterStatusResponse {
        cluster_id: coordinator.metadata.cluster_id().as_bytes().to_vec(),
        nodes: messages(&cluster.members().all()),
        copies: coordinator.replication.copies,
        copies_min: coordinator.replication.copies_min,
        scan: cluster.summary().map(scan),
        waiting: repairs.waiting as u64,
        copying: repairs.under_way as u64,
        waiting_bytes: repairs.waiting_bytes,
        copied: repairs.copied,
        copied_bytes: repairs.copied_bytes,
        failed: repairs.failed,
        scanning: cluster.is_scanning(),
        to_move: repairs.to_move as u64,
        moved: repairs.moved,
        restored: coordinator.restored.map(restored::message),
        found: coordinator.found.load(Ordering::Relaxed),
    }
}
