//! The checks that every store makes, and makes alike.

use std::io::{Read, Seek};
use std::ops::Range;

use lfsfs_types::chunk::{self, ChunkError};
use lfsfs_types::limits::CHUNK_LEN_MAX;
use lfsfs_types::{ChunkId, ChunkInfo, ContentPlace};

use crate::{ChunkStoreError, StoredChunk};

/// Why bytes are not the chunk that they should be.
#[derive(Debug, thiserror::Error)]
pub enum ChunkDamage {
    /// They are no chunk, or one whose parts do not fit together.
    #[error(transparent)]
    Container(#[from] ChunkError),
    /// They are a chunk with another id.
    #[error("its bytes have the id {found}")]
    WrongId {
        /// The id of the bytes.
        found: ChunkId,
    },
}

/// Reads a whole chunk and returns what its footer tells, if it is the one that `id` names.
pub(crate) fn verify(
    id: ChunkId,
    reader: impl Read + Seek,
    len: u64,
) -> Result<StoredChunk, ChunkDamage> {
    let verified = chunk::verify(reader, len)?;
    if verified.id != id {
        let found = verified.id;
        return Err(ChunkDamage::WrongId { found });
    }
    let entries = verified.footer.contents().iter();
    let contents = entries.zip(&verified.contents);
    let contents = contents.map(|(entry, content)| ContentPlace {
        content: *content,
        chunk: id,
        block: entry.first_block,
        offset: entry.offset,
        len: entry.len,
    });
    Ok(StoredChunk {
        info: ChunkInfo {
            id,
            len,
            footer_len: verified.footer_len,
            footer_sha256: verified.footer_sha256,
        },
        contents: contents.collect(),
    })
}

/// Refuses a length that no chunk can have.
pub(crate) const fn check_len(len: u64) -> Result<(), ChunkStoreError> {
    if len == 0 || len > CHUNK_LEN_MAX {
        let max = CHUNK_LEN_MAX;
        return Err(ChunkStoreError::Length { len, max });
    }
    Ok(())
}

/// Turns a range of a chunk into one of memory, if it lies in the chunk.
pub(crate) fn check_range(
    id: ChunkId,
    range: Range<u64>,
    len: u64,
) -> Result<Range<usize>, ChunkStoreError> {
    if range.start > range.end || range.end > len {
        return Err(ChunkStoreError::Range { id, range, len });
    }
    let bound = |at: u64| usize::try_from(at).ok();
    match (bound(range.start), bound(range.end)) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(ChunkStoreError::Range { id, range, len }),
    }
}
