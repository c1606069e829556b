//! Resolve: from contents to the places of their bytes, the chunks of these, and the datanodes that
//! have the chunks.

use std::collections::BTreeSet;

use lfsfs_meta_store::MetaError;
use lfsfs_types::content::PieceList;
use lfsfs_types::{ChunkId, ChunkInfo, ContentId, ContentPlace, NodeId};

use super::{ContentBody, ContentRow};
use crate::error::Result;
use crate::keys;
use crate::metadata::Metadata;
use crate::node::Node;

/// Where one content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The content.
    pub content: ContentId,
    /// Its length; 0 if it is missing.
    pub len: u64,
    /// Where its bytes are.
    pub resolution: Resolution,
}

/// Where the bytes of a content are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It is not stored.
    Missing,
    /// It has no bytes.
    Empty,
    /// In one place.
    Place(ContentPlace),
    /// One place for each piece, in order.
    Pieces(Vec<ContentPlace>),
    /// There are too many pieces to tell at once: a client reads the list, a content itself, and
    /// resolves the pieces that it needs.
    List {
        /// The content that is the encoded list of pieces.
        list: ContentId,
        /// How many there are.
        count: u32,
    },
}

/// A chunk and the datanodes that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLocation {
    /// What it takes to read it.
    pub info: ChunkInfo,
    /// The datanodes that have it.
    pub nodes: Vec<NodeId>,
}

/// The answer to a question about several contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedContents {
    /// One for each content that was asked for, in that order.
    pub contents: Vec<Resolved>,
    /// Every chunk that a place names, once.
    pub chunks: Vec<ChunkLocation>,
    /// Every node that has one of these chunks, once.
    pub nodes: Vec<Node>,
}

impl Metadata {
    /// Returns where contents, or pieces, lie.
    ///
    /// The answer grows with the pieces of what is asked for, 8,192 for one content at most.
    pub fn resolve_contents(&self, contents: &[ContentId]) -> Result<ResolvedContents> {
        self.resolve_first(contents, usize::MAX)
    }

    /// As [`resolve_contents`](Self::resolve_contents), for as many of the first contents as have
    /// `places_max` places together, the last of them whole. There is at least one.
    pub fn resolve_first(
        &self,
        contents: &[ContentId],
        places_max: usize,
    ) -> Result<ResolvedContents> {
        let mut answer = ResolvedContents::default();
        let mut places = 0;
        let mut rest = contents;
        'pages: while !rest.is_empty() {
            let rows = self.first_content_rows(rest)?;
            let (read, left) = rest.split_at(rows.len());
            for (content, row) in read.iter().zip(rows) {
                let resolved = self.resolve_row(*content, row.map(|(_, row)| row))?;
                places += chunks_of(&resolved.resolution).count();
                answer.contents.push(resolved);
                if places >= places_max {
                    break 'pages;
                }
            }
            rest = left;
        }
        self.locate(&mut answer)?;
        Ok(answer)
    }

    fn resolve_row(&self, content: ContentId, row: Option<ContentRow>) -> Result<Resolved> {
        let len = row.as_ref().map_or(0, |row| row.len);
        let place = row.as_ref().and_then(|row| row.place(content));
        let resolution = match (row.map(|row| row.body), place) {
            _ if content == ContentId::EMPTY => Resolution::Empty,
            (None, _) => Resolution::Missing,
            (_, Some(place)) => Resolution::Place(place),
            (Some(ContentBody::Pieces(list)), _) => {
                Resolution::Pieces(self.places_of(content, &list)?)
            }
            (Some(ContentBody::List { list, count }), _) => Resolution::List { list, count },
            (Some(ContentBody::Place { .. }), None) => Resolution::Missing,
        };
        Ok(Resolved {
            content,
            len,
            resolution,
        })
    }

    fn places_of(&self, content: ContentId, list: &PieceList) -> Result<Vec<ContentPlace>> {
        let ids: Vec<_> = list.pieces().iter().map(|piece| piece.hash).collect();
        let mut places = Vec::with_capacity(ids.len());
        self.for_content_rows(&ids, |ids, rows| {
            for (id, row) in ids.iter().zip(rows) {
                let place = row.and_then(|(_, row)| row.place(*id));
                places.push(place.ok_or_else(|| {
                    MetaError::corrupt(format!("piece {id} has no place"), &keys::content(content))
                })?);
            }
            Ok(())
        })?;
        Ok(places)
    }

    /// Adds the chunks that the places of an answer name, and the nodes that have them.
    fn locate(&self, answer: &mut ResolvedContents) -> Result<()> {
        let resolutions = answer.contents.iter().map(|it| &it.resolution);
        let chunks: BTreeSet<_> = resolutions.flat_map(chunks_of).collect();
        let chunks: Vec<_> = chunks.into_iter().collect();
        let mut nodes = BTreeSet::new();
        for (chunk, row) in chunks.iter().zip(self.chunk_rows(&chunks)?) {
            let what = "a place names this chunk, it is unknown";
            let row = row.ok_or_else(|| MetaError::corrupt(what, &keys::chunk(*chunk)))?;
            nodes.extend(row.nodes.iter().copied());
            answer.chunks.push(ChunkLocation {
                info: row.info(*chunk),
                nodes: row.nodes,
            });
        }
        answer.nodes = self.nodes_of(nodes)?;
        Ok(())
    }
}

fn chunks_of(resolution: &Resolution) -> impl Iterator<Item = ChunkId> + '_ {
    let places = match resolution {
        Resolution::Place(place) => std::slice::from_ref(place),
        Resolution::Pieces(places) => places,
        _ => &[],
    };
    places.iter().map(|place| place.chunk)
}
