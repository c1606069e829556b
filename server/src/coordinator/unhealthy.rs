//! Chunks that have not as many copies as they should, one by one, for an operator who asks.

use lfsfs_cluster::{Assessment, ChunkCopies};
use lfsfs_metadata::ChunkHolders;
use lfsfs_proto::convert::{ProtocolError, optional_id};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::ChunkId;

use super::Coordinator;
use crate::blocking::IntoFault as _;

/// Chunks that one call looks at.
const LOOKED_AT_MAX: usize = 4000;

/// Looks at the next chunks.
pub(super) async fn find(
    coordinator: &Coordinator,
    request: v1::ListUnhealthyChunksRequest,
) -> Result<v1::ListUnhealthyChunksResponse, Fault> {
    let after = optional_id("after", &request.after, ChunkId::from_slice)
        .map_err(ProtocolError::into_fault)?;
    let page = coordinator
        .metadata(move |metadata| metadata.chunk_holders(after, LOOKED_AT_MAX))
        .await?;
    let next = page.items.last().filter(|_| page.more);
    let next = next.map_or_else(Vec::new, |last| last.chunk.as_bytes().to_vec());
    let looked_at = page.items.len() as u64;
    Ok(v1::ListUnhealthyChunksResponse {
        chunks: unhealthy(coordinator, page.items),
        next,
        looked_at,
    })
}

fn unhealthy(coordinator: &Coordinator, holders: Vec<ChunkHolders>) -> Vec<v1::UnhealthyChunk> {
    let now = coordinator.clock.monotonic();
    let copies: Vec<_> = holders
        .into_iter()
        .map(|it| coordinator.copies_of(it))
        .collect();
    let mut cluster = coordinator.cluster();
    cluster.tick(now);
    let assessed = copies
        .into_iter()
        .map(|it| (it.assess(cluster.members(), now), it));
    assessed
        .filter_map(|(assessment, copies)| message(&assessment, &copies))
        .collect()
}

fn message(assessment: &Assessment, copies: &ChunkCopies) -> Option<v1::UnhealthyChunk> {
    let health = match assessment {
        Assessment::Enough | Assessment::Unneeded { .. } => return None,
        Assessment::TooFew { .. } => v1::ChunkHealth::UnderReplicated,
        Assessment::Unreachable => v1::ChunkHealth::Missing,
        Assessment::TooMany { .. } => v1::ChunkHealth::OverReplicated,
    };
    let holders = copies.holders.iter();
    Some(v1::UnhealthyChunk {
        chunk_id: copies.chunk.as_bytes().to_vec(),
        size: copies.len,
        health: health.into(),
        wanted: u32::try_from(copies.wanted).unwrap_or(u32::MAX),
        holders: holders.map(|id| id.as_bytes().to_vec()).collect(),
    })
}
