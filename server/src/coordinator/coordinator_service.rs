//! The Coordinator service: datanodes' registrations, heartbeats and receipts, and single files.

use std::sync::Arc;

use lfsfs_metadata::{ChunkReceipt, Metadata, MetadataError, NodeFigures};
use lfsfs_proto::convert::{ProtocolError, id, required};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_server::Coordinator as Service;
use lfsfs_types::{ChunkId, ChunkInfo, ContentPlace, NodeId, SessionId, Timestamp};
use tonic::{Request, Response, Status};

use super::{Coordinator, Member, MemberState, Updates, files};
use crate::blocking::IntoFault as _;

/// Chunk ids of one page.
const CHUNKS_PER_PAGE: usize = 4096;

type Answer<T> = Result<Response<T>, Status>;

/// Serves the Coordinator service.
#[derive(Debug, Clone)]
pub(crate) struct CoordinatorService {
    coordinator: Arc<Coordinator>,
}

impl CoordinatorService {
    pub(crate) fn new(coordinator: Arc<Coordinator>) -> Self {
        Self { coordinator }
    }

    /// Returns a node that said something just now.
    fn member(&self, node: Option<v1::NodeInfo>) -> Result<Member, Fault> {
        let node = required("node", node).map_err(ProtocolError::into_fault)?;
        let wall = self.coordinator.clock.wall_time();
        Ok(Member {
            id: node_id(&node.id)?,
            address: node.address,
            generation: node.generation,
            capacity: node.capacity_bytes,
            used: node.used_bytes,
            state: MemberState::Available,
            seen: Timestamp {
                secs: wall.seconds(),
                nanos: wall.subsecond_nanoseconds(),
            },
        })
    }
}

fn node_id(bytes: &[u8]) -> Result<NodeId, Fault> {
    id("node id", bytes, NodeId::from_slice).map_err(ProtocolError::into_fault)
}

fn messages(members: &[Member]) -> Vec<v1::NodeInfo> {
    members.iter().map(v1::NodeInfo::from).collect()
}

fn receipt(request: v1::ReportChunkRequest) -> Result<ChunkReceipt, ProtocolError> {
    let places = request.contents.into_iter().map(ContentPlace::try_from);
    Ok(ChunkReceipt {
        node: id("node_id", &request.node_id, NodeId::from_slice)?,
        info: ChunkInfo::try_from(required("info", request.info)?)?,
        places: places.collect::<Result<_, _>>()?,
    })
}

/// Returns the chunks that a node has reported, from behind `after`, and whether there are more.
fn chunks_of_node(
    metadata: &Metadata,
    node: NodeId,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<(Vec<ChunkId>, bool), MetadataError> {
    let (mut after, mut found) = (after, Vec::new());
    loop {
        let page = metadata.chunks(after, CHUNKS_PER_PAGE)?;
        for chunk in &page.items {
            after = Some(chunk.info.id);
            if !chunk.nodes.contains(&node) {
                continue;
            }
            if found.len() == limit {
                return Ok((found, true));
            }
            found.push(chunk.info.id);
        }
        if !page.more {
            return Ok((found, false));
        }
    }
}

#[tonic::async_trait]
impl Service for CoordinatorService {
    async fn register_data_node(
        &self,
        request: Request<v1::RegisterDataNodeRequest>,
    ) -> Answer<v1::RegisterDataNodeResponse> {
        let coordinator = &self.coordinator;
        let mut member = self.member(request.into_inner().node)?;
        let (id, address) = (member.id, member.address.clone());
        let figures = NodeFigures {
            capacity: member.capacity,
            used: member.used,
            chunks: 0,
        };
        let node = coordinator
            .metadata(move |metadata| metadata.upsert_node(id, &address, figures))
            .await?;
        member.generation = node.generation;
        tracing::info!(node = %id, address = member.address, "a datanode registered");
        let mut members = coordinator.members();
        members.register(member, coordinator.clock.monotonic());
        Ok(Response::new(v1::RegisterDataNodeResponse {
            generation: node.generation,
            cluster_id: coordinator.metadata.cluster_id().as_bytes().to_vec(),
            nodes: messages(&members.all()),
            version: members.version(),
        }))
    }

    async fn data_node_heartbeat(
        &self,
        request: Request<v1::DataNodeHeartbeatRequest>,
    ) -> Answer<v1::DataNodeHeartbeatResponse> {
        let request = request.into_inner();
        let member = self.member(request.node)?;
        let now = self.coordinator.clock.monotonic();
        let mut members = self.coordinator.members();
        members.tick(now);
        let known = members.heartbeat(&member, now);
        let (updates, requires_full_resync) = match members.since(request.last_seen_version) {
            Updates::Changed(members) => (members, false),
            Updates::Everything(members) => (members, true),
        };
        Ok(Response::new(v1::DataNodeHeartbeatResponse {
            known,
            updates: messages(&updates),
            from_version: request.last_seen_version,
            to_version: members.version(),
            requires_full_resync,
        }))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Answer<v1::ListNodesResponse> {
        let mut members = self.coordinator.members();
        members.tick(self.coordinator.clock.monotonic());
        Ok(Response::new(v1::ListNodesResponse {
            nodes: messages(&members.all()),
            version: members.version(),
        }))
    }

    async fn report_chunk(
        &self,
        request: Request<v1::ReportChunkRequest>,
    ) -> Answer<v1::ReportChunkResponse> {
        let coordinator = &self.coordinator;
        let request = request.into_inner();
        // A chunk that is reported again, because a receipt was lost, is in no slot.
        let slot = SessionId::from_slice(&request.slot_id);
        let generation = request.generation;
        let receipt = receipt(request).map_err(ProtocolError::into_fault)?;
        let (node, chunk) = (receipt.node, receipt.info.id);
        let known = coordinator.members().find(node).map(|m| m.generation);
        if known != Some(generation) {
            let text = format!("node {node} must register again");
            return Err(Fault::new(FaultKind::Unavailable, text).into());
        }
        coordinator
            .metadata(move |metadata| metadata.record_chunk(&receipt))
            .await?;
        if let Some(slot) = slot {
            let now = coordinator.clock.monotonic();
            coordinator.plans().bind(slot, chunk, now);
        }
        Ok(Response::new(v1::ReportChunkResponse {}))
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
        let (chunks, more) = self
            .coordinator
            .metadata(move |metadata| chunks_of_node(metadata, node, after, limit))
            .await?;
        Ok(Response::new(v1::GetChunksForNodeResponse {
            chunk_ids: chunks.iter().map(|id| id.as_bytes().to_vec()).collect(),
            more,
        }))
    }

    async fn upload_file(
        &self,
        request: Request<v1::UploadFileRequest>,
    ) -> Answer<v1::UploadFileResponse> {
        let planned = files::plan(&self.coordinator, request.into_inner());
        Ok(Response::new(planned.await?))
    }

    async fn confirm_upload(
        &self,
        request: Request<v1::ConfirmUploadRequest>,
    ) -> Answer<v1::ConfirmUploadResponse> {
        let version = files::confirm(&self.coordinator, request.into_inner()).await?;
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
        let version = files::delete(&self.coordinator, request.into_inner()).await?;
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
