//! The datanode's calls to its coordinator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lfsfs_chunk_store::StoredChunk;
use lfsfs_proto::address::endpoint;
use lfsfs_proto::convert::{ProtocolError, ids};
use lfsfs_proto::headers::Headers;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_types::{ChunkId, NodeId, SessionId};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::blocking::IntoFault as _;
use crate::error::ServerError;
use crate::process_key::Callers;

/// How long one call to the coordinator may take.
const CALL_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Contents in one message of a receipt, about 90 bytes each.
const PLACES_PER_REPORT: usize = 8192;

/// The way to the coordinator, and the generation that it gave this node.
#[derive(Debug)]
pub(crate) struct CoordinatorLink {
    client: CoordinatorClient<InterceptedService<Channel, Headers>>,
    callers: Callers,
    generation: AtomicU64,
    /// The generation under which losses were reported last.
    losses_reported: AtomicU64,
}

impl CoordinatorLink {
    /// Prepares to call the coordinator at host:port; the connection is made when it is needed.
    pub(crate) fn new(address: &str, callers: Callers) -> Result<Self, ServerError> {
        let endpoint = endpoint(address).map_err(|_| ServerError::CoordinatorAddress {
            address: address.to_owned(),
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            client: CoordinatorClient::with_interceptor(channel, Headers::default()),
            callers,
            generation: AtomicU64::new(0),
            losses_reported: AtomicU64::new(0),
        })
    }

    /// Returns the generation of the newest registration; 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Notes that the coordinator was told what is lost, in a comparison that began under a generation.
    pub(crate) fn note_losses_reported(&self, generation: u64) {
        self.losses_reported.store(generation, Ordering::Relaxed);
    }

    /// Registers the node. Returns the version of the table of nodes.
    pub(crate) async fn register(&self, node: v1::NodeInfo) -> Result<u64, Fault> {
        let request = v1::RegisterDataNodeRequest { node: Some(node) };
        let request = self.callers.request(request);
        let answer = self.client.clone().register_data_node(request).await;
        let answer = answer.map_err(|status| fault(&status))?.into_inner();
        self.generation.store(answer.generation, Ordering::Relaxed);
        Ok(answer.version)
    }

    /// Tells that the node lives, and asks what is new since a version of the table of nodes.
    pub(crate) async fn heartbeat(
        &self,
        node: v1::NodeInfo,
        last_seen_version: u64,
    ) -> Result<v1::DataNodeHeartbeatResponse, Fault> {
        let generation = node.generation;
        let request = v1::DataNodeHeartbeatRequest {
            node: Some(node),
            last_seen_version,
            losses_reported: self.losses_reported.load(Ordering::Relaxed) == generation,
        };
        let request = self.callers.request(request);
        let answer = self.client.clone().data_node_heartbeat(request).await;
        Ok(answer.map_err(|status| fault(&status))?.into_inner())
    }

    /// Sends the receipt of a chunk that is durable here.
    pub(crate) async fn report(
        &self,
        node: NodeId,
        slot: Option<SessionId>,
        stored: &StoredChunk,
    ) -> Result<(), Fault> {
        let mut parts = stored.contents.chunks(PLACES_PER_REPORT);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let request = v1::ReportChunkRequest {
                node_id: node.as_bytes().to_vec(),
                generation: self.generation(),
                slot_id: slot.map_or_else(Vec::new, |slot| slot.as_bytes().to_vec()),
                info: Some((&stored.info).into()),
                contents: part.iter().map(v1::ContentPlace::from).collect(),
            };
            let request = self.callers.request(request);
            let answer = self.client.clone().report_chunk(request).await;
            answer.map_err(|status| fault(&status))?;
            match parts.next() {
                Some(next) => part = next,
                None => return Ok(()),
            }
        }
    }
}

impl CoordinatorLink {
    /// Says that chunks are not here any more.
    pub(crate) async fn report_lost(&self, node: NodeId, chunks: &[ChunkId]) -> Result<(), Fault> {
        let request = self.callers.request(v1::ReportLostChunksRequest {
            node_id: node.as_bytes().to_vec(),
            generation: self.generation(),
            chunk_ids: chunks.iter().map(|it| it.as_bytes().to_vec()).collect(),
        });
        let answer = self.client.clone().report_lost_chunks(request).await;
        answer.map(drop).map_err(|status| fault(&status))
    }

    /// Asks the coordinator whether a chunk may be deleted here; if it may, no client is sent to it
    /// any more.
    pub(crate) async fn release(&self, node: NodeId, stored: &StoredChunk) -> Result<(), Fault> {
        let contents = stored.contents.iter();
        let request = self.callers.request(v1::ReleaseChunkRequest {
            node_id: node.as_bytes().to_vec(),
            generation: self.generation(),
            chunk_id: stored.info.id.as_bytes().to_vec(),
            contents: contents.map(|it| it.content.as_bytes().to_vec()).collect(),
        });
        let answer = self.client.clone().release_chunk(request).await;
        answer.map(drop).map_err(|status| fault(&status))
    }

    /// Returns a page of the chunks that the coordinator believes to be here, with their lengths, and
    /// whether there are more.
    pub(crate) async fn chunks(
        &self,
        node: NodeId,
        after: Option<ChunkId>,
        limit: usize,
    ) -> Result<(Vec<(ChunkId, u64)>, bool), Fault> {
        let request = self.callers.request(v1::GetChunksForNodeRequest {
            node_id: node.as_bytes().to_vec(),
            after: after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        });
        let answer = self.client.clone().get_chunks_for_node(request).await;
        let answer = answer.map_err(|status| fault(&status))?.into_inner();
        let chunks = ids("chunk_ids", &answer.chunk_ids, ChunkId::from_slice)
            .map_err(ProtocolError::into_fault)?;
        Ok((chunks.into_iter().zip(answer.lens).collect(), answer.more))
    }
}

/// Returns the fault of a failed call: UNAVAILABLE where the coordinator was not reached, else the
/// coordinator's own.
fn fault(status: &tonic::Status) -> Fault {
    let fault = Fault::from_status(status);
    if status.details().is_empty() {
        let text = format!("the coordinator did not answer: {}", status.message());
        return Fault::new(FaultKind::Unavailable, text);
    }
    fault
}
