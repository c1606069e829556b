//! Receipts: a chunk and the places of its contents become known.
//!
//! The row of the chunk and those of its contents go in one batch, or the chunk's first. A chunk of many small
//! contents has rows all over the store: those that are new are written later, with those of other chunks.

use lfsfs_meta_store::{Batch, Row};
use lfsfs_types::{ChunkId, ContentId, ContentPlace, NodeId, ProjectId};

use super::{
    ChunkHolders, ChunkReceipt, ChunkRow, ContentRow, KnownContent, Presence, PresenceCheck,
    ROWS_PER_READ, holders, row,
};
use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::RowValue as _;

/// For what a chunk was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredFor {
    /// The project of the client that sent it. The project counts the bytes of a chunk that was unknown,
    /// once; one that is gone, or that the caller does not know, counts nothing.
    pub project: Option<ProjectId>,
    /// How many nodes should have it; 0 for as many as the cluster says.
    pub copies: u32,
    /// How many nodes must have a new chunk before its contents count as present.
    pub copies_min: u32,
    /// Whether a datanode found it, and the metadata is that of a backup. Then its contents have their place in it
    /// from now on: where they had it before may have been rewritten since the backup, and be gone.
    pub is_found: bool,
}

/// What one batch has recorded.
struct Recorded {
    /// How many places.
    count: usize,
    /// The chunk as it is now.
    row: ChunkRow,
}

impl Metadata {
    /// Notes a chunk and the places of its contents; where a content is present already, its first
    /// place stays. The same receipt may come any number of times.
    pub fn record_chunk(&self, receipt: &ChunkReceipt) -> Result<()> {
        self.record_chunk_for(StoredFor::default(), receipt)?;
        Ok(())
    }

    /// As [`record_chunk`](Self::record_chunk), for a chunk of which it is known for what it was stored.
    /// Returns who has it now.
    pub fn record_chunk_for(
        &self,
        stored: StoredFor,
        receipt: &ChunkReceipt,
    ) -> Result<ChunkHolders> {
        let foreign = |place: &ContentPlace| place.chunk != receipt.info.id;
        if receipt.places.iter().any(foreign) {
            return Err(MetadataError::InvalidReceipt {
                problem: "a place names another chunk",
            });
        }
        if self.node(receipt.node)?.is_none() {
            return Err(MetadataError::UnknownNode { node: receipt.node });
        }
        let mut places: Vec<_> = receipt.places.iter().collect();
        places.retain(|place| place.content != ContentId::EMPTY);
        // Neighbours share pages of the store. Of several places of a content the first one counts.
        places.sort_by_key(|place| place.content);
        places.dedup_by_key(|place| place.content);
        let many = places.len() > ROWS_PER_READ;
        let stored = StoredFor {
            is_found: stored.is_found && !self.is_known_to_have(receipt.node, receipt.info.id)?,
            ..stored
        };
        let mut rest = places.as_slice();
        loop {
            let recorded = self.record_first(stored, receipt, rest, many)?;
            rest = &rest[recorded.count..];
            if rest.is_empty() || recorded.count == 0 {
                return Ok(recorded.row.holders(receipt.info.id));
            }
        }
    }

    fn is_known_to_have(&self, node: NodeId, chunk: ChunkId) -> Result<bool> {
        let known = self.holders_of(&[chunk])?;
        Ok(known.iter().any(|it| it.nodes.contains(&node)))
    }

    /// Notes, in one batch, that a node has a chunk, and the first of these places, new ones later if there
    /// are `many`.
    fn record_first(
        &self,
        stored: StoredFor,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
        many: bool,
    ) -> Result<Recorded> {
        let contents: Vec<_> = places.iter().map(|place| place.content).collect();
        let mut is_first = true;
        loop {
            let mut batch = Batch::new();
            let row = self.record_replica(stored, receipt, &mut batch)?;
            let known = if std::mem::take(&mut is_first) {
                self.first_rows_filtered(&contents)?
            } else {
                self.first_content_rows(&contents)?
            };
            let count = known.len();
            let preferred = stored.is_found && row.is_present();
            let mut new = self.record_places(receipt, places, known, preferred, &mut batch)?;
            if !many {
                for (key, value) in new.drain(..) {
                    batch.require_absent(&*key).put(key, value);
                }
            }
            if batch.is_empty() || self.store().apply(batch)?.is_done() {
                self.put_later(new)?;
                return Ok(Recorded { count, row });
            }
        }
    }

