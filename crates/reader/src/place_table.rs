//! Places of many contents in compact form, in memory and in the disk cache.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use lfsfs_remote::ChunkLocation;
use lfsfs_types::content::ZERO_PIECE;
use lfsfs_types::{ChunkId, ChunkInfo, ContentId, DecodeError, Reader, Sha256, Writer};

use crate::weighted::Weight;

const FORMAT: u8 = 1;
const NODES_MAX: u64 = 64;
const NODE_LEN_MAX: usize = 300;

/// A small content, or one piece of a large one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name in the footer of the chunk.
    pub(crate) id: ContentId,
    /// Where it starts in the content.
    pub(crate) start: u64,
    /// How long it is.
    pub(crate) len: u32,
    chunk: u32,
}

impl Part {
    pub(crate) fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }

    /// Returns true if it is known to be zeros, wherever it is.
    pub(crate) fn is_zeros(&self) -> bool {
        (self.id, self.len) == (ZERO_PIECE.hash, ZERO_PIECE.len)
    }
}

/// A part, and where the coordinator says that it is.
#[derive(Debug, Clone)]
pub(crate) struct LocatedPart {
    /// Its name in the footer of the chunk.
    pub(crate) id: ContentId,
    pub(crate) len: u32,
    pub(crate) location: Arc<ChunkLocation>,
}

/// The parts of contents and the chunks that they lie in.
#[derive(Debug, Default)]
pub(crate) struct PlaceTable {
    chunks: Vec<Arc<ChunkLocation>>,
    chunk_numbers: HashMap<ChunkId, u32>,
    parts: Vec<Part>,
    /// Each content and its range of `parts`; in the order of the ids once sealed.
    contents: Vec<(ContentId, Range<u32>)>,
}

impl PlaceTable {
    /// Adds a content that is not there yet, with its parts in order.
    pub(crate) fn add(&mut self, content: ContentId, parts: impl IntoIterator<Item = LocatedPart>) {
        self.open(content);
        self.extend(parts);
    }

    /// Adds a content that is not there yet, without any of its parts.
    pub(crate) fn open(&mut self, content: ContentId) {
        let first = number(self.parts.len());
        self.contents.push((content, first..first));
    }

    /// Adds the next parts of the content that was added last.
    pub(crate) fn extend(&mut self, parts: impl IntoIterator<Item = LocatedPart>) {
        let is_first = self.contents.last().is_none_or(|it| it.1.is_empty());
        let last = self.parts.last().filter(|_| !is_first);
        let mut start = last.map_or(0, Part::end);
        for LocatedPart { id, len, location } in parts {
            let chunk = self.chunk_number(location);
            self.parts.push(Part {
                id,
                start,
                len,
                chunk,
            });
            start += u64::from(len);
        }
        if let Some((_, range)) = self.contents.last_mut() {
            range.end = number(self.parts.len());
        }
    }

    /// Takes the content that was added last out again.
    pub(crate) fn withdraw(&mut self) {
        if let Some((_, range)) = self.contents.pop() {
            self.parts.truncate(range.start as usize);
        }
    }

    /// Ends the adding.
    pub(crate) fn seal(&mut self) {
        self.contents.sort_unstable_by_key(|(content, _)| *content);
        self.chunk_numbers = HashMap::new();
        self.parts.shrink_to_fit();
        self.contents.shrink_to_fit();
    }

    /// Returns the parts of a content in order.
    pub(crate) fn find(&self, content: &ContentId) -> Option<&[Part]> {
        let found = self
            .contents
            .binary_search_by(|it| it.0.cmp(content))
            .ok()?;
        let Range { start, end } = self.contents[found].1;
        self.parts.get(start as usize..end as usize)
    }

    /// Returns the chunk that a part of this table lies in.
    pub(crate) fn location(&self, part: &Part) -> Option<&Arc<ChunkLocation>> {
        self.chunks.get(part.chunk as usize)
    }

