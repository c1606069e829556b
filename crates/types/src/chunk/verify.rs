//! Verifying a whole chunk, as a datanode does before it acknowledges one.

use std::io::{self, Read, Seek, SeekFrom};
use std::slice;

use sha2::{Digest, Sha256 as Hasher};

use super::block::decode_block;
use super::error::{ChunkError, HashOf};
use super::footer::{ContentEntry, Footer};
use super::{HEADER_LEN, TRAILER_LEN, Trailer, check_header};
use crate::id::{ChunkId, ContentId, Sha256};
use crate::limits::{BLOCK_RAW_LEN_MAX, CHUNK_LEN_MAX};

/// What is known of a chunk after every byte of it was checked.
#[derive(Debug, Clone)]
pub struct VerifiedChunk {
    /// Its name, computed from its bytes. Whether it is the expected one is the caller's to check.
    pub id: ChunkId,
    /// Its index.
    pub footer: Footer,
    /// The ids of its contents, in the order of the index.
    pub contents: Vec<ContentId>,
    /// Length of the encoded index.
    pub footer_len: u32,
    /// SHA-256 of the encoded index: by this, others can trust a part of the chunk.
    pub footer_sha256: Sha256,
}

/// Checks a chunk of `len` bytes from end to end: trailer, footer, every block, and that every
/// content has an id that begins as the index claims.
///
/// Holds the footer and one block in memory.
pub fn verify(mut reader: impl Read + Seek, len: u64) -> Result<VerifiedChunk, ChunkError> {
    let (trailer, encoded) = read_index(&mut reader, len)?;
    let footer = Footer::decode_verified(&encoded, &trailer.footer_sha256)?;
    check_len(&footer, len)?;
    seek(&mut reader, 0)?;
    let mut chunk_hasher = Hasher::new();
    let contents = read_blocks(&mut reader, &footer, &mut chunk_hasher)?;
    // The footer and the trailer are hashed as they were read first, so that a file that changes
    // meanwhile cannot have an id that its index does not belong to.
    chunk_hasher.update(&encoded);
    chunk_hasher.update(trailer.encode());
    Ok(VerifiedChunk {
        id: ChunkId(chunk_hasher.finalize().into()),
        footer,
        contents,
        footer_len: trailer.footer_len,
        footer_sha256: trailer.footer_sha256,
    })
}

fn read_index(reader: &mut (impl Read + Seek), len: u64) -> Result<(Trailer, Vec<u8>), ChunkError> {
    if len > CHUNK_LEN_MAX {
        return Err(ChunkError::TooLong { len });
    }
    let trailer_at = checked_start(len, TRAILER_LEN as u64)?;
    seek(reader, trailer_at)?;
    let mut trailer = [0; TRAILER_LEN];
    read_exact(reader, &mut trailer)?;
    let trailer = Trailer::decode(&trailer)?;
    let footer_at = checked_start(trailer_at, u64::from(trailer.footer_len))?;
    seek(reader, footer_at)?;
    let mut footer = vec![0; trailer.footer_len as usize];
    read_exact(reader, &mut footer)?;
    Ok((trailer, footer))
}

/// Returns where something of `len` bytes starts that ends at `end`, if it is behind the header.
fn checked_start(end: u64, len: u64) -> Result<u64, ChunkError> {
    end.checked_sub(len)
        .filter(|start| *start >= HEADER_LEN as u64)
        .ok_or(ChunkError::CutShort {
            expected: HEADER_LEN as u64 + len,
            found: end,
        })
}

fn check_len(footer: &Footer, found: u64) -> Result<(), ChunkError> {
    let expected = footer.chunk_len();
    match expected.cmp(&found) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ChunkError::CutShort { expected, found }),
        std::cmp::Ordering::Less => Err(ChunkError::LeftOver { expected, found }),
    }
}

fn read_blocks(
    reader: &mut impl Read,
    footer: &Footer,
    chunk_hasher: &mut Hasher,
) -> Result<Vec<ContentId>, ChunkError> {
    let mut header = [0; HEADER_LEN];
    read_exact(reader, &mut header)?;
    check_header(&header, footer.format())?;
    chunk_hasher.update(header);
    let mut stored = vec![0; BLOCK_RAW_LEN_MAX as usize];
    let mut contents = ContentCheck::new(footer.contents());
    for block in footer.blocks() {
        let stored = &mut stored[..block.stored_len as usize];
        read_exact(reader, stored)?;
        chunk_hasher.update(&stored);
        contents.update(&decode_block(block, stored)?)?;
    }
    Ok(contents.checked)
}

/// Checks the hashes of contents that come one behind the other.
struct ContentCheck<'a> {
    entries: slice::Iter<'a, ContentEntry>,
    current: Option<(&'a ContentEntry, Hasher, usize)>,
    checked: Vec<ContentId>,
}

impl<'a> ContentCheck<'a> {
    fn new(entries: &'a [ContentEntry]) -> Self {
        Self {
            entries: entries.iter(),
            current: None,
            checked: Vec::with_capacity(entries.len()),
        }
    }

    fn update(&mut self, mut raw: &[u8]) -> Result<(), ChunkError> {
        while !raw.is_empty() {
            let next = || {
                self.entries
                    .next()
                    .map(|entry| (entry, Hasher::new(), entry.len as usize))
            };
            let Some((entry, mut hasher, left)) = self.current.take().or_else(next) else {
                return Ok(());
            };
            let (part, rest) = raw.split_at(left.min(raw.len()));
            hasher.update(part);
            raw = rest;
            if part.len() < left {
                self.current = Some((entry, hasher, left - part.len()));
                continue;
            }
            let id = ContentId(hasher.finalize().into());
            if !entry.prefix.is_of(&id) {
                let of = HashOf::Content(entry.prefix);
                return Err(ChunkError::BadHash { of });
            }
            self.checked.push(id);
        }
        Ok(())
    }
}

fn seek(reader: &mut impl Seek, to: u64) -> Result<(), ChunkError> {
    reader
        .seek(SeekFrom::Start(to))
        .map(|_| ())
        .map_err(ChunkError::Read)
}

fn read_exact(reader: &mut impl Read, bytes: &mut [u8]) -> Result<(), ChunkError> {
    reader
        .read_exact(bytes)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ChunkError::ReadEnded,
            _ => ChunkError::Read(error),
        })
}