    /// Adds to a batch that a node has a chunk, unless that is known, and for which project it was stored
    /// if it is a new one. Returns the row of the chunk as it is then.
    fn record_replica(
        &self,
        stored: StoredFor,
        receipt: &ChunkReceipt,
        batch: &mut Batch,
    ) -> Result<ChunkRow> {
        let key = keys::chunk(receipt.info.id);
        let seen = self.store().get(&key)?;
        let mut row = match &seen {
            Some(value) => ChunkRow::decode(&key, value)?,
            None => ChunkRow::of(&receipt.info),
        };
        if row.nodes.is_empty() {
            // No datanode has what is known of it.
            row = ChunkRow {
                wanted: row.wanted,
                awaited: stored.copies_min,
                project: row.project,
                raw_len: receipt.raw_len(),
                ..ChunkRow::of(&receipt.info)
            };
        }
        if row.info(receipt.info.id) != receipt.info {
            return Err(MetadataError::InvalidReceipt {
                problem: "the chunk is known with another length or footer",
            });
        }
        let wanted = row.wanted.max(stored.copies);
        if row.nodes.contains(&receipt.node) && wanted == row.wanted && !row.is_unneeded {
            return Ok(row);
        }
        if row.nodes.len() as u64 >= row::NODES_MAX {
            return Err(MetadataError::InvalidReceipt {
                problem: "too many nodes have the chunk",
            });
        }
        row.wanted = wanted;
        // What is reported now may be needed by a client that has just sent it.
        row.is_unneeded = false;
        if !row.nodes.contains(&receipt.node) {
            row.nodes.push(receipt.node);
            holders::put(batch, receipt.node, receipt.info.id, row.len);
        }
        if row.nodes.len() >= row.awaited as usize {
            row.awaited = 0;
        }
        if let (Some(project), None) = (stored.project, &seen) {
            let counts = self.count_stored(batch, project, receipt.info.len)?;
            row.project = Some(project).filter(|_| counts);
        }
        batch
            .require_unchanged(&*key, seen)
            .put(&*key, row.encode());
        Ok(row)
    }

    /// Adds the places of contents to a batch, and returns the rows of new ones; `known` has the rows of the
    /// first of them. If this chunk is the one to be `preferred`, contents that lie in another one move.
    fn record_places(
        &self,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
        known: Vec<Option<KnownContent>>,
        preferred: bool,
        batch: &mut Batch,
    ) -> Result<Vec<Row>> {
        let stamp = self.stamp();
        let mut rows_of_new = Vec::new();
        let mut check = PresenceCheck::new(self);
        check.note_chunk(receipt.info.id);
        let rows = known.iter().map(|known| known.as_ref().map(|it| &it.1));
        let presence = check.of_rows(rows)?;
        for ((place, known), presence) in places.iter().zip(known).zip(presence) {
            let key = keys::content(place.content);
            let new = ContentRow::of_place(place, stamp);
            let Some((value, row)) = known else {
                rows_of_new.push((key, new.encode()));
                self.inner.contents.add(place.content);
                continue;
            };
            if presence == Presence::Lost || row.lies_elsewhere_in(place) {
                batch.require_equals(&*key, value).put(&*key, new.encode());
                continue;
            }
            if row.len != u64::from(place.len) {
                return Err(MetadataError::InvalidReceipt {
                    problem: "a content is known with another length",
                });
            }
            if preferred && row.place(place.content).is_some_and(|it| it != **place) {
                batch.require_equals(&*key, value).put(&*key, new.encode());
                continue;
            }
            self.renew(batch, place.content, &value, row, stamp)?;
        }
        Ok(rows_of_new)
    }
}
