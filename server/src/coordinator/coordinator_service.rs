//! The Coordinator service: datanodes' registrations, heartbeats and receipts, and single files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lfsfs_cluster::{Member, MemberState, Updates};
use lfsfs_metadata::{Keep, MetadataError, NodeFigures};
use lfsfs_proto::convert::{ProtocolError, id, ids, required};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_server::Coordinator as Service;
use lfsfs_types::{ChunkId, ContentId, NodeId, Timestamp};
use tonic::{Request, Response, Status};

use super::nodes::{messages, node_id};
use super::{Coordinator, backup, files, nodes, receipts, stats, unhealthy};
use crate::blocking::IntoFault as _;
use crate::calls::Call;
use crate::process_key::Callers;
use crate::streams::Answers;

/// Chunk ids of one page.
const CHUNKS_PER_PAGE: usize = 4096;

type Answer<T> = Result<Response<T>, Status>;

/// Serves the Coordinator service.
#[derive(Debug, Clone)]
pub(crate) struct CoordinatorService {
    coordinator: Arc<Coordinator>,
    /// Which callers may speak for a datanode.
    callers: Callers,
}

impl CoordinatorService {
    pub(crate) fn new(coordinator: Arc<Coordinator>, callers: Callers) -> Self {
        Self {
            coordinator,
            callers,
        }
    }

    /// Refuses what a node says under another registration than its newest.
    fn check_generation(&self, node: NodeId, generation: u64) -> Result<(), Fault> {
        let cluster = self.coordinator.cluster();
        let member = cluster.members().find(node);
        if member.map(|member| member.generation) == Some(generation) {
            return Ok(());
        }
        let text = format!("node {node} must register again");
        Err(Fault::new(FaultKind::Unavailable, text))
    }

    /// Returns the member that a datanode's message describes, heard at this moment.
    fn member(&self, node: Option<v1::NodeInfo>) -> Result<Member, Fault> {
        let node = required("node", node).map_err(ProtocolError::into_fault)?;
        receipts::check_node(&node).map_err(ProtocolError::into_fault)?;
        let wall = self.coordinator.clock.wall_time();
        Ok(Member {
            id: node_id(&node.id)?,
            address: node.address,
            generation: node.generation,
            capacity: node.capacity_bytes,
            used: node.used_bytes,
            chunks: node.chunks,
            chunk_bytes: node.chunk_bytes,
            zone: node.zone,
            is_draining: false,
            state: MemberState::Available,
            seen: Timestamp {
                secs: wall.seconds(),
                nanos: wall.subsecond_nanoseconds(),
            },
        })
    }
}

#[tonic::async_trait]
impl Service for CoordinatorService {
    async fn register_data_node(
        &self,
        request: Request<v1::RegisterDataNodeRequest>,
    ) -> Answer<v1::RegisterDataNodeResponse> {
        self.callers.check(&request)?;
        let coordinator = &self.coordinator;
        let mut member = self.member(request.into_inner().node)?;
        let (id, address, zone) = (member.id, member.address.clone(), member.zone.clone());
        let figures = NodeFigures {
            capacity: member.capacity,
            used: member.used,
            chunks: member.chunks,
        };
        let node = coordinator
            .metadata(move |metadata| metadata.upsert_node_in(id, &address, &zone, figures))
            .await?;
        (member.generation, member.is_draining) = (node.generation, node.is_draining);
        tracing::info!(node = %id, address = member.address, "a datanode registered");
        let mut cluster = coordinator.cluster();
        cluster.register(member, coordinator.clock.monotonic());
        Ok(Response::new(v1::RegisterDataNodeResponse {
            generation: node.generation,
            cluster_id: coordinator.metadata.cluster_id().as_bytes().to_vec(),
            nodes: messages(&cluster.members().all()),
            version: cluster.members().version(),
        }))
    }

