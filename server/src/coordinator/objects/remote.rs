//! The seam to contents, as the coordinator itself sees it: places from its metadata, chunks from its datanodes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use lfsfs_metadata::{Resolution, ResolvedContents};
use lfsfs_proto::convert::ProtocolError;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::download_chunk_stream_request::Target;
use lfsfs_remote::{ChunkBytes, ChunkLocation, RemoteContents, RemoteError, Resolved, StoredList};
use lfsfs_transfer::DownloadReceiver;
use lfsfs_types::{ContentId, ProjectId};

use super::super::Coordinator;
use super::super::resolve::{locations, places_of};
use crate::blocking::IntoFault as _;
use crate::datanodes::{message_within, within};
use crate::frames;

/// How long a datanode may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Contents looked up at once.
const CONTENTS_AT_ONCE: usize = 128;

/// Contents as the coordinator has them. It answers no other questions: who is in the coordinator asks the metadata.
#[derive(Debug)]
pub(in crate::coordinator) struct OwnRemote {
    coordinator: Arc<Coordinator>,
}

impl OwnRemote {
    pub(in crate::coordinator) fn new(coordinator: &Arc<Coordinator>) -> Self {
        Self {
            coordinator: Arc::clone(coordinator),
        }
    }

    async fn read_from(
        &self,
        node: &str,
        chunk: &ChunkLocation,
        range: &Range<u64>,
    ) -> Result<ChunkBytes, Fault> {
        let request = v1::DownloadChunkStreamRequest {
            target: Some(Target::ChunkId(chunk.info.id.as_bytes().to_vec())),
            offset: range.start,
            length: range.end - range.start,
            ..Default::default()
        };
        let mut client = self.coordinator.datanodes.client(node)?;
        let answer = client.download_chunk_stream(request);
        let mut stream = message_within(node, SILENCE_MAX, answer).await?;
        let mut receiver = DownloadReceiver::new(range.clone());
        let mut bytes = BytesMut::new();
        while let Some(message) = within(node, SILENCE_MAX, stream.message()).await? {
            let frame = frames::frame(message).map_err(ProtocolError::into_fault)?;
            let received = receiver.receive(frame);
            bytes.extend_from_slice(&received.map_err(lfsfs_transfer::TransferError::into_fault)?);
        }
        receiver
            .finish()
            .map_err(lfsfs_transfer::TransferError::into_fault)?;
        Ok(ChunkBytes {
            bytes: bytes.freeze(),
            node: node.to_owned(),
        })
    }
}

/// Returns the error of a call that the coordinator made, to the metadata or to a datanode.
fn error(address: &str, fault: Fault) -> RemoteError {
    let Fault { kind, message, .. } = fault;
    match kind {
        FaultKind::ProjectNotFound
        | FaultKind::VersionNotFound
        | FaultKind::PathNotFound
        | FaultKind::ContentNotFound
        | FaultKind::ChunkNotFound => RemoteError::NotFound(message),
        FaultKind::Corrupt | FaultKind::HashMismatch => RemoteError::Corrupt(message),
        FaultKind::Unavailable => RemoteError::Unavailable {
            address: address.to_owned(),
            reason: message,
        },
        FaultKind::Full => RemoteError::Full(message),
        FaultKind::Unspecified
        | FaultKind::Invalid
        | FaultKind::SessionNotFound
        | FaultKind::AlreadyExists
        | FaultKind::Conflict
        | FaultKind::Unimplemented
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Incompatible => RemoteError::Internal(message),
    }
}

fn take(coordinator: &Coordinator, resolved: &mut Resolved, found: &ResolvedContents) {
    for (chunk, location) in locations(coordinator, found) {
        let Some(known) = found.chunks.iter().find(|known| known.info.id == chunk) else {
            continue;
        };
        let nodes = location.nodes.into_iter().map(|node| node.address);
        let location = ChunkLocation {
            info: known.info,
            nodes: nodes.collect(),
        };
        resolved.chunks.insert(chunk, Arc::new(location));
    }
    for content in &found.contents {
        match content.resolution {
            Resolution::Missing => {}
            Resolution::List { list, count } => {
                let list = StoredList {
                    content: list,
                    count,
                };
                resolved.lists.insert(content.content, list);
            }
            Resolution::Empty | Resolution::Place(_) | Resolution::Pieces(_) => {
                let places = places_of(content).to_vec();
                resolved.contents.insert(content.content, places);
            }
        }
    }
}

#[async_trait]
impl RemoteContents for OwnRemote {
    async fn resolve(&self, _: ProjectId, contents: &[ContentId]) -> Result<Resolved, RemoteError> {
        let mut resolved = Resolved::default();
        for some in contents.chunks(CONTENTS_AT_ONCE) {
            let some = some.to_vec();
            let found = self
                .coordinator
                .metadata(move |metadata| metadata.resolve_contents(&some));
            let found = found.await.map_err(|fault| error("itself", fault))?;
            take(&self.coordinator, &mut resolved, &found);
        }
        Ok(resolved)
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        let mut failure = RemoteError::NotFound(format!("chunk {} is nowhere", chunk.info.id));
        for node in &chunk.nodes {
            match self.read_from(node, chunk, &range).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => {
                    let (chunk, reason) = (chunk.info.id, &fault.message);
                    tracing::debug!(%chunk, node, reason, "a chunk cannot be read from this datanode");
                    failure = error(node, fault);
                }
            }
        }
        Err(failure)
    }
}
