//! The datanodes that registered: their ids, addresses and generations.

use std::collections::BTreeSet;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _, Read, Rows};
use lfsfs_types::{DecodeError, NodeId, Reader, Timestamp, Writer};

use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::{RowValue, read_text, read_time, write_time};

/// Longest address of a datanode: a DNS name and a port.
const ADDRESS_LEN_MAX: usize = 300;

/// What a datanode says of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeFigures {
    /// Bytes that it may use for chunks.
    pub capacity: u64,
    /// Bytes that its chunks take.
    pub used: u64,
    /// How many chunks it has.
    pub chunks: u64,
}

/// A datanode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its identity, kept on its disk.
    pub id: NodeId,
    /// host:port where clients reach it.
    pub address: String,
    /// Raised at each registration; what an older one says is refused.
    pub generation: u64,
    /// When it last registered.
    pub seen: Timestamp,
    /// What it said of its disk when it registered.
    pub figures: NodeFigures,
}

impl Metadata {
    /// Registers a datanode that has started, and gives it a higher generation than ever before.
    /// That is durable on return.
    pub fn upsert_node(&self, id: NodeId, address: &str, figures: NodeFigures) -> Result<Node> {
        if address.is_empty() || address.len() > ADDRESS_LEN_MAX {
            return Err(MetadataError::InvalidAddress);
        }
        let key = keys::node(id);
        loop {
            let found = self.store().get(&key)?;
            let known = found.as_deref().map(|value| decode_node(&key, value));
            let known = known.transpose()?;
            let node = Node {
                id,
                address: address.to_owned(),
                generation: known.map_or(0, |node| node.generation) + 1,
                seen: self.now(),
                figures,
            };
            let mut batch = Batch::new();
            batch
                .require_unchanged(&*key, found)
                .put(&*key, NodeRow(node.clone()).encode());
            if self.store().apply(batch)?.is_done() {
                // A generation must never be given twice.
                self.store().flush()?;
                return Ok(node);
            }
        }
    }

    /// Returns all datanodes in the order of their ids.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let range = KeyRange::prefix(&[table::NODE]);
        let rows = self.store().scan_all(range, SCAN_PAGE);
        rows.map(|row| {
            let (key, value) = row?;
            decode_node(&key, &value)
        })
        .collect()
    }

    /// Returns those of some datanodes that are known, in the order of their ids.
    pub(crate) fn nodes_of(&self, ids: BTreeSet<NodeId>) -> Result<Vec<Node>> {
        let reads: Vec<_> = ids.iter().map(|id| Read::get(keys::node(*id))).collect();
        let found = self.store().read(&reads)?;
        let rows = found.into_iter().filter_map(Rows::into_first);
        rows.map(|(key, value)| decode_node(&key, &value)).collect()
    }

    /// Returns a datanode.
    pub fn node(&self, id: NodeId) -> Result<Option<Node>> {
        let key = keys::node(id);
        let value = self.store().get(&key)?;
        value.map(|value| decode_node(&key, &value)).transpose()
    }
}

/// The value of a node's row; the id stands in the key alone.
struct NodeRow(Node);

impl RowValue for NodeRow {
    const WHAT: &'static str = "node row";

    fn write(&self, writer: &mut Writer) {
        let node = &self.0;
        writer
            .bytes(node.address.as_bytes())
            .varint(node.generation);
        write_time(node.seen, writer);
        let NodeFigures {
            capacity,
            used,
            chunks,
        } = node.figures;
        writer.varint(capacity).varint(used).varint(chunks);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Node {
            id: NodeId([0; NodeId::LEN]),
            address: read_text(reader, ADDRESS_LEN_MAX)?,
            generation: reader.varint()?,
            seen: read_time(reader)?,
            figures: NodeFigures {
                capacity: reader.varint()?,
                used: reader.varint()?,
                chunks: reader.varint()?,
            },
        }))
    }
}

pub(crate) fn decode_node(key: &[u8], value: &[u8]) -> Result<Node> {
    let id = NodeId(keys::decode_id(table::NODE, key)?);
    let NodeRow(node) = NodeRow::decode(key, value)?;
    Ok(Node { id, ..node })
}
