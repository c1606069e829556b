//! Contents and chunks: what is stored, where it lies, and when a client last asked for it.
//!
//! A place is only ever taken from the receipt of the datanode that verified it. A content row is
//! written with or after the row of its chunk, so the chunk of every known content is known. A content
//! is *present* if some datanode has its chunk ([`presence`]); what datanodes lose is forgotten
//! ([`forget`]), and a later receipt gives the content a new place.
//! Nothing here is flushed: publishing a version flushes all that came before it, and a client that
//! lost its server asks again what is missing.

mod forget;
mod presence;
mod resolve;
mod row;

use std::collections::HashSet;

use lfsfs_meta_store::{Batch, Read, Rows};
use lfsfs_types::content::{Content, PieceList};
use lfsfs_types::limits::PIECES_INLINE_MAX;
use lfsfs_types::{ChunkInfo, ContentId, ContentPlace, NodeId, ProjectId};

pub use self::forget::Forgotten;
pub(crate) use self::presence::{Presence, PresenceCheck};
pub use self::resolve::{ChunkLocation, Resolution, Resolved, ResolvedContents};
pub(crate) use self::row::{ChunkRow, ContentBody, ContentRow};
use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::{Metadata, get_row};
use crate::rows::RowValue;

/// A stamp older than this is renewed when its content is asked for. What deletes contents must
/// give them a longer grace.
pub(crate) const STAMP_RENEWAL_SECS: u64 = 600;

/// How many contents are looked at in one read.
const CONTENTS_PER_READ: usize = 500;

/// What a datanode says of a chunk that it received, verified and made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkReceipt {
    /// The datanode that has it.
    pub node: NodeId,
    /// What it takes to read it.
    pub info: ChunkInfo,
    /// Where in it which contents lie.
    pub places: Vec<ContentPlace>,
}

/// What is known of a content that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) presence: Presence,
    /// Its length; 0 if it is unknown.
    pub(crate) len: u64,
}

