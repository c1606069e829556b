//! The calls for operators of a cluster: its datanodes, and the copies of its chunks. Only verbs ask for
//! them, so they are no part of the seam.

use std::future::Future;

use lfsfs_proto::convert::{ProtocolError, id, required};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{ClusterId, NodeId, Timestamp};
use tonic::{Response, Status};

use crate::connection::Wire;
use crate::fault::Checked as _;
use crate::grpc::OneServer;
use crate::servers::Servers;

/// Whether a datanode answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// The coordinator heard it a moment ago.
    Available,
    /// It has been silent for so long that it gets no new chunks.
    Suspect,
    /// It has been silent for so long that readers are not sent to it.
    Offline,
}

/// A datanode, as the coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its identity, kept on its disk.
    pub id: NodeId,
    /// host:port where clients reach it.
    pub address: String,
    /// What it shares with nodes that fail together with it; empty if its operator named nothing.
    pub zone: String,
    /// Whether it answers.
    pub state: NodeState,
    /// Whether an operator wants to take it away.
    pub is_draining: bool,
    /// Raised by each registration.
    pub generation: u64,
    /// Chunks that it has.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub stored_bytes: u64,
    /// Bytes that it may use.
    pub capacity_bytes: u64,
    /// Bytes of those that are in use.
    pub used_bytes: u64,
    /// When its last heartbeat came.
    pub last_seen: Timestamp,
}

/// What a scan of all chunks found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkScan {
    /// Chunks.
    pub chunks: u64,
    /// Those with fewer copies than they should have.
    pub under_replicated: u64,
    /// Those that no node that answers has.
    pub missing: u64,
    /// Those with more copies than they should have.
    pub over_replicated: u64,
    /// How long ago it ended.
    pub age_secs: u64,
}

/// What repair does, and did since the coordinator started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairStatus {
    /// Chunks that wait for a copy.
    pub waiting: u64,
    /// Chunks that wait to move from a full datanode to an emptier one.
    pub to_move: u64,
    /// Chunks that are being copied.
    pub copying: u64,
    /// Bytes of all these.
    pub waiting_bytes: u64,
    /// Chunks that were copied, those that moved too.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Chunks that moved.
    pub moved: u64,
    /// Chunks whose copy failed.
    pub failed: u64,
}

/// From which backup the metadata of a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredFrom {
    /// When the backup was begun. Versions that were published later are gone.
    pub backup: Timestamp,
    /// When it was restored.
    pub restored: Timestamp,
}

/// A cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its random id.
    pub id: ClusterId,
    /// All of its datanodes.
    pub nodes: Vec<ClusterNode>,
    /// Copies of each chunk of a project that asks for nothing else.
    pub copies: u32,
    /// Copies that a write waits for.
    pub copies_min: u32,
    /// What the last scan found; none before the first.
    pub scan: Option<ChunkScan>,
    /// What repair does.
    pub repair: RepairStatus,
    /// Whether a scan is under way.
    pub is_scanning: bool,
    /// Set if the metadata is that of a backup.
    pub restored: Option<RestoredFrom>,
    /// Chunks that datanodes had and the metadata did not know, since the coordinator started. They are kept.
    pub found: u64,
}

/// The calls for operators.
#[derive(Debug, Clone)]
pub struct Nodes {
    pub(crate) servers: Servers,
    retry: Retry,
}