    async fn data_node_heartbeat(
        &self,
        request: Request<v1::DataNodeHeartbeatRequest>,
    ) -> Answer<v1::DataNodeHeartbeatResponse> {
        self.callers.check(&request)?;
        let request = request.into_inner();
        let member = self.member(request.node)?;
        let now = self.coordinator.clock.monotonic();
        let answer = {
            let mut cluster = self.coordinator.cluster();
            let known = cluster.heartbeat(&member, now);
            let members = cluster.members();
            let (updates, requires_full_resync) = match members.since(request.last_seen_version) {
                Updates::Changed(members) => (members, false),
                Updates::Everything(members) => (members, true),
            };
            v1::DataNodeHeartbeatResponse {
                known,
                updates: messages(&updates),
                from_version: request.last_seen_version,
                to_version: members.version(),
                requires_full_resync,
            }
        };
        if answer.known {
            let compared = &self.coordinator.compared;
            if compared.note(member.id, member.generation, request.losses_reported) {
                // Copies of others may be dropped now that had to stay before.
                self.coordinator.cluster().request_scan();
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Answer<v1::ListNodesResponse> {
        let mut cluster = self.coordinator.cluster();
        cluster.tick(self.coordinator.clock.monotonic());
        Ok(Response::new(v1::ListNodesResponse {
            nodes: messages(&cluster.members().all()),
            version: cluster.members().version(),
        }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Answer<v1::DrainNodeResponse> {
        let drained = nodes::drain(&self.coordinator, request.into_inner());
        Ok(Response::new(drained.await?))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Answer<v1::RemoveNodeResponse> {
        let removed = nodes::remove(&self.coordinator, request.into_inner());
        Ok(Response::new(removed.await?))
    }

    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Answer<v1::GetClusterStatusResponse> {
        if request.into_inner().scan {
            self.coordinator.cluster().request_scan();
        }
        Ok(Response::new(nodes::status(&self.coordinator)))
    }

    async fn list_unhealthy_chunks(
        &self,
        request: Request<v1::ListUnhealthyChunksRequest>,
    ) -> Answer<v1::ListUnhealthyChunksResponse> {
        let found = unhealthy::find(&self.coordinator, request.into_inner());
        Ok(Response::new(found.await?))
    }

    type BackUpStream = Answers<v1::BackUpPart>;

    async fn back_up(&self, request: Request<v1::BackUpRequest>) -> Answer<Self::BackUpStream> {
        let call = Call::of(&request)?;
        Ok(Response::new(backup::send(&self.coordinator, call)?))
    }

    async fn get_stats(
        &self,
        request: Request<v1::GetStatsRequest>,
    ) -> Answer<v1::GetStatsResponse> {
        let answer = stats::answer(&self.coordinator, request.into_inner());
        Ok(Response::new(answer.await?))
    }

    async fn report_chunk(
        &self,
        request: Request<v1::ReportChunkRequest>,
    ) -> Answer<v1::ReportChunkResponse> {
        self.callers.check(&request)?;
        let coordinator = &self.coordinator;
        let report = receipts::Report::try_from(request.into_inner());
        let receipts::Report {
            receipt,
            generation,
            slot,
        } = report.map_err(ProtocolError::into_fault)?;
        let (node, chunk) = (receipt.node, receipt.info.id);
        self.check_generation(node, generation)?;
        let stored = coordinator.stored_for(slot);
        let holders = coordinator
            .metadata(move |metadata| metadata.record_chunk_for(stored, &receipt))
            .await?;
        if slot.is_none() && holders.nodes == [node] {
            // No client stores it now, and no other node has it.
            coordinator.found.fetch_add(1, Ordering::Relaxed);
        }
        let now = coordinator.clock.monotonic();
        let copies = coordinator.copies_of(holders);
        coordinator.cluster().reported(copies, now);
        if let Some(slot) = slot {
            coordinator.plans().bind(slot, chunk, now);
        }
        Ok(Response::new(v1::ReportChunkResponse {}))
    }

    async fn report_lost_chunks(
        &self,
        request: Request<v1::ReportLostChunksRequest>,
    ) -> Answer<v1::ReportLostChunksResponse> {
        self.callers.check(&request)?;
        let request = request.into_inner();
        let node = node_id(&request.node_id)?;
        let chunks = receipts::chunks(&request.chunk_ids).map_err(ProtocolError::into_fault)?;
        self.check_generation(node, request.generation)?;
        let coordinator = &self.coordinator;
        let (forgotten, left) = coordinator
            .metadata(move |metadata| {
                let forgotten = metadata.forget_replicas(node, &chunks)?;
                Ok::<_, MetadataError>((forgotten, metadata.holders_of(&chunks)?))
            })
            .await?;
        for chunk in &forgotten.lost {
            tracing::error!(%node, %chunk, "a chunk is lost; what is in it is missing now");
        }
        let left = left
            .into_iter()
            .map(|holders| coordinator.copies_of(holders));
        let now = coordinator.clock.monotonic();
        coordinator.cluster().lost(left.collect(), now);
        Ok(Response::new(v1::ReportLostChunksResponse {}))
    }

    async fn release_chunk(
        &self,
        request: Request<v1::ReleaseChunkRequest>,
    ) -> Answer<v1::ReleaseChunkResponse> {
        self.callers.check(&request)?;
        let request = request.into_inner();
        let node = node_id(&request.node_id)?;
        let chunk = id("chunk_id", &request.chunk_id, ChunkId::from_slice)
            .map_err(ProtocolError::into_fault)?;
        let contents = ids("contents", &request.contents, ContentId::from_slice)
            .map_err(ProtocolError::into_fault)?;
        self.check_generation(node, request.generation)?;
        let coordinator = &self.coordinator;
        let live = coordinator.counted_on();
        let least = coordinator.replication.copies as usize;
        coordinator
            .metadata(move |metadata| {
                let keep = Keep { least, live: &live };
                metadata.release_replica(node, chunk, &contents, keep)
            })
            .await?;
        Ok(Response::new(v1::ReleaseChunkResponse {}))
    }

    async fn get_chunks_for_node(
        &self,
        request: Request<v1::GetChunksForNodeRequest>,
    ) -> Answer<v1::GetChunksForNodeResponse> {
        let request = request.into_inner();
        let node = node_id(&request.node_id)?;
        let after = (!request.after.is_empty())
            .then(|| id("after", &request.after, ChunkId::from_slice))
            .transpose()
            .map_err(ProtocolError::into_fault)?;
        let limit = match request.limit as usize {
            limit @ 1..=CHUNKS_PER_PAGE => limit,
            _ => CHUNKS_PER_PAGE,
        };
        let page = self
            .coordinator
            .metadata(move |metadata| metadata.chunks_of_node(node, after, limit))
            .await?;
        let chunks = page.items.iter();
        Ok(Response::new(v1::GetChunksForNodeResponse {
            chunk_ids: chunks.clone().map(|it| it.0.as_bytes().to_vec()).collect(),
            lens: chunks.map(|it| it.1).collect(),
            more: page.more,
        }))
    }

    async fn upload_file(
        &self,
        request: Request<v1::UploadFileRequest>,
    ) -> Answer<v1::UploadFileResponse> {
        let connection = request.remote_addr();
        let planned = files::plan(&self.coordinator, request.into_inner(), connection);
        Ok(Response::new(planned.await?))
    }

    async fn confirm_upload(
        &self,
        request: Request<v1::ConfirmUploadRequest>,
    ) -> Answer<v1::ConfirmUploadResponse> {
        let client = Call::of(&request)?.connection().peer;
        let confirmed = files::confirm(&self.coordinator, client, request.into_inner());
        let version = confirmed.await?;
        Ok(Response::new(v1::ConfirmUploadResponse { version }))
    }

    async fn download_file(
        &self,
        request: Request<v1::DownloadFileRequest>,
    ) -> Answer<v1::DownloadFileResponse> {
        let found = files::download(&self.coordinator, request.into_inner());
        Ok(Response::new(found.await?))
    }

    async fn delete_file(
        &self,
        request: Request<v1::DeleteFileRequest>,
    ) -> Answer<v1::DeleteFileResponse> {
        let client = Call::of(&request)?.connection().peer;
        let deleted = files::delete(&self.coordinator, client, request.into_inner());
        let version = deleted.await?;
        Ok(Response::new(v1::DeleteFileResponse { version }))
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Answer<v1::ListFilesResponse> {
        let listed = files::list(&self.coordinator, request.into_inner());
        Ok(Response::new(listed.await?))
    }
}
