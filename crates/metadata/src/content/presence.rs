//! Which contents are present: known, and in a chunk that some datanode has.
//!
//! The row of a content says where its bytes were put, the row of that chunk which datanodes have
//! it. A chunk that all its nodes have lost keeps its row, without nodes: what lies in it is *lost*
//! until a chunk that has it is reported. So is what lies in a new chunk of which there are not as many
//! copies yet as a write waits for. So forgetting a chunk costs one row, whatever is in it.

use std::collections::{BTreeSet, HashMap};

use lfsfs_types::content::PieceList;
use lfsfs_types::{ChunkId, ContentId};

use super::{ContentBody, ContentRow};
use crate::error::Result;
use crate::metadata::Metadata;

/// How many answers are remembered; then all are asked for again.
const REMEMBERED_MAX: usize = 65_536;

/// Whether the bytes of a content can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// No client has ever stored it.
    Unknown,
    /// It was stored, and no datanode has it, or a part of it, any more.
    Lost,
    /// A datanode has it.
    Present,
}

/// Looks at contents, their pieces and their chunks, each once.
///
/// It remembers what it has seen, so it is made anew for each question.
#[derive(Debug)]
pub(crate) struct PresenceCheck<'a> {
    metadata: &'a Metadata,
    chunks: HashMap<ChunkId, bool>,
    pieces: HashMap<ContentId, Presence>,
}

impl<'a> PresenceCheck<'a> {
    pub(crate) fn new(metadata: &'a Metadata) -> Self {
        Self {
            metadata,
            chunks: HashMap::new(),
            pieces: HashMap::new(),
        }
    }

    /// Takes a chunk for one that a datanode has: the caller has just been told so.
    pub(crate) fn note_chunk(&mut self, chunk: ChunkId) {
        self.chunks.insert(chunk, true);
    }

    /// Returns whether what these rows describe is present, in the same order.
    pub(crate) fn of_rows<'r>(
        &mut self,
        rows: impl Iterator<Item = Option<&'r ContentRow>> + Clone,
    ) -> Result<Vec<Presence>> {
        self.look_at_chunks(rows.clone().flatten().filter_map(chunk_of))?;
        rows.map(|row| match row {
            Some(row) => self.of_row(row),
            None => Ok(Presence::Unknown),
        })
        .collect()
    }

    /// Returns whether what a row describes is present.
    pub(crate) fn of_row(&mut self, row: &ContentRow) -> Result<Presence> {
        match &row.body {
            ContentBody::Place { chunk, .. } => self.of_chunk(*chunk),
            ContentBody::Pieces(list) => self.of_pieces(list),
            // Only the bytes of the list say which pieces there are. A client that has the bytes of
            // the content asks for each piece.
            ContentBody::List { list, .. } => self.of_list(*list),
        }
    }

    /// Returns whether some datanode has a chunk.
    pub(crate) fn has_chunk(&mut self, chunk: ChunkId) -> Result<bool> {
        self.look_at_chunks([chunk].into_iter())?;
        Ok(self.chunks.get(&chunk).copied().unwrap_or(false))
    }

    fn of_chunk(&mut self, chunk: ChunkId) -> Result<Presence> {
        Ok(if self.has_chunk(chunk)? {
            Presence::Present
        } else {
            Presence::Lost
        })
    }

    fn of_list(&mut self, list: ContentId) -> Result<Presence> {
        match self.metadata.content_row(list)? {
            Some(row) => match &row.body {
                ContentBody::Place { chunk, .. } => self.of_chunk(*chunk),
                ContentBody::Pieces(pieces) => self.of_pieces(pieces),
                // No list is so long that its own list does not fit a row.
                ContentBody::List { .. } => Ok(Presence::Lost),
            },
            None => Ok(Presence::Lost),
        }
    }

    fn of_pieces(&mut self, list: &PieceList) -> Result<Presence> {
        if self.pieces.len() > REMEMBERED_MAX {
            self.pieces.clear();
        }
        let unseen: BTreeSet<_> = list
            .pieces()
            .iter()
            .map(|piece| piece.hash)
            .filter(|piece| !self.pieces.contains_key(piece))
            .collect();
        let unseen: Vec<_> = unseen.into_iter().collect();
        self.metadata.for_content_rows(&unseen, |pieces, rows| {
            let places = rows
                .iter()
                .map(|row| row.as_ref().and_then(|it| chunk_of(&it.1)));
            self.look_at_chunks(places.clone().flatten())?;
            for (piece, chunk) in pieces.iter().zip(places) {
                let presence = chunk.map_or(Ok(Presence::Lost), |it| self.of_chunk(it))?;
                self.pieces.insert(*piece, presence);
            }
            Ok(())
        })?;
        let is_present = |hash| self.pieces.get(hash) == Some(&Presence::Present);
        Ok(if list.pieces().iter().all(|it| is_present(&it.hash)) {
            Presence::Present
        } else {
            Presence::Lost
        })
    }

    /// Reads the rows of those chunks that were not looked at before.
    fn look_at_chunks(&mut self, chunks: impl Iterator<Item = ChunkId>) -> Result<()> {
        if self.chunks.len() > REMEMBERED_MAX {
            self.chunks.clear();
        }
        let unseen: BTreeSet<_> = chunks
            .filter(|chunk| !self.chunks.contains_key(chunk))
            .collect();
        let unseen: Vec<_> = unseen.into_iter().collect();
        for (chunk, row) in unseen.iter().zip(self.metadata.chunk_rows(&unseen)?) {
            let is_present = row.is_some_and(|row| row.is_present());
            self.chunks.insert(*chunk, is_present);
        }
        Ok(())
    }
}

fn chunk_of(row: &ContentRow) -> Option<ChunkId> {
    match row.body {
        ContentBody::Place { chunk, .. } => Some(chunk),
        _ => None,
    }
}
