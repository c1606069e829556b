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

use std::collections::BTreeSet;

use lfsfs_meta_store::{Batch, Read, Rows};
use lfsfs_types::content::{Content, Piece, PieceList};
use lfsfs_types::limits::PIECES_INLINE_MAX;
use lfsfs_types::{ChunkId, ChunkInfo, ContentId, ContentPlace, NodeId};

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

/// How many rows are looked at in one read.
const ROWS_PER_READ: usize = 4000;
/// How many bytes of rows: that of a content may have 8,192 pieces.
const BYTES_PER_READ: usize = 4 << 20;

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
        let mut rest = places.as_slice();
        while let Some(count) = self.record_first(receipt, rest)? {
            rest = &rest[count..];
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Returns those of `contents` that are not present, each once, in the order of their ids, and renews
    /// the stamp of the others.
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
        let mut check = PresenceCheck::new(self);
        // Neighbours share pages of the store.
        let asked: BTreeSet<_> = contents.iter().copied().collect();
        let asked: Vec<_> = asked.into_iter().collect();
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let stored = self.first_stored(rest, &mut check)?;
            let (looked_up, left) = rest.split_at(stored.len());
            for (content, stored) in looked_up.iter().zip(stored) {
                found(*content, stored);
            }
            rest = left;
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
        self.check_pieces(content, list)?;
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

    /// Calls `each` with contents and their rows, as many at once as may be held.
    pub(crate) fn for_content_rows(
        &self,
        contents: &[ContentId],
        mut each: impl FnMut(&[ContentId], Vec<Option<KnownContent>>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = contents;
        while !rest.is_empty() {
            let rows = self.first_content_rows(rest)?;
            let (read, left) = rest.split_at(rows.len());
            each(read, rows)?;
            rest = left;
        }
        Ok(())
    }

    /// Returns the row of a content.
    pub(crate) fn content_row(&self, content: ContentId) -> Result<Option<ContentRow>> {
        get_row(self.store(), &keys::content(content))
    }

    /// Returns the rows of the first of these contents, as many as may be held at once.
    fn first_content_rows(&self, contents: &[ContentId]) -> Result<Vec<Option<KnownContent>>> {
        let first = contents.iter().take(self.rows_per_batch());
        let reads: Vec<_> = first
            .map(|content| Read::get(keys::content(*content)))
            .collect();
        let found = self.store().read_within(&reads, BYTES_PER_READ)?;
        let decoded = found.into_iter().map(Rows::into_first).map(|row| {
            row.map(|(key, value)| ContentRow::decode(&key, &value).map(|row| (value, row)))
                .transpose()
        });
        Ok(decoded.collect::<Result<_, _>>()?)
    }

    /// Returns how many rows may be read to be written again in one batch, with one more.
    fn rows_per_batch(&self) -> usize {
        (self.store().batch_ops_max() - 1).min(ROWS_PER_READ)
    }

    /// Returns the seconds since 1970. They tell which contents no client asked for in a long time.
    fn stamp(&self) -> u64 {
        u64::try_from(self.now().secs).unwrap_or(0)
    }

    /// Notes, in one batch, that a node has a chunk, and the first of these places. Returns how many of
    /// them that were.
    fn record_first(
        &self,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
    ) -> Result<Option<usize>> {
        let contents: Vec<_> = places.iter().map(|place| place.content).collect();
        loop {
            let mut batch = Batch::new();
            self.record_replica(receipt, &mut batch)?;
            let known = self.first_content_rows(&contents)?;
            let count = known.len();
            self.record_places(receipt, places, known, &mut batch)?;
            if batch.is_empty() || self.store().apply(batch)?.is_done() {
                return Ok((count > 0).then_some(count));
            }
        }
    }

    /// Adds to a batch that a node has a chunk, unless that is known.
    fn record_replica(&self, receipt: &ChunkReceipt, batch: &mut Batch) -> Result<()> {
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
        batch
            .require_unchanged(&*key, seen)
            .put(&*key, row.encode());
        Ok(())
    }

    /// Adds the places of contents to a batch; `known` has the rows of the first of them.
    fn record_places(
        &self,
        receipt: &ChunkReceipt,
        places: &[&ContentPlace],
        known: Vec<Option<KnownContent>>,
        batch: &mut Batch,
    ) -> Result<()> {
        let stamp = self.stamp();
        let mut check = PresenceCheck::new(self);
        check.note_chunk(receipt.info.id);
        let rows = known.iter().map(|known| known.as_ref().map(|it| &it.1));
        let presence = check.of_rows(rows)?;
        for ((place, known), presence) in places.iter().zip(known).zip(presence) {
            let key = keys::content(place.content);
            let new = ContentRow::of_place(place, stamp);
            let Some((value, row)) = known else {
                batch.require_absent(&*key).put(&*key, new.encode());
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
        Ok(())
    }

    /// Returns what is known of the first of these contents, as many as may be held at once.
    fn first_stored(
        &self,
        contents: &[ContentId],
        check: &mut PresenceCheck<'_>,
    ) -> Result<Vec<Stored>> {
        let stamp = self.stamp();
        loop {
            let known = self.first_content_rows(contents)?;
            let rows = known.iter().map(|known| known.as_ref().map(|it| &it.1));
            let presence = check.of_rows(rows)?;
            let mut stored = Vec::with_capacity(known.len());
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
    fn check_pieces(&self, content: ContentId, list: &PieceList) -> Result<()> {
        // A list may be so long that its pieces are looked at by groups.
        for group in list.pieces().chunks(ROWS_PER_READ) {
            self.check_some_pieces(content, group)?;
        }
        Ok(())
    }

    fn check_some_pieces(&self, content: ContentId, group: &[Piece]) -> Result<()> {
        let ids: Vec<_> = group.iter().map(|piece| piece.hash).collect();
        self.refuse_missing(self.missing(&ids)?)?;
        let mut pieces = group.iter();
        self.for_content_rows(&ids, |_, rows| {
            for (row, piece) in rows.into_iter().zip(pieces.by_ref()) {
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
            Ok(())
        })
    }

    /// Returns the rows of chunks, in the same order.
    pub(crate) fn chunk_rows(&self, chunks: &[ChunkId]) -> Result<Vec<Option<ChunkRow>>> {
        let mut rows = Vec::with_capacity(chunks.len());
        for group in chunks.chunks(ROWS_PER_READ) {
            let reads: Vec<_> = group.iter().map(|it| Read::get(keys::chunk(*it))).collect();
            for found in self.store().read(&reads)?.into_iter().map(Rows::into_first) {
                let row = found.map(|(key, value)| ChunkRow::decode(&key, &value));
                rows.push(row.transpose()?);
            }
        }
        Ok(rows)
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
