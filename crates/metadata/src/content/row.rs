//! The rows of contents and chunks.

use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::limits::PIECES_INLINE_MAX;
use lfsfs_types::{
    ChunkId, ChunkInfo, ContentId, ContentPlace, DecodeError, NodeId, ProjectId, Reader, Sha256,
    Writer,
};

use crate::rows::RowValue;

/// Most replicas that one chunk can have, many times what any project asks for.
pub(super) const NODES_MAX: u64 = 1024;

/// What stands for no project.
const NO_PROJECT: ProjectId = ProjectId([0; 16]);

/// What is known of one content or piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRow {
    /// When it was last asked for, in seconds since 1970.
    pub(crate) stamp: u64,
    pub(crate) len: u64,
    pub(crate) body: ContentBody,
}

/// Where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentBody {
    /// In one place.
    Place {
        chunk: ChunkId,
        block: u32,
        offset: u32,
    },
    /// In the places of these pieces.
    Pieces(PieceList),
    /// In the places of the pieces that a stored list names.
    List { list: ContentId, count: u32 },
}

impl ContentRow {
    pub(crate) fn of_place(place: &ContentPlace, stamp: u64) -> Self {
        Self {
            stamp,
            len: u64::from(place.len),
            body: ContentBody::Place {
                chunk: place.chunk,
                block: place.block,
                offset: place.offset,
            },
        }
    }

    /// Returns true if the content has its place in the same chunk, but not where a newer receipt of
    /// that chunk says.
    pub(crate) fn lies_elsewhere_in(&self, place: &ContentPlace) -> bool {
        let body = Self::of_place(place, self.stamp).body;
        let same_chunk =
            matches!(self.body, ContentBody::Place { chunk, .. } if chunk == place.chunk);
        same_chunk && (self.len, &self.body) != (u64::from(place.len), &body)
    }

    /// Returns the place of a content that has one.
    pub(crate) fn place(&self, content: ContentId) -> Option<ContentPlace> {
        match self.body {
            ContentBody::Place {
                chunk,
                block,
                offset,
            } => Some(ContentPlace {
                content,
                chunk,
                block,
                offset,
                len: u32::try_from(self.len).ok()?,
            }),
            _ => None,
        }
    }
}

impl RowValue for ContentRow {
    const WHAT: &'static str = "content row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.stamp).varint(self.len);
        match &self.body {
            ContentBody::Place {
                chunk,
                block,
                offset,
            } => {
                writer.u8(1).raw(chunk.as_bytes());
                writer.varint(u64::from(*block)).varint(u64::from(*offset));
            }
            ContentBody::Pieces(list) => {
                writer.u8(2);
                write_pieces(list.pieces(), writer);
            }
            ContentBody::List { list, count } => {
                writer.u8(3).raw(list.as_bytes()).varint(u64::from(*count));
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let stamp = reader.varint()?;
        let len = reader.varint()?;
        let body = match reader.u8()? {
            1 if len > u64::from(u32::MAX) => return Err(reader.error("place above 32 bits")),
            1 => ContentBody::Place {
                chunk: ChunkId(reader.array()?),
                block: reader.varint32()?,
                offset: reader.varint32()?,
            },
            2 => ContentBody::Pieces(read_pieces(len, reader)?),
            3 => ContentBody::List {
                list: ContentId(reader.array()?),
                count: reader.varint32()?,
            },
            _ => return Err(reader.error("unknown form of a content")),
        };
        Ok(Self { stamp, len, body })
    }
}

fn write_pieces(pieces: &[Piece], writer: &mut Writer) {
    writer.varint(pieces.len() as u64);
    for piece in pieces {
        writer.raw(piece.hash.as_bytes());
        writer.varint(u64::from(piece.len));
    }
}

fn read_piece_page(reader: &mut Reader<'_>) -> Result<Vec<Piece>, DecodeError> {
    let count = reader.varint()?;
    if count > PIECES_INLINE_MAX as u64 {
        return Err(reader.error("too many pieces"));
    }
    let pieces = (0..count).map(|_| {
        Ok(Piece {
            hash: ContentId(reader.array()?),
            len: reader.varint32()?,
        })
    });
    pieces.collect()
}

fn read_pieces(len: u64, reader: &mut Reader<'_>) -> Result<PieceList, DecodeError> {
    let pieces = read_piece_page(reader)?;
    let list = PieceList::new(pieces).map_err(|_| reader.error("no list of pieces"))?;
    if list.total_len() == len {
        Ok(list)
    } else {
        Err(reader.error("the pieces have another length"))
    }
}

/// A page of the pieces of a content that has more than one row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PiecesRow(pub(crate) Vec<Piece>);

impl RowValue for PiecesRow {
    const WHAT: &'static str = "page of pieces";

