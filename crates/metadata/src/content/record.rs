//! Receipts: a chunk and the places of its contents become known.
//!
//! The row of the chunk and those of its contents go in one batch, or the chunk's first. A chunk of many small
//! contents has rows all over the store: those that are new are written later, with those of other chunks.

use lfsfs_meta_store::{Batch, Row};
use lfsfs_types::{ContentId, ContentPlace, ProjectId};

use super::{
    ChunkReceipt, ChunkRow, ContentRow, KnownContent, Presence, PresenceCheck, ROWS_PER_READ,
    renew, row,
};
use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::RowValue as _;

impl Metadata {
    /// Notes a chunk and the places of its contents; where a content is present already, its first
    /// place stays. The same receipt may come any number of times.
    pub fn record_chunk(&self, receipt: &ChunkReceipt) -> Result<()> {
        self.record_chunk_for(None, receipt)
    }

    /// Notes a chunk that a client stored for a project. The project counts the bytes of a chunk that
    /// was unknown, once; one that is gone, or that the caller does not know, counts nothing.
    pub fn record_chunk_for(
        &self,
        project: Option<ProjectId>,
        receipt: &ChunkReceipt,
    ) -> Result<()> {
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
        let mut rest = places.as_slice();
        while let Some(count) = self.record_first(project, receipt, rest, many)? {
            rest = &rest[count..];
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Notes, in one batch, that a node has a chunk, and the first of these places, new ones later if there
    /// are `many`. Returns how many of them that were.
    fn record_first(
        &self,
        project: Option<ProjectId>,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
        many: bool,
    ) -> Result<Option<usize>> {
        let contents: Vec<_> = places.iter().map(|place| place.content).collect();
        for attempt in 0.. {
            let mut batch = Batch::new();
            self.record_replica(project, receipt, &mut batch)?;
            let known = if attempt == 0 {
                self.first_rows_filtered(&contents)?
            } else {
                self.first_content_rows(&contents)?
            };
            let count = known.len();
            let mut new = self.record_places(receipt, places, known, &mut batch)?;
            if !many {
                for (key, value) in new.drain(..) {
                    batch.require_absent(&*key).put(key, value);
                }
            }
            if batch.is_empty() || self.store().apply(batch)?.is_done() {
                self.put_later(new)?;
                return Ok((count > 0).then_some(count));
            }
        }
        Ok(None)
    }

    /// Adds to a batch that a node has a chunk, unless that is known, and for which project it was stored
    /// if it is a new one.
    fn record_replica(
        &self,
        project: Option<ProjectId>,
        receipt: &ChunkReceipt,
        batch: &mut Batch,
    ) -> Result<()> {
        let key = keys::chunk(receipt.info.id);
        let seen = self.store().get(&key)?;
        let mut row = match &seen {
            Some(value) => ChunkRow::decode(&key, value)?,
            None => ChunkRow::of(&receipt.info),
        };
        if row.nodes.is_empty() {
            // No datanode has what is known of it.
            row = ChunkRow::of(&receipt.info);
        }
        if row.info(receipt.info.id) != receipt.info {
            return Err(MetadataError::InvalidReceipt {
                problem: "the chunk is known with another length or footer",
            });
        }
        if row.nodes.contains(&receipt.node) {
            return Ok(());
        }
        if row.nodes.len() as u64 >= row::NODES_MAX {
            return Err(MetadataError::InvalidReceipt {
                problem: "too many nodes have the chunk",
            });
        }
        row.nodes.push(receipt.node);
        if let (Some(project), None) = (project, &seen) {
            self.count_stored(batch, project, receipt.info.len)?;
        }
        batch
            .require_unchanged(&*key, seen)
            .put(&*key, row.encode());
        Ok(())
    }

    /// Adds the places of contents to a batch, and returns the rows of new ones; `known` has the rows of the
    /// first of them.
    fn record_places(
        &self,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
        known: Vec<Option<KnownContent>>,
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
            renew(batch, place.content, &value, row, stamp);
        }
        Ok(rows_of_new)
    }
}
