//! Which datanodes have which chunks, from both sides.
//!
//! The row of a chunk names its nodes; a row for each node and chunk answers the other question without a
//! scan of all chunks. Both change in one batch.

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::{ChunkId, DecodeError, NodeId, Reader, Writer};

use super::ChunkRow;
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::project::Page;
use crate::rows::{Marker, RowValue};

/// A chunk, who has it, and how many should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHolders {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub len: u64,
    /// How many nodes should have it; 0 for as many as the cluster says.
    pub wanted: u32,
    /// Whether its nodes are to drop it, as nothing lies in it.
    pub is_unneeded: bool,
    /// The nodes that have reported it.
    pub nodes: Vec<NodeId>,
}

impl ChunkRow {
    pub(crate) fn holders(self, chunk: ChunkId) -> ChunkHolders {
        ChunkHolders {
            chunk,
            len: self.len,
            wanted: self.wanted,
            is_unneeded: self.is_unneeded,
            nodes: self.nodes,
        }
    }
}

/// That a node has a chunk.
pub(crate) struct NodeChunkRow {
    pub(crate) len: u64,
}

impl RowValue for NodeChunkRow {
    const WHAT: &'static str = "row of a node's chunk";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.len);
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        let len = reader.varint()?;
        Ok(Self { len })
    }
}

/// Adds to a batch that a node has a chunk.
pub(super) fn put(batch: &mut Batch, node: NodeId, chunk: ChunkId, len: u64) {
    batch.put(keys::node_chunk(node, chunk), NodeChunkRow { len }.encode());
}

/// Adds to a batch that a node has a chunk no more.
pub(super) fn remove(batch: &mut Batch, node: NodeId, chunk: ChunkId) {
    batch.delete(keys::node_chunk(node, chunk));
}

impl Metadata {
    /// Returns up to `limit` chunks that a node has reported, with their lengths, in the order of their ids,
    /// from behind `after`.
    pub fn chunks_of_node(
        &self,
        node: NodeId,
        after: Option<ChunkId>,
        limit: usize,
    ) -> Result<Page<(ChunkId, u64)>> {
        self.make_node_chunks()?;
        let prefix = keys::node_chunks(node);
        let range = match after {
            Some(chunk) => KeyRange::after(&keys::node_chunk(node, chunk), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().scan(range, limit)?;
        let chunk = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let NodeChunkRow { len } = NodeChunkRow::decode(key, value)?;
            Ok((keys::decode_node_chunk(key)?.1, len))
        };
        Ok(Page {
            items: found.rows.iter().map(chunk).collect::<Result<_>>()?,
            more: found.more,
        })
    }

    /// Returns up to `limit` chunks and who has them, in the order of their ids, from behind `after`.
    pub fn chunk_holders(
        &self,
        after: Option<ChunkId>,
        limit: usize,
    ) -> Result<Page<ChunkHolders>> {
        let prefix = [table::CHUNK];
        let range = match after {
            Some(chunk) => KeyRange::after(&keys::chunk(chunk), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().scan(range, limit)?;
        let holders = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let chunk = ChunkId(keys::decode_id(table::CHUNK, key)?);
            Ok(ChunkRow::decode(key, value)?.holders(chunk))
        };
        Ok(Page {
            items: found.rows.iter().map(holders).collect::<Result<_>>()?,
            more: found.more,
        })
    }

    /// Returns who has those of these chunks that are known.
    pub fn holders_of(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkHolders>> {
        let rows = chunks.iter().zip(self.chunk_rows(chunks)?);
        let known = rows.filter_map(|(chunk, row)| Some(row?.holders(*chunk)));
        Ok(known.collect())
    }

    /// Returns how many chunks a node has that no other node has.
    pub fn only_copies(&self, node: NodeId) -> Result<u64> {
        let (mut only, mut after) = (0, None);
        loop {
            let page = self.chunks_of_node(node, after, SCAN_PAGE)?;
            let chunks: Vec<_> = page.items.iter().map(|(chunk, _)| *chunk).collect();
            let holders = self.holders_of(&chunks)?;
            only += holders.iter().filter(|it| it.nodes == [node]).count() as u64;
            after = chunks.last().copied();
            if !page.more {
                return Ok(only);
            }
        }
    }

    /// Returns true if each node has the rows of its chunks.
    pub(crate) fn has_node_chunks(&self) -> Result<bool> {
        Ok(self.store().get(&keys::node_chunks_mark())?.is_some())
    }

    /// Makes the rows of nodes and their chunks in a store of an earlier program, which had none.
    pub(crate) fn make_node_chunks(&self) -> Result<()> {
        if self.has_node_chunks()? {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.chunk_holders(after, SCAN_PAGE)?;
            for holders in &page.items {
                self.make_rows_of(holders.chunk)?;
                after = Some(holders.chunk);
            }
            if !page.more {
                break;
            }
        }
        let mut batch = Batch::new();
        batch.put(keys::node_chunks_mark(), Marker.encode());
        self.store().write(batch)?;
        Ok(())
    }

    /// Makes the rows of the nodes that have a chunk, unless another thread changes that meanwhile.
    fn make_rows_of(&self, chunk: ChunkId) -> Result<()> {
        let key = keys::chunk(chunk);
        loop {
            let Some(value) = self.store().get(&key)? else {
                return Ok(());
            };
            let row = ChunkRow::decode(&key, &value)?;
            let mut batch = Batch::new();
            batch.require_equals(&*key, value);
            for node in &row.nodes {
                put(&mut batch, *node, chunk, row.len);
            }
            if row.nodes.is_empty() || self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }
}