    /// Returns the table in format 1. Numbers are varints.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(FORMAT).varint(self.chunks.len() as u64);
        for ChunkLocation { info, nodes } in self.chunks.iter().map(AsRef::as_ref) {
            writer
                .raw(info.id.as_bytes())
                .varint(info.len)
                .varint(u64::from(info.footer_len))
                .raw(info.footer_sha256.as_bytes())
                .varint(nodes.len() as u64);
            for node in nodes {
                writer.bytes(node.as_bytes());
            }
        }
        writer.varint(self.contents.len() as u64);
        for (content, range) in &self.contents {
            let parts = &self.parts[range.start as usize..range.end as usize];
            writer.raw(content.as_bytes()).varint(parts.len() as u64);
            for part in parts {
                writer
                    .raw(part.id.as_bytes())
                    .varint(u64::from(part.len))
                    .varint(u64::from(part.chunk));
            }
        }
        writer.finish()
    }

    /// Decodes a table that fills `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("places", bytes);
        reader.format(FORMAT)?;
        let mut table = Self::default();
        for _ in 0..reader.varint()? {
            let location = decode_location(&mut reader)?;
            table.chunks.push(Arc::new(location));
        }
        for _ in 0..reader.varint()? {
            table.decode_content(&mut reader)?;
        }
        reader.finish()?;
        table.seal();
        Ok(table)
    }

    fn decode_content(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let content = ContentId(reader.array()?);
        let first = number(self.parts.len());
        let mut start = 0;
        for _ in 0..reader.varint()? {
            let part = Part {
                id: ContentId(reader.array()?),
                start,
                len: reader.varint32()?,
                chunk: reader.varint32()?,
            };
            if part.chunk as usize >= self.chunks.len() {
                return Err(reader.error("no such chunk"));
            }
            start = part.end();
            self.parts.push(part);
        }
        self.contents
            .push((content, first..number(self.parts.len())));
        Ok(())
    }

    fn chunk_number(&mut self, location: Arc<ChunkLocation>) -> u32 {
        let id = location.info.id;
        *self.chunk_numbers.entry(id).or_insert_with(|| {
            self.chunks.push(location);
            number(self.chunks.len() - 1)
        })
    }
}

impl Weight for PlaceTable {
    fn weight(&self) -> usize {
        let nodes: usize = self.chunks.iter().map(|it| it.nodes.len() * 48).sum();
        256 + nodes
            + self.chunks.len() * 144
            + self.parts.len() * size_of::<Part>()
            + self.contents.len() * size_of::<(ContentId, Range<u32>)>()
    }
}

fn decode_location(reader: &mut Reader<'_>) -> Result<ChunkLocation, DecodeError> {
    let info = ChunkInfo {
        id: ChunkId(reader.array()?),
        len: reader.varint()?,
        footer_len: reader.varint32()?,
        footer_sha256: Sha256(reader.array()?),
    };
    let count = reader.varint()?;
    if count > NODES_MAX {
        return Err(reader.error("more nodes than can be"));
    }
    let nodes = (0..count).map(|_| {
        let node = reader.bytes(NODE_LEN_MAX)?.to_vec();
        String::from_utf8(node).map_err(|_| reader.error("no address"))
    });
    let nodes = nodes.collect::<Result<_, _>>()?;
    Ok(ChunkLocation { info, nodes })
}

/// Counts of chunks and parts of one stretch are far below 32 bits: each takes memory.
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a stretch has fewer than 2^32 parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: ContentId, len: u32, location: Arc<ChunkLocation>) -> LocatedPart {
        LocatedPart { id, len, location }
    }

    fn location(byte: u8) -> Arc<ChunkLocation> {
        Arc::new(ChunkLocation {
            info: ChunkInfo {
                id: ChunkId([byte; 32]),
                len: 1000,
                footer_len: 100,
                footer_sha256: Sha256([byte; 32]),
            },
            nodes: vec!["127.0.0.1:5051".to_owned()],
        })
    }

    #[test]
    fn parts_may_come_one_after_the_other_and_be_taken_back() {
        let mut table = PlaceTable::default();
        let id = |byte| ContentId([byte; 32]);
        table.add(id(3), [part(id(3), 44, location(8))]);
        table.open(id(7));
        table.extend([part(id(1), 1, location(8))]);
        table.withdraw();
        table.open(id(9));
        table.extend([part(id(1), 700, location(8))]);
        table.extend([part(id(2), 300, location(9))]);
        table.seal();
        assert_eq!(table.find(&id(7)), None);
        check(&table);
    }

    fn table() -> PlaceTable {
        let mut table = PlaceTable::default();
        let id = |byte| ContentId([byte; 32]);
        let pieces = [part(id(1), 700, location(8)), part(id(2), 300, location(9))];
        table.add(id(9), pieces);
        table.add(id(3), [part(id(3), 44, location(8))]);
        table.seal();
        table
    }

    fn check(table: &PlaceTable) {
        let large = table.find(&ContentId([9; 32])).unwrap();
        let bounds: Vec<_> = large.iter().map(|part| (part.start, part.end())).collect();
        assert_eq!(bounds, [(0, 700), (700, 1000)]);
        assert_eq!(table.location(&large[1]), Some(&location(9)));
        let small = table.find(&ContentId([3; 32])).unwrap();
        assert_eq!(table.location(&small[0]), Some(&location(8)));
        assert_eq!(table.find(&ContentId([4; 32])), None);
        assert_eq!(table.chunks.len(), 2);
    }

    #[test]
    fn contents_are_found_before_and_after_encoding() {
        check(&table());
        check(&PlaceTable::decode(&table().encode()).unwrap());
    }

    #[test]
    fn damaged_tables_are_errors_and_never_a_panic() {
        let whole = table().encode();
        for len in 0..whole.len() {
            assert!(PlaceTable::decode(&whole[..len]).is_err());
        }
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[position] ^= 1 << bit;
                drop(PlaceTable::decode(&bytes));
            }
        }
    }
}
