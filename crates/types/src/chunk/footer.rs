//! The footer of a chunk: its blocks, and where its contents lie in them.

use std::ops::Range;

use sha2::{Digest, Sha256 as Hasher};

use super::block::BlockEntry;
use super::error::{ChunkError, HashOf};
use super::format::{ChunkFormat, IdPrefix};
use super::{HEADER_LEN, TRAILER_LEN};
use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{ContentId, Sha256};
use crate::limits::{CHUNK_BLOCKS_MAX, CHUNK_CONTENTS_MAX, CHUNK_LEN_MAX, PIECE_LEN_MAX};

/// Longest footer: every number in its longest form, every table full.
pub const FOOTER_LEN_MAX: u32 = 1 + 2 * 3 + CHUNK_BLOCKS_MAX * 39 + CHUNK_CONTENTS_MAX * 36;

/// One content or piece in the index of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentEntry {
    /// How its id begins: all of it in format 1.
    pub prefix: IdPrefix,
    /// The block that its first byte is in.
    pub first_block: u32,
    /// Where it starts in the raw bytes of that block.
    pub offset: u32,
    /// Its length, over as many blocks as it takes.
    pub len: u32,
}

/// Part of a content in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The block.
    pub block: u32,
    /// Where the part lies in the raw bytes of the block.
    pub range: Range<usize>,
}

/// The index of a chunk.
///
/// The raw bytes of all blocks in order are the bytes of all contents in order: no gap, no overlap,
/// nothing that no content claims. No content is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    format: ChunkFormat,
    blocks: Vec<BlockEntry>,
    contents: Vec<ContentEntry>,
    /// Positions in `contents`, in the order of their ids.
    by_id: Vec<u32>,
    encoded_len: u32,
}

impl Footer {
    /// Decodes an untrusted footer that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChunkError> {
        let mut reader = Reader::new("chunk footer", bytes);
        if bytes.len() > FOOTER_LEN_MAX as usize {
            return Err(reader.error("footer above the limit").into());
        }
        let format = ChunkFormat::from_number(reader.u8()?)
            .ok_or_else(|| reader.error("unknown format number"))?;
        let blocks = decode_blocks(format, &mut reader)?;
        let contents = decode_contents(format, &mut reader, &blocks)?;
        let by_id = order_by_id(&contents);
        if !by_id.is_sorted_by(|&a, &b| contents[a as usize].prefix < contents[b as usize].prefix) {
            return Err(reader.error("a content twice").into());
        }
        let footer = Self {
            format,
            blocks,
            contents,
            by_id,
            encoded_len: u32::try_from(reader.offset()).expect("at most FOOTER_LEN_MAX"),
        };
        if footer.chunk_len() > CHUNK_LEN_MAX {
            return Err(reader.error("blocks above the limit of a chunk").into());
        }
        reader.finish()?;
        Ok(footer)
    }

    /// Decodes a footer that must have a hash that the caller trusts.
    pub fn decode_verified(bytes: &[u8], sha256: &Sha256) -> Result<Self, ChunkError> {
        if Hasher::digest(bytes).as_slice() != sha256.as_bytes() {
            let of = HashOf::Footer;
            return Err(ChunkError::BadHash { of });
        }
        Self::decode(bytes)
    }

    /// Returns the bytes that the footer was decoded from.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let contents = self.contents.iter().map(|it| (it.prefix, it.len));
        encode(self.format, &self.blocks, contents)
    }

    pub(super) const fn format(&self) -> ChunkFormat {
        self.format
    }

    /// Returns the blocks in order.
    #[must_use]
    pub fn blocks(&self) -> &[BlockEntry] {
        &self.blocks
    }

    /// Returns the contents in the order they were added.
    #[must_use]
    pub fn contents(&self) -> &[ContentEntry] {
        &self.contents
    }

    /// Returns where a content or piece lies.
    #[must_use]
    pub fn find(&self, id: &ContentId) -> Option<&ContentEntry> {
        let at = |position: &u32| &self.contents[*position as usize];
        let prefix = IdPrefix::of(id, self.format.prefix_len());
        let found = self
            .by_id
            .binary_search_by(|it| at(it).prefix.cmp(&prefix))
            .ok()?;
        Some(at(&self.by_id[found]))
    }

    /// Returns the bytes of the chunk that are the stored block, or `None` if there is no such block.
    #[must_use]
    pub fn block_range(&self, block: u32) -> Option<Range<u64>> {
        let entry = self.blocks.get(block as usize)?;
        Some(entry.offset..entry.offset + u64::from(entry.stored_len))
    }

    /// Returns the parts of a whole content in order.
    pub fn spans(&self, entry: &ContentEntry) -> impl Iterator<Item = Span> + '_ {
        self.spans_within(entry, 0..entry.len)
    }

    /// Returns the parts of some bytes of a content in order. What lies beyond its end is left out.
    pub fn spans_within(
        &self,
        entry: &ContentEntry,
        range: Range<u32>,
    ) -> impl Iterator<Item = Span> + '_ {
        let skipped = range.start.min(entry.len);
        let mut left = (range.end.min(entry.len) - skipped.min(range.end)) as usize;
        let mut offset = entry.offset as usize + skipped as usize;
        let blocks = self
            .blocks
            .iter()
            .zip(0u32..)
            .skip(entry.first_block as usize);
        blocks
            .map_while(move |(block, index)| {
                if left == 0 {
                    return None;
                }
                let raw_len = block.raw_len as usize;
                let start = offset.min(raw_len);
                let end = raw_len.min(start + left);
                offset -= start;
                left -= end - start;
                Some(Span {
                    block: index,
                    range: start..end,
                })
            })
            .filter(|span| !span.range.is_empty())
    }

    /// Returns the length of the whole chunk.
    #[must_use]
    pub fn chunk_len(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().map(|it| u64::from(it.stored_len)).sum();
        (HEADER_LEN + TRAILER_LEN) as u64 + blocks + u64::from(self.encoded_len)
    }
}

