//! Blocks: what is compressed, fetched and verified by itself.

use sha2::{Digest, Sha256 as Hasher};
use zstd::bulk::Compressor;

use super::error::{ChunkError, HashOf};
use super::format::ChunkFormat;
use crate::codec::{DecodeError, Reader, Writer};
use crate::id::Sha256;
use crate::limits::BLOCK_RAW_LEN_MAX;

/// How the bytes of a block are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockCodec {
    /// As they are.
    Stored,
    /// As one zstd frame, shorter than they are.
    Zstd,
}

/// One block in the index of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where it starts in the chunk.
    pub offset: u64,
    /// Its length in the chunk.
    pub stored_len: u32,
    /// Its length when it is decoded, at most [`BLOCK_RAW_LEN_MAX`].
    pub raw_len: u32,
    /// How it is stored.
    pub codec: BlockCodec,
    /// SHA-256 of its bytes in the chunk.
    pub sha256: Sha256,
}

impl BlockEntry {
    /// Shortest encoded entry: codec, two lengths, hash.
    pub(super) const ENCODED_LEN_MIN: usize = 3 + Sha256::LEN;

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .u8(match self.codec {
                BlockCodec::Stored => 0,
                BlockCodec::Zstd => 1,
            })
            .varint(u64::from(self.stored_len))
            .varint(u64::from(self.raw_len))
            .raw(self.sha256.as_bytes());
    }

    pub(super) fn decode(
        format: ChunkFormat,
        offset: u64,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let codec = match reader.u8()? {
            0 => BlockCodec::Stored,
            1 => BlockCodec::Zstd,
            _ => return Err(reader.error("unknown codec of a block")),
        };
        let stored_len = reader.varint32()?;
        let raw_len = reader.varint32()?;
        if raw_len == 0 || raw_len > format.block_raw_len_max() {
            return Err(reader.error("length of a block out of range"));
        }
        let fits = match codec {
            BlockCodec::Stored => stored_len == raw_len,
            BlockCodec::Zstd => (1..raw_len).contains(&stored_len),
        };
        if !fits {
            return Err(reader.error("stored length of a block out of range"));
        }
        Ok(Self {
            offset,
            stored_len,
            raw_len,
            codec,
            sha256: Sha256(reader.array()?),
        })
    }
}

/// Returns the raw bytes of a block, after checking that `stored` are the bytes that were written.
///
/// Never returns, or allocates, more than the block's `raw_len`.
pub fn decode_block(block: &BlockEntry, stored: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let (expected, found) = (u64::from(block.stored_len), stored.len() as u64);
    if found < expected {
        return Err(ChunkError::CutShort { expected, found });
    }
    if found > expected {
        return Err(ChunkError::LeftOver { expected, found });
    }
    if Hasher::digest(stored).as_slice() != block.sha256.as_bytes() {
        let of = HashOf::Block(block.offset);
        return Err(ChunkError::BadHash { of });
    }
    match block.codec {
        BlockCodec::Stored => Ok(stored.to_vec()),
        BlockCodec::Zstd => decompress(block, stored),
    }
}

fn decompress(block: &BlockEntry, stored: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let raw_len = block.raw_len.min(BLOCK_RAW_LEN_MAX);
    zstd::bulk::decompress(stored, raw_len as usize)
        .ok()
        .filter(|raw| raw.len() == block.raw_len as usize)
        .ok_or(ChunkError::BadBlock {
            offset: block.offset,
            raw_len: block.raw_len,
        })
}

/// Appends `raw` to `chunk` as one block and returns its entry.
pub(super) fn append(
    compressor: &mut Compressor<'_>,
    raw: &[u8],
    chunk: &mut Vec<u8>,
) -> BlockEntry {
    let compressed = compressor.compress(raw).ok().filter(|it| helps(it, raw));
    let codec = match compressed {
        Some(_) => BlockCodec::Zstd,
        None => BlockCodec::Stored,
    };
    let stored = compressed.as_deref().unwrap_or(raw);
    let entry = BlockEntry {
        offset: chunk.len() as u64,
        stored_len: length(stored),
        raw_len: length(raw),
        codec,
        sha256: Sha256(Hasher::digest(stored).into()),
    };
    chunk.extend_from_slice(stored);
    entry
}

/// Saving less than a sixteenth is not worth decompressing it each time.
fn helps(compressed: &[u8], raw: &[u8]) -> bool {
    compressed.len() < raw.len() - raw.len() / 16
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a block is at most BLOCK_RAW_LEN_MAX bytes")
}
