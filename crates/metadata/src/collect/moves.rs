//! Contents on their way to another chunk: what lies in a chunk, in which order it is read, and the change of its
//! place.
//!
//! A place changes only if it is still the one from which the content was read, and only to a chunk that enough nodes
//! have at that moment. docs/durability.md "Collecting garbage" has the order of steps.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::content::Piece;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ChunkId, ContentId, ContentPlace, ProjectId, VersionNumber};

use super::compact::ChunkUse;
use crate::content::{ChunkRow, ContentBody, ContentRow};
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::objects::Selection;
use crate::rows::RowValue as _;

/// Chunks of which it is counted in one pass over all contents what is needed.
const CHUNKS_AT_ONCE: usize = 100_000;

/// A content that was read at one place and written to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentMove {
    /// Where it was read.
    pub from: ContentPlace,
    /// Where it lies too, in a chunk that datanodes have reported.
    pub to: ContentPlace,
}

/// What has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MovedContents {
    /// Contents.
    pub contents: u64,
    /// Their bytes, not compressed.
    pub bytes: u64,
}

impl Metadata {
    /// Returns how much is needed of the next chunks, and from where to go on. Chunks whose nodes are to drop them, and
    /// those that not enough nodes have yet, are not told.
    pub fn chunk_uses(&self, after: &mut Option<ChunkId>) -> Result<Vec<ChunkUse>> {
        let mut uses = HashMap::new();
        let prefix = [table::CHUNK];
        loop {
            let range = match *after {
                Some(chunk) => KeyRange::after(&keys::chunk(chunk), &prefix),
                None => KeyRange::prefix(&prefix),
            };
            let page = self.store().scan(range, SCAN_PAGE)?;
            *after = None;
            for (key, value) in &page.rows {
                let chunk = ChunkId(keys::decode_id(table::CHUNK, key)?);
                let row = ChunkRow::decode(key, value)?;
                *after = Some(chunk).filter(|_| page.more);
                if row.is_present() && !row.is_unneeded {
                    uses.insert(chunk, of_row(chunk, &row));
                }
            }
            if after.is_none() || uses.len() >= CHUNKS_AT_ONCE {
                break;
            }
        }
        self.for_each_place(|place| {
            if let Some(found) = uses.get_mut(&place.chunk) {
                found.needed += 1;
                found.needed_len += u64::from(place.len);
            }
        })?;
        Ok(uses.into_values().collect())
    }

    /// Returns the contents that have their place in one of these chunks.
    pub fn contents_in(&self, chunks: &HashSet<ChunkId>) -> Result<Vec<ContentPlace>> {
        let mut found = Vec::new();
        self.for_each_place(|place| {
            if chunks.contains(&place.chunk) {
                found.push(place);
            }
        })?;
        Ok(found)
    }

