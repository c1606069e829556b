//! The coordinator forgets what a datanode has lost: it names that datanode for these chunks no more.
//!
//! Forgetting is durable before it is answered, so a datanode deletes a chunk only when the
//! coordinator sends no client there any more. The row of the chunk stays, even without nodes; see
//! [`super::presence`].

use std::collections::BTreeSet;

use lfsfs_meta_store::{Batch, Read, Rows};
use lfsfs_types::{ChunkId, ContentId, NodeId};

use super::{ChunkRow, ContentBody, ContentRow, ROWS_PER_READ, holders};
use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::RowValue as _;

/// What became of the places that a node had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// How many places were forgotten.
    pub places: u64,
    /// The chunks that no node has any more.
    pub lost: Vec<ChunkId>,
}

/// What must stay when a node gives up its copy of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// How many other nodes must have it, unless the chunk says otherwise.
    pub least: usize,
    /// The nodes that count.
    pub live: &'a [NodeId],
}

impl Metadata {
    /// Forgets that a node has these chunks. On return that is durable. Chunks that it was not known
    /// to have count for nothing.
    pub fn forget_replicas(&self, node: NodeId, chunks: &[ChunkId]) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        let chunks: BTreeSet<_> = chunks.iter().copied().collect();
        let chunks: Vec<_> = chunks.into_iter().collect();
        // For each chunk two rows are written.
        let group_len = (self.store().batch_ops_max() / 2).min(ROWS_PER_READ);
        for group in chunks.chunks(group_len) {
            while !self.try_forget(node, group, &mut forgotten)? {}
        }
        if forgotten.places > 0 {
            self.store().flush()?;
        }
        Ok(forgotten)
    }

    /// Forgets that a node has a chunk that it wants to delete, unless too few others would have it, and
    /// it is the place of a content.
    ///
    /// `contents` is all that is in the chunk.
    pub fn release_replica(
        &self,
        node: NodeId,
        chunk: ChunkId,
        contents: &[ContentId],
        keep: Keep<'_>,
    ) -> Result<()> {
        let key = keys::chunk(chunk);
        loop {
            let seen = self.store().get(&key)?;
            let row = seen.as_ref().map(|value| ChunkRow::decode(&key, value));
            let row = row.transpose()?;
            self.refuse_if_needed(node, chunk, row.as_ref(), contents, keep)?;
            let (Some(seen), Some(mut row)) = (seen, row) else {
                return Ok(());
            };
            let is_unneeded = row.is_unneeded;
            if row.nodes.contains(&node) {
                row.nodes.retain(|known| *known != node);
                let mut batch = Batch::new();
                // A receipt that took the mark away since may have come before a place of a content.
                batch.require_equals(&*key, seen).put(&*key, row.encode());
                holders::remove(&mut batch, node, chunk);
                if !self.store().apply(batch)?.is_done() {
                    continue;
                }
                self.store().flush()?;
            }
            if is_unneeded {
                self.remove_chunk(chunk)?;
            }
            return Ok(());
        }
    }

    /// Fails if a node must keep its copy of a chunk.
    fn refuse_if_needed(
        &self,
        node: NodeId,
        chunk: ChunkId,
        row: Option<&ChunkRow>,
        contents: &[ContentId],
        keep: Keep<'_>,
    ) -> Result<()> {
        let counts = |known: &&NodeId| **known != node && keep.live.contains(known);
        let is_unneeded = row.is_some_and(|row| row.is_unneeded);
        let others = row.is_some_and(|row| {
            let least = match row.wanted {
                0 => keep.least,
                wanted => wanted as usize,
            };
            row.nodes.iter().filter(counts).count() >= least
        });
        self.for_content_rows(contents, |_, rows| {
            let mut found = rows.iter().flatten();
            if !others && found.any(|row| lies_in(&row.1, chunk)) {
                if is_unneeded {
                    self.need_again(chunk)?;
                }
                return Err(MetadataError::ChunkInUse { chunk });
            }
            Ok(())
        })
    }

    /// Takes back that nothing lies in a chunk.
    fn need_again(&self, chunk: ChunkId) -> Result<()> {
        let key = keys::chunk(chunk);
        loop {
            let Some(seen) = self.store().get(&key)? else {
                return Ok(());
            };
            let row = ChunkRow {
                is_unneeded: false,
                ..ChunkRow::decode(&key, &seen)?
            };
            let mut batch = Batch::new();
            batch.require_equals(&*key, seen).put(&*key, row.encode());
            if self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }

    /// Returns false if another thread changed a row meanwhile.
    fn try_forget(
        &self,
        node: NodeId,
        chunks: &[ChunkId],
        forgotten: &mut Forgotten,
    ) -> Result<bool> {
        let reads: Vec<_> = chunks
            .iter()
            .map(|chunk| Read::get(keys::chunk(*chunk)))
            .collect();
        let found = self.store().read(&reads)?;
        let mut batch = Batch::new();
        let mut now = Forgotten::default();
        for (chunk, rows) in chunks.iter().zip(found.into_iter().map(Rows::into_first)) {
            let Some((key, value)) = rows else { continue };
            let mut row = ChunkRow::decode(&key, &value)?;
            let before = row.nodes.len();
            row.nodes.retain(|known| *known != node);
            if row.nodes.len() == before {
                continue;
            }
            now.places += 1;
            if row.nodes.is_empty() {
                now.lost.push(*chunk);
            }
            batch.require_equals(&*key, value).put(&*key, row.encode());
            holders::remove(&mut batch, node, *chunk);
        }
        if !batch.is_empty() && !self.store().apply(batch)?.is_done() {
            return Ok(false);
        }
        forgotten.places += now.places;
        forgotten.lost.extend(now.lost);
        Ok(true)
    }
}

fn lies_in(row: &ContentRow, place: ChunkId) -> bool {
    matches!(row.body, ContentBody::Place { chunk, .. } if chunk == place)
}
