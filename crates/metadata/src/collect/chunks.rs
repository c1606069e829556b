//! Chunks in which no content lies.
//!
//! Such a chunk is marked. The coordinator has each datanode drop it, and looks once more then, so a chunk whose
//! contents a client has stored again meanwhile stays. With the last copy the row of the chunk goes.

use std::collections::HashMap;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::ChunkId;

use crate::content::{ChunkHolders, ChunkRow, ContentBody, ContentRow};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::RowValue as _;

/// Chunks that are counted in one pass over all contents.
const CHUNKS_AT_ONCE: usize = 200_000;

/// Chunks in which nothing lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnneededChunks {
    /// How many there are.
    pub count: u64,
    /// Bytes of all of their copies.
    pub bytes: u64,
}

impl Metadata {
    /// Marks the chunks in which no content lies, and calls `marked` with some of them at a time. Those that no
    /// datanode has go at once. A chunk out of which contents were moved in the last `grace_secs` stays: a reader may
    /// know it as their place.
    pub fn mark_unneeded_chunks(
        &self,
        grace_secs: u64,
        mut marked: impl FnMut(Vec<ChunkHolders>),
    ) -> Result<UnneededChunks> {
        let mut unneeded = UnneededChunks::default();
        let mut after = None;
        let moved_max = self.stamp().saturating_sub(grace_secs);
        while !self.stops() {
            let empty = self.empty_chunks(&mut after)?;
            for chunks in empty.chunks(SCAN_PAGE) {
                let mut holders = Vec::new();
                for chunk in chunks {
                    holders.extend(self.mark_unneeded(*chunk, moved_max)?);
                }
                unneeded.count += holders.len() as u64;
                let bytes = holders.iter().map(|it| it.len * it.nodes.len() as u64);
                unneeded.bytes += bytes.sum::<u64>();
                self.store().flush()?;
                holders.retain(|it| !it.nodes.is_empty());
                marked(holders);
            }
            if after.is_none() {
                break;
            }
        }
        Ok(unneeded)
    }

    /// Returns the chunks without contents among the next ones, and from where to go on.
    fn empty_chunks(&self, after: &mut Option<ChunkId>) -> Result<Vec<ChunkId>> {
        // First the chunks: one that comes later is not looked at.
        let mut is_empty = HashMap::new();
        loop {
            let page = self.chunk_holders(*after, SCAN_PAGE)?;
            is_empty.extend(page.items.iter().map(|it| (it.chunk, true)));
            *after = page.items.last().filter(|_| page.more).map(|it| it.chunk);
            if after.is_none() || is_empty.len() >= CHUNKS_AT_ONCE {
                break;
            }
        }
        let contents = KeyRange::prefix(&[table::CONTENT]);
        for row in self.store().scan_all(contents, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                return Ok(Vec::new());
            }
            if let ContentBody::Place { chunk, .. } = ContentRow::decode(&key, &value)?.body
                && let Some(is_empty) = is_empty.get_mut(&chunk)
            {
                *is_empty = false;
            }
        }
        let mut empty: Vec<_> = is_empty
            .into_iter()
            .filter(|it| it.1)
            .map(|it| it.0)
            .collect();
        empty.sort_unstable();
        Ok(empty)
    }

    /// Marks a chunk, unless contents were moved out of it behind that second, or another thread changes it at this
    /// moment. Returns who has it.
    fn mark_unneeded(&self, chunk: ChunkId, moved_max: u64) -> Result<Option<ChunkHolders>> {
        let key = keys::chunk(chunk);
        let Some(seen) = self.store().get(&key)? else {
            return Ok(None);
        };
        let row = ChunkRow::decode(&key, &seen)?;
        if row.moved > moved_max {
            return Ok(None);
        }
        let marked = ChunkRow {
            is_unneeded: true,
            ..row.clone()
        };
        let mut batch = Batch::new();
        batch
            .require_equals(&*key, seen)
            .put(&*key, marked.encode());
        if row != marked && !self.store().apply(batch)?.is_done() {
            return Ok(None);
        }
        if row.nodes.is_empty() {
            self.remove_chunk(chunk)?;
        }
        Ok(Some(marked.holders(chunk)))
    }

    /// Removes the row of a chunk that is marked and that no datanode has. Its project counts it no more.
    pub(crate) fn remove_chunk(&self, chunk: ChunkId) -> Result<()> {
        let key = keys::chunk(chunk);
        loop {
            let Some(seen) = self.store().get(&key)? else {
                return Ok(());
            };
            let row = ChunkRow::decode(&key, &seen)?;
            if !row.is_unneeded || !row.nodes.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            if let Some(project) = row.project {
                self.uncount_stored(&mut batch, project, row.len)?;
            }
            batch.require_equals(&*key, seen).delete(&*key);
            if self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }
}