    /// Calls `each` with the place of each content that has one, unless the process ends.
    fn for_each_place(&self, mut each: impl FnMut(ContentPlace)) -> Result<()> {
        let contents = KeyRange::prefix(&[table::CONTENT]);
        for row in self.store().scan_all(contents, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                return Ok(());
            }
            let content = ContentId(keys::decode_id(table::CONTENT, &key)?);
            if let Some(place) = ContentRow::decode(&key, &value)?.place(content) {
                each(place);
            }
        }
        Ok(())
    }

    /// Puts contents into the order in which a reader of the project's newest version meets them; those that it does
    /// not have come behind them, as they lie. A project that is gone has no order.
    pub fn order_as_read(
        &self,
        project: Option<ProjectId>,
        places: &mut [ContentPlace],
    ) -> Result<()> {
        let mut order = HeadOrder {
            metadata: self,
            positions: places.iter().map(|it| (it.content, u64::MAX)).collect(),
            next: 0,
        };
        if let Some(project) = project {
            match order.walk(project) {
                Err(MetadataError::UnknownProjectId { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        let positions = order.positions;
        places.sort_by_key(|it| {
            let position = positions.get(&it.content).copied().unwrap_or(u64::MAX);
            (position, it.chunk, it.block, it.offset, it.content)
        });
        Ok(())
    }

    /// Gives contents that were written to one new chunk their place there. Those that have another place than that
    /// from which they were read, or none any more, keep what they have. It ends early, and says what was done, if
    /// fewer than `copies_min` nodes have the new chunk, or its nodes are to drop it.
    ///
    /// Nothing is flushed: what marks the old chunks does that.
    pub fn move_contents(&self, moves: &[ContentMove], copies_min: u32) -> Result<MovedContents> {
        let mut moved = MovedContents::default();
        let Some(to) = moves.first().map(|it| it.to.chunk) else {
            return Ok(moved);
        };
        let is_one = |it: &ContentMove| it.to.chunk == to && it.to.content == it.from.content;
        if !moves.iter().all(is_one) {
            return Err(MetadataError::InvalidReceipt {
                problem: "a move names another chunk or content",
            });
        }
        let sources: HashSet<_> = moves.iter().map(|it| it.from.chunk).collect();
        for chunk in sources.into_iter().filter(|it| *it != to) {
            self.note_moved(chunk)?;
        }
        let mut rest = moves;
        while !rest.is_empty() && !self.stops() {
            let Some(count) = self.move_first(to, rest, copies_min, &mut moved)? else {
                break;
            };
            rest = &rest[count..];
        }
        Ok(moved)
    }

    /// Notes, before it, that contents are moved out of a chunk.
    fn note_moved(&self, chunk: ChunkId) -> Result<()> {
        let key = keys::chunk(chunk);
        loop {
            let Some(seen) = self.store().get(&key)? else {
                return Ok(());
            };
            let row = ChunkRow::decode(&key, &seen)?;
            let noted = ChunkRow {
                moved: self.stamp().max(row.moved),
                ..row.clone()
            };
            let mut batch = Batch::new();
            batch.require_equals(&*key, seen).put(&*key, noted.encode());
            if noted == row || self.store().apply(batch)?.is_done() {
                return Ok(());
            }
        }
    }

    /// Moves the first of these contents, in one batch. Returns how many were looked at; none if the new chunk is not
    /// safe.
    fn move_first(
        &self,
        to: ChunkId,
        moves: &[ContentMove],
        copies_min: u32,
        moved: &mut MovedContents,
    ) -> Result<Option<usize>> {
        let contents: Vec<_> = moves.iter().map(|it| it.from.content).collect();
        let key = keys::chunk(to);
        loop {
            let Some(seen) = self.store().get(&key)? else {
                return Ok(None);
            };
            let row = ChunkRow::decode(&key, &seen)?;
            if !row.is_present() || row.is_unneeded || row.nodes.len() < copies_min as usize {
                return Ok(None);
            }
            let mut batch = Batch::new();
            batch.require_equals(&*key, seen);
            let known = self.first_content_rows(&contents)?;
            let count = known.len();
            let mut now = MovedContents::default();
            for (it, known) in moves.iter().zip(known) {
                let Some((value, row)) = known else { continue };
                if row.place(it.from.content) != Some(it.from) || it.to.len != it.from.len {
                    continue;
                }
                let key = keys::content(it.from.content);
                let new = ContentRow::of_place(&it.to, row.stamp);
                batch.require_equals(&*key, value).put(&*key, new.encode());
                now.contents += 1;
                now.bytes += row.len;
            }
            if now.contents == 0 || self.store().apply(batch)?.is_done() {
                moved.contents += now.contents;
                moved.bytes += now.bytes;
                return Ok(Some(count));
            }
        }
    }
}

fn of_row(chunk: ChunkId, row: &ChunkRow) -> ChunkUse {
    ChunkUse {
        chunk,
        project: row.project,
        wanted: row.wanted,
        copies: row.nodes.len() as u64,
        len: row.len,
        raw_len: row.raw_len,
        needed_len: 0,
        needed: 0,
    }
}

/// The order in which the newest version of a project has contents.
struct HeadOrder<'a> {
    metadata: &'a Metadata,
    /// Those that are asked for, with the position of those that were met.
    positions: HashMap<ContentId, u64>,
    next: u64,
}

impl HeadOrder<'_> {
    fn walk(&mut self, project: ProjectId) -> Result<()> {
        let metadata = self.metadata;
        let head = metadata.project_by_id(project)?.head.number;
        let all = Selection::new(Vec::new());
        let mut failure = None;
        let walked =
            metadata.objects(
                project,
                VersionNumber::ZERO,
                head,
                &all,
                &mut |object| match object.record.map(|record| self.meet_record(&record)) {
                    Some(Err(error)) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                    _ if self.is_complete() || metadata.stops() => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                },
            );
        let _ = walked?;
        failure.map_or(Ok(()), Err)
    }

    fn is_complete(&self) -> bool {
        self.next >= self.positions.len() as u64
    }

    fn meet_record(&mut self, record: &lfsfs_types::Record) -> Result<()> {
        for named in record.named_contents() {
            let is_small = named.len.is_some_and(|len| len <= SMALL_CONTENT_LEN_MAX);
            if is_small {
                self.meet(named.content);
            } else {
                self.meet_large(named.content)?;
            }
        }
        Ok(())
    }

    fn meet_large(&mut self, content: ContentId) -> Result<()> {
        match self.metadata.content_row(content)?.map(|row| row.body) {
            None => {}
            Some(ContentBody::Place { .. }) => self.meet(content),
            Some(ContentBody::Pieces(list)) => self.meet_pieces(list.pieces()),
            Some(ContentBody::List { list, .. }) => {
                match self.metadata.content_row(list)?.map(|row| row.body) {
                    Some(ContentBody::Pieces(list)) => self.meet_pieces(list.pieces()),
                    _ => self.meet(list),
                }
                self.metadata.for_pages_of(content, |pieces| {
                    self.meet_pieces(pieces);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn meet_pieces(&mut self, pieces: &[Piece]) {
        pieces.iter().for_each(|piece| self.meet(piece.hash));
    }

    fn meet(&mut self, content: ContentId) {
        if let Some(position) = self.positions.get_mut(&content)
            && *position == u64::MAX
        {
            *position = self.next;
            self.next += 1;
        }
    }
}