    fn write(&self, writer: &mut Writer) {
        write_pieces(&self.0, writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(read_piece_page(reader)?))
    }
}

/// A chunk and the datanodes that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkRow {
    pub(crate) len: u64,
    pub(crate) footer_len: u32,
    pub(crate) footer_sha256: Sha256,
    /// In the order of their receipts.
    pub(crate) nodes: Vec<NodeId>,
    /// How many nodes should have it; 0 for as many as the cluster says.
    pub(crate) wanted: u32,
    /// How many nodes must have it before its contents count as present; 0 once they did.
    pub(crate) awaited: u32,
    /// The project that counts it as stored, if one does and it is known.
    pub(crate) project: Option<ProjectId>,
    /// Bytes of the contents that were put into it, not compressed; 0 if that is not known.
    pub(crate) raw_len: u64,
    /// Whether nothing lay in it when garbage was collected: its nodes are to drop it.
    pub(crate) is_unneeded: bool,
    /// When contents were moved out of it last, in seconds since 1970; 0 if none were.
    pub(crate) moved: u64,
}

impl ChunkRow {
    pub(crate) fn of(info: &ChunkInfo) -> Self {
        Self {
            len: info.len,
            footer_len: info.footer_len,
            footer_sha256: info.footer_sha256,
            nodes: Vec::new(),
            wanted: 0,
            awaited: 0,
            project: None,
            raw_len: 0,
            is_unneeded: false,
            moved: 0,
        }
    }

    /// Returns true if what lies in it can be relied on.
    pub(crate) fn is_present(&self) -> bool {
        !self.nodes.is_empty() && self.awaited == 0
    }

    pub(crate) fn info(&self, id: ChunkId) -> ChunkInfo {
        ChunkInfo {
            id,
            len: self.len,
            footer_len: self.footer_len,
            footer_sha256: self.footer_sha256,
        }
    }
}

impl RowValue for ChunkRow {
    const WHAT: &'static str = "chunk row";
    const FORMAT_NEWEST: u8 = 4;

    fn format(&self) -> u8 {
        let (copies, rest) = (
            (self.wanted, self.awaited),
            (self.project, self.raw_len, self.is_unneeded),
        );
        match (copies, rest) {
            _ if self.moved > 0 => 4,
            ((0, 0), (None, 0, false)) => 1,
            (_, (None, 0, false)) => 2,
            _ => 3,
        }
    }

    fn write_fields_of(&self, format: u8, writer: &mut Writer) {
        match format {
            2 => {
                writer.varint(u64::from(self.wanted));
                writer.varint(u64::from(self.awaited));
            }
            3 => {
                writer.raw(self.project.unwrap_or(NO_PROJECT).as_bytes());
                writer.varint(self.raw_len).u8(u8::from(self.is_unneeded));
            }
            _ => {
                writer.varint(self.moved);
            }
        }
    }

    fn read_fields_of(&mut self, format: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if format == 2 {
            self.wanted = reader.varint32()?;
            self.awaited = reader.varint32()?;
            return Ok(());
        }
        if format == 4 {
            self.moved = reader.varint()?;
            return Ok(());
        }
        self.project = Some(ProjectId(reader.array()?)).filter(|id| *id != NO_PROJECT);
        self.raw_len = reader.varint()?;
        self.is_unneeded = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("neither needed nor unneeded")),
        };
        Ok(())
    }

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.len).varint(u64::from(self.footer_len));
        writer.raw(self.footer_sha256.as_bytes());
        writer.varint(self.nodes.len() as u64);
        for node in &self.nodes {
            writer.raw(node.as_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.varint()?;
        let footer_len = reader.varint32()?;
        let footer_sha256 = Sha256(reader.array()?);
        let count = reader.varint()?;
        if count > NODES_MAX {
            return Err(reader.error("too many replicas"));
        }
        let nodes = (0..count).map(|_| reader.array().map(NodeId));
        Ok(Self {
            len,
            footer_len,
            footer_sha256,
            nodes: nodes.collect::<Result<_, _>>()?,
            wanted: 0,
            awaited: 0,
            project: None,
            raw_len: 0,
            is_unneeded: false,
            moved: 0,
        })
    }
}
