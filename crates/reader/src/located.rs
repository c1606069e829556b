//! Bytes of contents whose places are known: footers, then blocks.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lfsfs_remote::RemoteError;
use lfsfs_types::ContentId;
use lfsfs_types::chunk::Span;
use lfsfs_types::content::ZERO_PIECE_BYTES;

use crate::chunks::{Chunk, Chunks};
use crate::deadline::Progress;
use crate::error::ReadError;
use crate::place_table::{Part, PlaceTable};

const ACTION: &str = "read a file";

/// Some bytes of a content.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The content.
    pub content: ContentId,
    /// Bytes that the whole content has.
    pub size: u64,
    /// Which bytes; not empty, and none behind the end.
    pub range: Range<u64>,
}

impl Wanted {
    /// Returns the bytes of a range, cut at the end of the content; `None` if that is nothing.
    #[must_use]
    pub fn new(content: ContentId, size: u64, range: Range<u64>) -> Option<Self> {
        let range = range.start..range.end.min(size);
        (!range.is_empty()).then_some(Self {
            content,
            size,
            range,
        })
    }
}

/// Returns the wanted bytes if all that is needed for them is in memory.
pub(crate) fn read_in_memory(
    chunks: &Chunks,
    table: &PlaceTable,
    wanted: &Wanted,
) -> Option<Bytes> {
    let mut bytes = Pieces::default();
    for part in parts_within(table, wanted).ok()? {
        if part.is_zeros() {
            bytes.add_zeros(part, wanted);
            continue;
        }
        let location = table.location(part)?;
        let chunk = chunks.chunk_in_memory(&location.info.id)?;
        for span in spans_within(&chunk, part, wanted).ok()? {
            let block = chunks.block_at_hand(&chunk, span.block)?;
            bytes.add(&block, span.range)?;
        }
    }
    Some(bytes.join())
}

/// Reads bytes of a content from where the table says that it is.
pub(crate) async fn read_located(
    chunks: &Arc<Chunks>,
    table: &PlaceTable,
    wanted: &Wanted,
    progress: &mut Progress,
) -> Result<Bytes, ReadError> {
    let mut bytes = Pieces::default();
    for part in parts_within(table, wanted)? {
        if part.is_zeros() {
            bytes.add_zeros(part, wanted);
            continue;
        }
        let location = table
            .location(part)
            .ok_or_else(|| missing(&wanted.content))?;
        let chunk = chunks.open(location, progress.deadline()).await?;
        for span in spans_within(&chunk, part, wanted)? {
            let block = chunks
                .block(location, &chunk, span.block, progress.deadline())
                .await?;
            bytes
                .add(&block, span.range)
                .ok_or_else(|| missing(&wanted.content))?;
            progress.reached(bytes.len());
        }
    }
    Ok(bytes.join())
}

/// Returns the parts of the content that have some of the wanted bytes.
fn parts_within<'a>(table: &'a PlaceTable, wanted: &Wanted) -> Result<&'a [Part], ReadError> {
    let parts = table
        .find(&wanted.content)
        .ok_or_else(|| missing(&wanted.content))?;
    let len = parts.last().map_or(0, Part::end);
    // A record may tell a false size: what its content has can be read all the same.
    if len < wanted.range.end {
        let problem = format!("its places have {len} bytes of {}", wanted.size);
        return Err(ReadError::corrupt(ACTION, problem));
    }
    let start = parts.partition_point(|part| part.end() <= wanted.range.start);
    let end = parts.partition_point(|part| part.start < wanted.range.end);
    Ok(&parts[start..end])
}

/// Returns where the wanted bytes of a part lie in the blocks of its chunk.
fn spans_within(chunk: &Chunk, part: &Part, wanted: &Wanted) -> Result<Vec<Span>, ReadError> {
    let entry = chunk
        .footer
        .find(&part.id)
        .ok_or_else(|| missing(&wanted.content))?;
    if entry.len != part.len {
        return Err(ReadError::corrupt(ACTION, "a piece has another length"));
    }
    Ok(chunk
        .footer
        .spans_within(entry, range_within(part, wanted))
        .collect())
}

/// Returns which bytes of a part are wanted.
fn range_within(part: &Part, wanted: &Wanted) -> Range<u32> {
    let relative = |at: u64| {
        let within = at.clamp(part.start, part.end()) - part.start;
        u32::try_from(within).unwrap_or(part.len)
    };
    relative(wanted.range.start)..relative(wanted.range.end)
}

/// Returns the error for a content that is not where its places say.
pub(crate) fn missing(content: &ContentId) -> ReadError {
    let text = format!("content {content} is not where it should be");
    ReadError::remote(ACTION)(RemoteError::NotFound(text))
}

/// Slices of blocks, joined at the end; a single one is not copied.
#[derive(Default)]
struct Pieces(Vec<Bytes>);

impl Pieces {
    fn add(&mut self, block: &Bytes, range: Range<usize>) -> Option<()> {
        block.get(range.clone())?;
        self.0.push(block.slice(range));
        Some(())
    }

    /// Adds what is wanted of zeros, which are not read.
    fn add_zeros(&mut self, part: &Part, wanted: &Wanted) {
        let Range { start, end } = range_within(part, wanted);
        let zeros = &ZERO_PIECE_BYTES[start as usize..end as usize];
        self.0.push(Bytes::from_static(zeros));
    }

    fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn join(mut self) -> Bytes {
        if self.0.len() == 1 {
            return self.0.remove(0);
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.0
            .iter()
            .for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    }
}
