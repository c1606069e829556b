//! A copy of a chunk that the coordinator asks for: it comes from another datanode.

use std::sync::Arc;

use bytes::Bytes;
use lfsfs_chunk_store::StoredChunk;
use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::ChunkId;
use tokio::sync::{mpsc, watch};

use super::DataNode;
use super::peers::Incoming;
use super::transfers::Announced;
use super::upload::{FRAMES_WAITING_MAX, joined, write};
use crate::blocking::{IntoFault as _, blocking};
use crate::budget::Held;
use crate::calls::Call;

/// Gets a chunk from one of the nodes that have it. It is durable on return, and reported.
pub(super) async fn copy(
    node: &Arc<DataNode>,
    call: &Call,
    request: v1::CopyChunkRequest,
) -> Result<(), Fault> {
    let chunk = id("chunk_id", &request.chunk_id, ChunkId::from_slice)
        .map_err(ProtocolError::into_fault)?;
    node.check_generation(request.generation)?;
    if node.is_stored(chunk).await? && node.verify_and_report(chunk, None).await? {
        return Ok(());
    }
    let announced = Announced {
        chunk,
        len: request.size,
        slot: None,
    };
    node.check_capacity(announced.len).await?;
    let mut failure = Fault::new(
        FaultKind::Invalid,
        "no datanode is named that has the chunk",
    );
    for source in &request.sources {
        match get(node, call, announced, source).await {
            Ok(stored) => {
                node.counters.fetches_made.add(1);
                return node.report_stored(None, &stored).await;
            }
            Err(fault) => {
                node.counters.fetches_failed.add(1);
                let (address, reason) = (&source.address, &fault.message);
                tracing::warn!(%chunk, address, reason, "a chunk did not come from this datanode");
                failure = fault;
            }
        }
    }
    Err(failure)
}

/// Gets a chunk from one node, verified and durable.
async fn get(
    node: &DataNode,
    call: &Call,
    announced: Announced,
    source: &v1::NodeInfo,
) -> Result<StoredChunk, Fault> {
    let mut incoming =
        Incoming::open(&node.datanodes, source, announced.chunk, announced.len).await?;
    let (disk, frames) = mpsc::channel::<(Bytes, Arc<Held>)>(FRAMES_WAITING_MAX);
    let (progress, _) = watch::channel(0);
    let store = Arc::clone(&node.store);
    let writing = blocking(move || write(store.as_ref(), announced, frames, &progress));
    let stored = node.tasks.tracker.spawn(writing);
    while let Some(bytes) = incoming.next().await? {
        node.counters.fetched_bytes.add(bytes.len() as u64);
        let held = Arc::new(call.account().take_more(bytes.len()).await?);
        if disk.send((bytes, held)).await.is_err() {
            break;
        }
    }
    drop(disk);
    joined(stored.await)
}