impl Nodes {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            servers: servers.clone(),
            retry,
        }
    }

    /// Returns all datanodes in the order of their ids.
    pub async fn list(&self) -> Result<Vec<ClusterNode>, RemoteError> {
        let answer = self.ask(
            Call::ListNodes,
            "the datanodes",
            |mut coordinator| async move { coordinator.list_nodes(v1::ListNodesRequest {}).await },
        );
        nodes(answer.await?.nodes)
    }

    /// Has the chunks of a datanode copied to others and gives it no new ones, or ends that.
    pub async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), RemoteError> {
        let request = v1::DrainNodeRequest {
            node_id: node.as_bytes().to_vec(),
            draining,
        };
        let answer = self.ask(
            Call::DrainNode,
            "the datanode's new state",
            |mut coordinator| {
                let request = request.clone();
                async move { coordinator.drain_node(request).await }
            },
        );
        answer.await.map(drop)
    }

    /// Forgets a datanode that is stopped. Chunks would have no copy left: without `force` that is refused.
    /// Returns how many lost their last copy.
    pub async fn remove(&self, node: NodeId, force: bool) -> Result<u64, RemoteError> {
        let request = v1::RemoveNodeRequest {
            node_id: node.as_bytes().to_vec(),
            force,
        };
        let answer = self.ask(Call::RemoveNode, "the removal", |mut coordinator| {
            let request = request.clone();
            async move { coordinator.remove_node(request).await }
        });
        Ok(answer.await?.lost)
    }

    /// Returns how the cluster is.
    pub async fn status(&self) -> Result<ClusterStatus, RemoteError> {
        self.status_with(v1::GetClusterStatusRequest { scan: false })
            .await
    }

    /// Has all chunks looked at anew, and returns how the cluster is.
    pub async fn scan(&self) -> Result<ClusterStatus, RemoteError> {
        self.status_with(v1::GetClusterStatusRequest { scan: true })
            .await
    }

    async fn status_with(
        &self,
        request: v1::GetClusterStatusRequest,
    ) -> Result<ClusterStatus, RemoteError> {
        let answer = self.ask(
            Call::ClusterStatus,
            "its state",
            |mut coordinator| async move { coordinator.get_cluster_status(request).await },
        );
        status(answer.await?)
    }

    /// Makes a call with one answer.
    pub(crate) async fn ask<T, F>(
        &self,
        call: Call,
        what: &'static str,
        ask: impl Fn(CoordinatorClient<Wire>) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let limit = self.servers.config().progress_timeout;
        let once = |server: OneServer| {
            let answer = ask(server.connections.coordinator());
            async move {
                let answer = server.connections.watched(what, limit, answer);
                Ok(answer.await?.into_inner())
            }
        };
        let ask = || self.servers.ask(call, &once);
        self.retry.run(call, ask).await
    }
}

fn nodes(messages: Vec<v1::NodeInfo>) -> Result<Vec<ClusterNode>, RemoteError> {
    let nodes = messages.into_iter().map(|message| node(message).checked());
    let mut nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

fn node(message: v1::NodeInfo) -> Result<ClusterNode, ProtocolError> {
    let state = match message.state() {
        v1::NodeState::Available | v1::NodeState::Draining => NodeState::Available,
        v1::NodeState::Suspect => NodeState::Suspect,
        v1::NodeState::Offline | v1::NodeState::Unspecified => NodeState::Offline,
    };
    Ok(ClusterNode {
        id: id("node id", &message.id, NodeId::from_slice)?,
        is_draining: message.draining || message.state() == v1::NodeState::Draining,
        state,
        address: message.address,
        zone: message.zone,
        generation: message.generation,
        chunks: message.chunks,
        stored_bytes: message.chunk_bytes,
        capacity_bytes: message.capacity_bytes,
        used_bytes: message.used_bytes,
        last_seen: required("last_seen", message.last_seen)?.try_into()?,
    })
}

fn restored(message: v1::Restored) -> Result<RestoredFrom, ProtocolError> {
    Ok(RestoredFrom {
        backup: required("backup_time", message.backup_time)?.try_into()?,
        restored: required("restored_time", message.restored_time)?.try_into()?,
    })
}

fn status(message: v1::GetClusterStatusResponse) -> Result<ClusterStatus, RemoteError> {
    let scan = message.scan.map(|scan| ChunkScan {
        chunks: scan.chunks,
        under_replicated: scan.under_replicated,
        missing: scan.missing,
        over_replicated: scan.over_replicated,
        age_secs: scan.age_secs,
    });
    Ok(ClusterStatus {
        id: id("cluster_id", &message.cluster_id, ClusterId::from_slice).checked()?,
        nodes: nodes(message.nodes)?,
        copies: message.copies,
        copies_min: message.copies_min,
        scan,
        repair: RepairStatus {
            waiting: message.waiting,
            to_move: message.to_move,
            moved: message.moved,
            copying: message.copying,
            waiting_bytes: message.waiting_bytes,
            copied: message.copied,
            copied_bytes: message.copied_bytes,
            failed: message.failed,
        },
        is_scanning: message.scanning,
        restored: message.restored.map(restored).transpose().checked()?,
        found: message.found,
    })
}
