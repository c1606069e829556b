//! Reads every chunk of this disk again within a period, so that rot is found while other copies are whole.
//!
//! A chunk that is damaged is moved aside and reported as lost; the coordinator has another copy made. The
//! bandwidth is what it takes to read everything once in the period.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::random::random_bytes;
use lfsfs_proto::status::Fault;
use lfsfs_types::ChunkId;

use super::DataNode;
use crate::blocking::blocking;

/// Chunks that are listed at once.
const PAGE: usize = 256;
/// How long it rests where there is nothing to read, or where the disk or the coordinator fail.
const REST: Duration = Duration::from_secs(10);

/// What one pass over all chunks has found.
#[derive(Debug, Default)]
struct Pass {
    chunks: u64,
    damaged: u64,
}

/// Reads chunks for ever.
pub(super) async fn scrub(node: Arc<DataNode>) {
    // Where an earlier process stopped is not kept. Each begins somewhere else, so that restarts leave no part
    // out.
    let mut after = begin();
    let mut pass = Pass::default();
    loop {
        match scrub_page(&node, after, &mut pass).await {
            Ok(Some(last)) => after = Some(last),
            Ok(None) => {
                let Pass { chunks, damaged } = std::mem::take(&mut pass);
                tracing::info!(chunks, damaged, "a pass over the chunks of this disk ended");
                after = None;
                if chunks == 0 {
                    tokio::time::sleep(REST.min(node.scrub_period)).await;
                }
            }
            Err(fault) => {
                tracing::warn!(reason = fault.message, "chunks cannot be read again now");
                tokio::time::sleep(REST.min(node.scrub_period)).await;
            }
        }
    }
}

fn begin() -> Option<ChunkId> {
    let half = random_bytes().ok()?;
    let mut id = [0; ChunkId::LEN];
    id[..half.len()].copy_from_slice(&half);
    Some(ChunkId(id))
}

/// Reads the next chunks. Returns the last of them, or none at the end.
async fn scrub_page(
    node: &Arc<DataNode>,
    after: Option<ChunkId>,
    pass: &mut Pass,
) -> Result<Option<ChunkId>, Fault> {
    let store = Arc::clone(&node.store);
    let page = blocking(move || store.list(after, PAGE)).await?;
    for chunk in &page {
        pass.chunks += 1;
        node.counters.scrubbed_chunks.add(1);
        match node.whole_len(*chunk).await? {
            Some(len) => node.counters.scrubbed_bytes.add(len),
            None => pass.damaged += 1,
        }
        rest(node).await?;
    }
    Ok(page.last().copied())
}

/// Waits for the part of the period that one chunk has; chunks have about the same length. Many may come
/// meanwhile, so it looks again from time to time.
async fn rest(node: &DataNode) -> Result<(), Fault> {
    let started = node.clock.monotonic();
    loop {
        let store = Arc::clone(&node.store);
        let stats = blocking(move || store.stats()).await?;
        let count = u32::try_from(stats.chunks.max(1)).unwrap_or(u32::MAX);
        let waited = node.clock.monotonic().saturating_duration_since(started);
        let Some(left) = (node.scrub_period / count).checked_sub(waited) else {
            return Ok(());
        };
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(REST)).await;
    }
}
