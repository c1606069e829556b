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
/// Longest name of a zone.
const ZONE_LEN_MAX: usize = 64;

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
    /// What it shares with nodes that fail together with it; empty if it said nothing.
    pub zone: String,
    /// Whether an operator wants to take it away.
    pub is_draining: bool,
}

impl Metadata {
    /// Registers a datanode that has started, and gives it a higher generation than ever before.
    /// That is durable on return.
    pub fn upsert_node(&self, id: NodeId, address: &str, figures: NodeFigures) -> Result<Node> {
        self.upsert_node_in(id, address, "", figures)
    }

    /// As [`upsert_node`](Self::upsert_node), for a node in a zone.
    pub fn upsert_node_in(
        &self,
        id: NodeId,
        address: &str,
        zone: &str,
        figures: NodeFigures,
    ) -> Result<Node> {
        if address.is_empty() || address.len() > ADDRESS_LEN_MAX {
            return Err(MetadataError::InvalidAddress);
        }
        if zone.len() > ZONE_LEN_MAX {
            return Err(MetadataError::InvalidZone);
        }
        let key = keys::node(id);
        // A coordinator of before a restore may have given generations that no row has.
        let floor = self.generation_floor()?;
        loop {
            let found = self.store().get(&key)?;
            let known = found.as_deref().map(|value| decode_node(&key, value));
            let known = known.transpose()?;
            let last = known.as_ref().map_or(0, |node| node.generation);
            let node = Node {
                id,
                address: address.to_owned(),
                generation: last.max(floor) + 1,
                seen: self.now(),
                figures,
                zone: zone.to_owned(),
                is_draining: known.is_some_and(|node| node.is_draining),
            };
            // A generation must never be given twice.
            if self.put_node(&key, found, &node)? {
                return Ok(node);
            }
        }
    }

    /// Notes whether an operator wants to take a node away. That is durable on return. Returns `None` if
    /// there is no such node.
    pub fn set_draining(&self, id: NodeId, is_draining: bool) -> Result<Option<Node>> {
        let key = keys::node(id);
        loop {
            let Some(found) = self.store().get(&key)? else {
                return Ok(None);
            };
            let node = Node {
                is_draining,
                ..decode_node(&key, &found)?
            };
            if self.put_node(&key, Some(found), &node)? {
                return Ok(Some(node));
            }
        }
    }

    /// Forgets a node, and that it has any chunk. Returns how many chunks no node has any more, and `None`
    /// if there is no such node.
    ///
    /// The row of the node goes last, so that a crash in between leaves a node that can be removed again.
    pub fn remove_node(&self, id: NodeId) -> Result<Option<u64>> {
        let key = keys::node(id);
        if self.store().get(&key)?.is_none() {
            return Ok(None);
        }
        let (mut lost, mut after) = (0, None);
        loop {
            let page = self.chunks_of_node(id, after, SCAN_PAGE)?;
            let chunks: Vec<_> = page.items.iter().map(|(chunk, _)| *chunk).collect();
            lost += self.forget_replicas(id, &chunks)?.lost.len() as u64;
            after = chunks.last().copied();
            if !page.more {
                break;
            }
        }
        let mut batch = Batch::new();
        batch.delete(&*key);
        self.store().write(batch)?;
        self.store().flush()?;
        Ok(Some(lost))
    }

    fn put_node(&self, key: &[u8], found: Option<Vec<u8>>, node: &Node) -> Result<bool> {
        let mut batch = Batch::new();
        batch
            .require_unchanged(key, found)
            .put(key, NodeRow(node.clone()).encode());
        if !self.store().apply(batch)?.is_done() {
            return Ok(false);
        }
        self.store().flush()?;
        Ok(true)
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
    const FORMAT_NEWEST: u8 = 2;

    fn format(&self) -> u8 {
        if self.0.is_draining || !self.0.zone.is_empty() {
            2
        } else {
            1
        }
    }

    fn write_fields_of(&self, _: u8, writer: &mut Writer) {
        writer.bytes(self.0.zone.as_bytes());
        writer.u8(u8::from(self.0.is_draining));
    }

    fn read_fields_of(&mut self, _: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.0.zone = read_text(reader, ZONE_LEN_MAX)?;
        self.0.is_draining = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("neither yes nor no")),
        };
        Ok(())
    }

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
            zone: String::new(),
            is_draining: false,
        }))
    }
}

/// Returns the row of a node with a generation above this one, and above that of the row.
pub(crate) fn raise_generation(key: &[u8], value: &[u8], floor: u64) -> Result<Vec<u8>> {
    let node = decode_node(key, value)?;
    let generation = node.generation.max(floor).saturating_add(1);
    Ok(NodeRow(Node { generation, ..node }).encode())
}

pub(crate) fn decode_node(key: &[u8], value: &[u8]) -> Result<Node> {
    let id = NodeId(keys::decode_id(table::NODE, key)?);
    let NodeRow(node) = NodeRow::decode(key, value)?;
    Ok(Node { id, ..node })
}
