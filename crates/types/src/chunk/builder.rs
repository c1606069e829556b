//! Building a chunk.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256 as Hasher};
use zstd::bulk::Compressor;

use super::block::{self, BlockEntry};
use super::error::ChunkError;
use super::footer::{self, FOOTER_LEN_MAX, Footer};
use super::format::{ChunkFormat, IdPrefix};
use super::{HEADER_LEN, TRAILER_LEN, Trailer, header};
use crate::id::{ChunkId, ContentId, Sha256};
use crate::limits::{
    BLOCK_RAW_LEN_MAX, CHUNK_BLOCKS_MAX, CHUNK_CONTENTS_MAX, CHUNK_LEN_MAX, PIECE_LEN_MAX,
    SHARED_BLOCK_RAW_LEN_MAX,
};

const ZSTD_LEVEL: i32 = 3;

/// A chunk that is not full may take one more piece, and must then still be within the limits.
const LEN_TARGET_MAX: u64 =
    CHUNK_LEN_MAX - (PIECE_LEN_MAX + FOOTER_LEN_MAX) as u64 - (HEADER_LEN + TRAILER_LEN) as u64;
const BLOCKS_TARGET_MAX: usize =
    (CHUNK_BLOCKS_MAX - PIECE_LEN_MAX / BLOCK_RAW_LEN_MAX - 1) as usize;

/// A finished chunk in memory.
#[derive(Debug, Clone)]
pub struct BuiltChunk {
    /// Its name: the SHA-256 of `bytes`.
    pub id: ChunkId,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its index.
    pub footer: Footer,
    /// SHA-256 of the encoded index.
    pub footer_sha256: Sha256,
}

/// Puts contents into one chunk. The same contents in the same order make the same bytes.
pub struct ChunkBuilder {
    len_target: u64,
    compressor: Compressor<'static>,
    /// Header and closed blocks.
    bytes: Vec<u8>,
    blocks: Vec<BlockEntry>,
    /// Raw bytes of the block that is still open.
    open: Vec<u8>,
    contents: Vec<(IdPrefix, u32)>,
    known: HashMap<IdPrefix, ContentId>,
}

impl ChunkBuilder {
    /// Starts a chunk that is full when it has about `len_target` bytes.
    #[must_use]
    pub fn new(len_target: u64) -> Self {
        Self {
            len_target: len_target.min(LEN_TARGET_MAX),
            compressor: Compressor::new(ZSTD_LEVEL).expect("zstd has this level"),
            bytes: header(ChunkFormat::NEWEST).to_vec(),
            blocks: Vec::new(),
            open: Vec::with_capacity(BLOCK_RAW_LEN_MAX as usize),
            contents: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Adds a small content or a piece, which the caller has hashed. One that is there already is
    /// not added again.
    ///
    /// Small contents share blocks, and none lies in two, so that reading one fetches little. A larger content has
    /// large blocks of its own, which compress better.
    pub fn add(&mut self, id: ContentId, bytes: &[u8]) -> Result<(), ChunkError> {
        let len = u32::try_from(bytes.len())
            .ok()
            .filter(|len| (1..=PIECE_LEN_MAX).contains(len))
            .ok_or(ChunkError::ContentLen { len: bytes.len() })?;
        let prefix = IdPrefix::of(&id, ChunkFormat::NEWEST.prefix_len());
        if let Some(known) = self.known.get(&prefix) {
            let is_same = *known == id;
            return is_same
                .then_some(())
                .ok_or(ChunkError::SamePrefix { prefix });
        }
        if self.is_full() {
            return Err(ChunkError::Full);
        }
        self.fill_blocks(bytes);
        self.contents.push((prefix, len));
        self.known.insert(prefix, id);
        Ok(())
    }

    fn fill_blocks(&mut self, bytes: &[u8]) {
        if self.open.len() + bytes.len() > SHARED_BLOCK_RAW_LEN_MAX as usize {
            self.close_block();
        }
        for part in bytes.chunks(BLOCK_RAW_LEN_MAX as usize) {
            self.open.extend_from_slice(part);
            if self.open.len() >= SHARED_BLOCK_RAW_LEN_MAX as usize {
                self.close_block();
            }
        }
    }

    /// Returns true if nothing more can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        (self.bytes.len() + self.open.len()) as u64 >= self.len_target
            || self.contents.len() >= CHUNK_CONTENTS_MAX as usize
            || self.blocks.len() >= BLOCKS_TARGET_MAX
    }

    /// Returns true if nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Ends the chunk.
    #[must_use]
    pub fn finish(mut self) -> BuiltChunk {
        self.close_block();
        let encoded = footer::encode(
            ChunkFormat::NEWEST,
            &self.blocks,
            self.contents.iter().copied(),
        );
        let footer = Footer::decode(&encoded).expect("the builder keeps to the limits");
        let footer_sha256 = Sha256(Hasher::digest(&encoded).into());
        let trailer = Trailer {
            footer_len: u32::try_from(encoded.len()).expect("at most FOOTER_LEN_MAX"),
            footer_sha256,
        };
        let mut bytes = self.bytes;
        bytes.extend_from_slice(&encoded);
        bytes.extend_from_slice(&trailer.encode());
        BuiltChunk {
            id: ChunkId(Hasher::digest(&bytes).into()),
            bytes,
            footer,
            footer_sha256,
        }
    }

    fn close_block(&mut self) {
        if !self.open.is_empty() {
            let entry = block::append(&mut self.compressor, &self.open, &mut self.bytes);
            self.blocks.push(entry);
            self.open.clear();
        }
    }
}

impl fmt::Debug for ChunkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkBuilder")
            .field("len_target", &self.len_target)
            .field("len", &self.bytes.len())
            .field("contents", &self.contents.len())
            .finish_non_exhaustive()
    }
}
