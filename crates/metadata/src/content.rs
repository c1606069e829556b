//! Contents and chunks: what is stored, where it lies, and when a client last asked for it.
//!
//! A place is only ever taken from the receipt of the datanode that verified it. A content row is
//! written with or after the row of its chunk, so the chunk of every known content is known. A content
//! is *present* if some datanode has its chunk ([`presence`]); what datanodes lose is forgotten
//! ([`forget`]), and a later receipt gives the content a new place.
//! Nothing here is flushed: publishing a version flushes all that came before it, and a client that
//! lost its server asks again what is missing.

mod forget;
mod holders;
mod pieces;
mod presence;
mod record;
mod resolve;
mod row;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _, Read, Row, Rows};
use lfsfs_types::{ChunkId, ChunkInfo, ContentId, ContentPlace, NodeId};

pub use self::forget::{Forgotten, Keep};
pub use self::holders::ChunkHolders;
pub(crate) use self::holders::NodeChunkRow;
pub(crate) use self::presence::{Presence, PresenceCheck};
pub use self::record::StoredFor;
pub use self::resolve::{ChunkLocation, Resolution, Resolved, ResolvedContents};
pub(crate) use self::row::{ChunkRow, ContentBody, ContentRow};
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE, get_row};
use crate::rows::RowValue;

/// A stamp older than this is renewed when its content is asked for. What deletes contents must
/// give them a longer grace.
pub(crate) const STAMP_RENEWAL_SECS: u64 = 600;

/// Rows that a batch with the contents of a receipt looks at or writes besides, at most.
const ROWS_OF_RECEIPT: usize = 6;
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

impl ChunkReceipt {
    /// Returns how many bytes lie in the chunk, not compressed.
    fn raw_len(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.len)).sum()
    }
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
    /// Returns those of `contents` that are not present, each once, in the order of their ids, and renews
    /// the stamp of the others.
    pub fn missing(&self, contents: &[ContentId]) -> Result<Vec<ContentId>> {
        let mut missing = Vec::new();
        let asked: BTreeSet<_> = contents.iter().copied().collect();
        let asked: Vec<_> = asked.into_iter().collect();
        self.look_up(&asked, |content, stored| {
            if stored.presence != Presence::Present {
                missing.push(content);
            }
        })?;
        Ok(missing)
    }

    /// Calls `found` with what is known of each of `contents`, and renews the stamps of those that are
    /// known. They are in the order of their ids, each once: neighbours share pages of the store.
    pub(crate) fn look_up(
        &self,
        contents: &[ContentId],
        mut found: impl FnMut(ContentId, Stored),
    ) -> Result<()> {
        let mut check = PresenceCheck::new(self);
        let mut rest = contents;
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
    pub(crate) fn first_content_rows(
        &self,
        contents: &[ContentId],
    ) -> Result<Vec<Option<KnownContent>>> {
        self.first_rows_of(contents, |_| true)
    }

    /// As [`first_content_rows`](Self::first_content_rows); contents of which it is known that they have no
    /// row are not looked up.
    fn first_rows_filtered(&self, contents: &[ContentId]) -> Result<Vec<Option<KnownContent>>> {
        let filter = &self.inner.contents;
        self.first_rows_of(contents, |content| filter.may_have(content))
    }

    fn first_rows_of(
        &self,
        contents: &[ContentId],
        may_have: impl Fn(ContentId) -> bool,
    ) -> Result<Vec<Option<KnownContent>>> {
        let first = &contents[..contents.len().min(self.rows_per_batch())];
        let looked_up = first.iter().filter(|content| may_have(**content));
        let looked_up: Vec<_> = looked_up.copied().collect();
        let reads: Vec<_> = looked_up
            .iter()
            .map(|it| Read::get(keys::content(*it)))
            .collect();
        let mut found = if reads.is_empty() {
            Vec::new()
        } else {
            self.store().read_within(&reads, BYTES_PER_READ)?
        }
        .into_iter();
        let mut looked_up = looked_up.into_iter().peekable();
        let mut rows = Vec::with_capacity(first.len());
        for content in first {
            if looked_up.next_if_eq(content).is_none() {
                rows.push(None);
                continue;
            }
            let Some(row) = found.next() else { break };
            let decode = |(key, value): Row| Ok((ContentRow::decode(&key, &value)?, value));
            let row: Result<Option<_>> = row.into_first().map(decode).transpose();
            rows.push(row?.map(|(row, value)| (value, row)));
        }
        Ok(rows)
    }

    /// Adds all contents that have a row to the filter; see [`ContentFilter`](crate::content_filter::ContentFilter).
    pub(crate) fn fill_filter(&self) -> Result<()> {
        let contents = KeyRange::prefix(&[table::CONTENT]);
        for row in self.store().scan_all(contents, SCAN_PAGE) {
            if self.stops() {
                return Ok(());
            }
            let id = keys::decode_id(table::CONTENT, &row?.0)?;
            self.inner.contents.add(ContentId(id));
        }
        self.inner.contents.fill();
        Ok(())
    }

    /// Returns how many rows may be read to be written again in one batch, with those of a chunk and its
    /// project.
    fn rows_per_batch(&self) -> usize {
        (self.store().batch_ops_max() - ROWS_OF_RECEIPT).min(ROWS_PER_READ)
    }

    /// Returns the seconds since 1970. They tell which contents no client asked for in a long time.
    pub(crate) fn stamp(&self) -> u64 {
        u64::try_from(self.now().secs).unwrap_or(0)
    }

    /// Returns what is known of the first of these contents, as many as may be held at once.
    fn first_stored(
        &self,
        contents: &[ContentId],
        check: &mut PresenceCheck<'_>,
    ) -> Result<Vec<Stored>> {
        let stamp = self.stamp();
        loop {
            let known = self.first_rows_filtered(contents)?;
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
                    self.renew(&mut batch, *content, &value, row, stamp)?;
                }
            }
            if batch.is_empty() || self.store().apply(batch)?.is_done() {
                return Ok(stored);
            }
        }
    }

    /// Adds the renewal of an old stamp to a batch, unless another thread changes the row meanwhile. The parts of a
    /// large content are renewed first: its stamp is never newer than theirs.
    fn renew(
        &self,
        batch: &mut Batch,
        content: ContentId,
        seen: &[u8],
        row: ContentRow,
        stamp: u64,
    ) -> Result<()> {
        if !self.is_stale(row.stamp, stamp) {
            return Ok(());
        }
        let stamp = match &row.body {
            ContentBody::Place { .. } => stamp,
            body => self.renew_parts(content, body)?.min(stamp),
        };
        if stamp <= row.stamp {
            return Ok(());
        }
        let key = keys::content(content);
        let renewed = ContentRow { stamp, ..row };
        batch
            .require_equals(&*key, seen)
            .put(&*key, renewed.encode());
        Ok(())
    }

    /// Returns true if a stamp is to be renewed.
    fn is_stale(&self, stamp: u64, now: u64) -> bool {
        stamp.saturating_add(STAMP_RENEWAL_SECS) <= now
            || stamp < self.inner.barrier.load(Ordering::SeqCst)
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