/// Returns the footer of these blocks and contents.
pub(super) fn encode(
    format: ChunkFormat,
    blocks: &[BlockEntry],
    contents: impl ExactSizeIterator<Item = (IdPrefix, u32)>,
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(format.number()).varint(blocks.len() as u64);
    blocks.iter().for_each(|block| block.encode(&mut writer));
    writer.varint(contents.len() as u64);
    for (prefix, len) in contents {
        writer.raw(prefix.as_bytes()).varint(u64::from(len));
    }
    writer.finish()
}

fn decode_blocks(
    format: ChunkFormat,
    reader: &mut Reader<'_>,
) -> Result<Vec<BlockEntry>, DecodeError> {
    let count = decode_count(reader, CHUNK_BLOCKS_MAX, BlockEntry::ENCODED_LEN_MIN)?;
    let mut offset = HEADER_LEN as u64;
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        let block = BlockEntry::decode(format, offset, reader)?;
        offset += u64::from(block.stored_len);
        blocks.push(block);
    }
    Ok(blocks)
}

fn decode_contents(
    format: ChunkFormat,
    reader: &mut Reader<'_>,
    blocks: &[BlockEntry],
) -> Result<Vec<ContentEntry>, DecodeError> {
    let count = decode_count(reader, CHUNK_CONTENTS_MAX, format.prefix_len() + 1)?;
    let mut contents = Vec::with_capacity(count);
    let mut place = Place {
        block: 0,
        offset: 0,
    };
    for _ in 0..count {
        let prefix = IdPrefix::from_slice(reader.raw(format.prefix_len())?);
        let len = reader.varint32()?;
        if len == 0 || len > PIECE_LEN_MAX {
            return Err(reader.error("length of a content out of range"));
        }
        contents.push(ContentEntry {
            prefix,
            first_block: place.block,
            offset: place.offset,
            len,
        });
        place = place
            .advance(blocks, len)
            .ok_or_else(|| reader.error("contents beyond the blocks"))?;
    }
    if (place.block as usize) < blocks.len() {
        return Err(reader.error("blocks beyond the contents"));
    }
    Ok(contents)
}

/// Reads a count and checks that so many entries can be there, so that it is safe to reserve.
fn decode_count(reader: &mut Reader<'_>, max: u32, len_min: usize) -> Result<usize, DecodeError> {
    let count = reader.varint32()?;
    if count > max || count as usize > reader.remaining() / len_min {
        return Err(reader.error("more entries than can be"));
    }
    Ok(count as usize)
}

fn order_by_id(contents: &[ContentEntry]) -> Vec<u32> {
    let mut by_id: Vec<u32> = (0u32..).take(contents.len()).collect();
    by_id.sort_unstable_by_key(|&position| contents[position as usize].prefix);
    by_id
}

/// A place in the raw bytes of the blocks, never at the end of a block.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    offset: u32,
}

impl Place {
    /// Returns the place `len` bytes on, or `None` if the blocks end before.
    fn advance(mut self, blocks: &[BlockEntry], mut len: u32) -> Option<Self> {
        while len > 0 {
            let left = blocks.get(self.block as usize)?.raw_len - self.offset;
            if len < left {
                self.offset += len;
                break;
            }
            len -= left;
            self.block += 1;
            self.offset = 0;
        }
        Some(self)
    }
}