/// The value of a content's row, as stored and as read.
pub(crate) type KnownContent = (Vec<u8>, ContentRow);

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
        self.record_replica(project, receipt)?;
        for places in receipt.places.chunks(self.contents_per_batch()) {
            self.record_places(places)?;
        }
        Ok(())
    }

    /// Returns those of `contents` that are not present, each once, and renews the stamp of the
    /// others.
    pub fn missing(&self, contents: &[ContentId]) -> Result<Vec<ContentId>> {
        let mut missing = Vec::new();
        self.look_up(contents, |content, stored| {
            if stored.presence != Presence::Present {
                missing.push(content);
            }
        })?;
        Ok(missing)
    }

    /// Calls `found` with what is known of each of `contents`, each once, and renews the stamps of
    /// those that are known.
    pub(crate) fn look_up(
        &self,
        contents: &[ContentId],
        mut found: impl FnMut(ContentId, Stored),
    ) -> Result<()> {
        let mut seen = HashSet::new();
        let mut check = PresenceCheck::new(self);
        for group in contents.chunks(self.contents_per_batch()) {
            let mut asked = group.to_vec();
            asked.retain(|content| seen.insert(*content));
            let stored = self.stored(&asked, &mut check)?;
            for (content, stored) in asked.into_iter().zip(stored) {
                found(content, stored);
            }
        }
        Ok(())
    }

    /// Notes of which pieces a large content is made.
    ///
    /// The list must have that id, and every piece must be stored with its length. A list of more
    /// than [`PIECES_INLINE_MAX`] pieces must be stored itself, as the content of its encoding.
    pub fn put_pieces(&self, content: ContentId, list: &PieceList) -> Result<()> {
        let refused = |problem| MetadataError::InvalidPieces { content, problem };
        if list.content_id() != content {
            return Err(refused("the list has another id"));
        }
        self.check_pieces(list)?;
        let body = if list.pieces().len() <= PIECES_INLINE_MAX {
            ContentBody::Pieces(list.clone())
        } else {
            let stored = Content::of_bytes(&list.encode()).id;
            self.refuse_missing(self.missing(&[stored])?)?;
            ContentBody::List {
                list: stored,
                count: list.count(),
            }
        };
        let row = ContentRow {
            stamp: self.stamp(),
            len: list.total_len(),
            body,
        };
        let key = keys::content(content);
        let mut batch = Batch::new();
        batch.require_absent(&*key).put(&*key, row.encode());
        if !self.store().apply(batch)?.is_done() {
            // The id says what the pieces are, so what is there is the same.
            self.missing(&[content])?;
        }
        Ok(())
    }

    /// Fails if there are missing contents, naming the first of them.
    pub(crate) fn refuse_missing(&self, mut missing: Vec<ContentId>) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let count = missing.len() as u64;
        missing.truncate(20);
        Err(MetadataError::MissingContents {
            first: missing,
            count,
        })
    }

    /// Returns the rows of contents, in the same order.
    pub(crate) fn content_rows(&self, contents: &[ContentId]) -> Result<Vec<Option<KnownContent>>> {
        let reads: Vec<_> = contents
            .iter()
            .map(|content| Read::get(keys::content(*content)))
            .collect();
        let found = self.store().read(&reads)?.into_iter().map(Rows::into_first);
        let decoded = found.map(|row| {
            row.map(|(key, value)| ContentRow::decode(&key, &value).map(|row| (value, row)))
                .transpose()
        });
        Ok(decoded.collect::<Result<_, _>>()?)
    }

    fn contents_per_batch(&self) -> usize {
        self.store().batch_ops_max().min(CONTENTS_PER_READ)
    }

    /// Returns the seconds since 1970. They tell which contents no client asked for in a long time.
    fn stamp(&self) -> u64 {
        u64::try_from(self.now().secs).unwrap_or(0)
    }

    /// Notes that a node has a chunk, and for which project it was stored if it is a new one.
    fn record_replica(&self, project: Option<ProjectId>, receipt: &ChunkReceipt) -> Result<()> {
        let key = keys::chunk(receipt.info.id);
        loop {
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
            let mut batch = Batch::new();
            if let (Some(project), None) = (project, &seen) {
                self.count_stored(&mut batch, project, receipt.info.len)?;
            }
            batch
                .require_unchanged(&*key, seen)
                .put(&*key, row.encode());
            if self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }

    fn record_places(&self, places: &[ContentPlace]) -> Result<()> {
        let stamp = self.stamp();
        let contents: Vec<_> = places.iter().map(|place| place.content).collect();
        loop {
            let known = self.content_rows(&contents)?;
            let mut batch = Batch::new();
            let mut taken = HashSet::from([ContentId::EMPTY]);
            let rows = known.iter().map(|known| known.as_ref().map(|it| &it.1));
            let presence = PresenceCheck::new(self).of_rows(rows)?;
            for ((place, known), presence) in places.iter().zip(known).zip(presence) {
                if !taken.insert(place.content) {
                    continue;
                }
                let Some((value, row)) = known else {
                    let key = keys::content(place.content);
                    let row = ContentRow::of_place(place, stamp);
                    batch.require_absent(&*key).put(&*key, row.encode());
                    continue;
                };
                let new = ContentRow::of_place(place, stamp);
                let moves = presence == Presence::Lost || row.lies_elsewhere_in(place);
                if moves {
                    let key = keys::content(place.content);
                    batch.require_equals(&*key, value).put(&*key, new.encode());
                    continue;
                }
                if row.len != u64::from(place.len) {
                    return Err(MetadataError::InvalidReceipt {
                        problem: "a content is known with another length",
                    });
                }
                renew(&mut batch, place.content, &value, row, stamp);
            }
            if self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }

    fn stored(&self, contents: &[ContentId], check: &mut PresenceCheck<'_>) -> Result<Vec<Stored>> {
        let stamp = self.stamp();
        loop {
            let known = self.content_rows(contents)?;
            let rows = known.iter().map(|known| known.as_ref().map(|it| &it.1));
            let presence = check.of_rows(rows)?;
            let mut stored = Vec::with_capacity(contents.len());
            let mut batch = Batch::new();
            for ((content, known), presence) in contents.iter().zip(known).zip(presence) {
                let len = known.as_ref().map_or(0, |(_, row)| row.len);
                stored.push(match *content {
                    ContentId::EMPTY => Stored {
                        presence: Presence::Present,
                        len: 0,
                    },
                    _ => Stored { presence, len },
                });
                if let Some((value, row)) = known {
                    renew(&mut batch, *content, &value, row, stamp);
                }
            }
            if batch.is_empty() || self.store().apply(batch)?.is_done() {
                return Ok(stored);
            }
        }
    }

    /// Fails unless each piece is stored in one place with its length.
    fn check_pieces(&self, list: &PieceList) -> Result<()> {
        let content = list.content_id();
        for pieces in list.pieces().chunks(self.contents_per_batch()) {
            let ids: Vec<_> = pieces.iter().map(|piece| piece.hash).collect();
            self.refuse_missing(self.missing(&ids)?)?;
            for (piece, row) in pieces.iter().zip(self.content_rows(&ids)?) {
                let fits = row.is_some_and(|(_, row)| {
                    row.len == u64::from(piece.len) && matches!(row.body, ContentBody::Place { .. })
                });
                if !fits {
                    return Err(MetadataError::InvalidPieces {
                        content,
                        problem: "a piece is stored with another length",
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the row of a chunk.
    pub(crate) fn chunk_row(&self, chunk: lfsfs_types::ChunkId) -> Result<Option<ChunkRow>> {
        get_row(self.store(), &keys::chunk(chunk))
    }
}

/// Adds the renewal of an old stamp to a batch, unless another thread changes the row meanwhile.
fn renew(batch: &mut Batch, content: ContentId, seen: &[u8], row: ContentRow, stamp: u64) {
    if row.stamp.saturating_add(STAMP_RENEWAL_SECS) > stamp {
        return;
    }
    let key = keys::content(content);
    let renewed = ContentRow { stamp, ..row };
    batch
        .require_equals(&*key, seen)
        .put(&*key, renewed.encode());
}
