//! Bytes of contents: places, then indexes, then blocks, and what to do when one of them fails.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lfsfs_client::RemoteError;
use lfsfs_types::chunk::Span;
use lfsfs_types::content::Piece;
use lfsfs_types::{ContentId, DirId};

use crate::chunks::{Chunk, Chunks};
use crate::commit::OldPiece;
use crate::deadline::{Deadline, Progress};
use crate::error::VfsError;
use crate::inode::Place;
use crate::listing::Listing;
use crate::places::{Freshness, Part, PlaceTable, Places};

const ACTION: &str = "read a file";

/// Some bytes of a content.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The entry that has the content, by which its neighbours are found; none for what is in no
    /// listing of this version.
    pub(crate) place: Option<Place>,
    pub(crate) content: ContentId,
    /// Length of the whole content.
    pub(crate) size: u64,
    pub(crate) range: Range<u64>,
}

impl Wanted {
    /// Returns what `len` bytes from `offset` are, cut at the end of the content; `None` if that is
    /// nothing.
    pub(crate) fn new(
        place: Option<Place>,
        (content, size): (ContentId, u64),
        offset: u64,
        len: u64,
    ) -> Option<Self> {
        let end = offset.saturating_add(len).min(size);
        (offset < end).then_some(Self {
            place,
            content,
            size,
            range: offset..end,
        })
    }
}

/// Reads contents of one version.
#[derive(Debug)]
pub(crate) struct ContentReader {
    places: Arc<Places>,
    chunks: Arc<Chunks>,
}

impl ContentReader {
    pub(crate) fn new(places: Arc<Places>, chunks: Arc<Chunks>) -> Self {
        Self { places, chunks }
    }

    /// Takes over what `before` knows, but for these directories.
    pub(crate) fn inherit(&self, before: &Self, changed: &HashMap<DirId, u32>) {
        self.places.inherit(&before.places, changed);
    }

    /// Returns the bytes if all that is needed for it is in memory.
    pub(crate) fn read_in_memory(&self, wanted: &Wanted) -> Option<Bytes> {
        let table = self.places.in_memory(wanted)?;
        let mut bytes = Pieces::default();
        for part in parts_within(&table, wanted).ok()? {
            let location = table.location(part)?;
            let chunk = self.chunks.chunk_in_memory(&location.info.id)?;
            for span in spans_within(&chunk, part, wanted).ok()? {
                let block = self.chunks.block_at_hand(&chunk, span.block)?;
                bytes.add(&block, span.range)?;
            }
        }
        Some(bytes.join())
    }

    /// Returns the bytes; `listing` is the one that has the wanted place, if there is one. Places that
    /// turn out to be wrong are asked for again, and servers that are away are tried until `deadline`,
    /// which moves with the bytes that come.
    pub(crate) async fn read(
        &self,
        wanted: &Wanted,
        listing: Option<&Arc<Listing>>,
        deadline: Deadline,
    ) -> Result<Bytes, VfsError> {
        let mut progress = Progress::within(deadline);
        let mut freshness = Freshness::Any;
        let mut pauses = deadline.pauses();
        loop {
            let attempt = self.attempt(wanted, listing, freshness, &mut progress);
            let error = match attempt.await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            tracing::debug!(content = %wanted.content, %error, "an attempt to read failed");
            let may_be_stale = error.is_not_found() || error.is_corrupt();
            let again = match error.is_retryable() {
                true => pauses.pause(progress.deadline()).await,
                false => may_be_stale && freshness == Freshness::Any,
            };
            if !again {
                return Err(error);
            }
            freshness = Freshness::Now;
        }
    }

    /// Returns what a large content is cut into, as its places say; nothing without places.
    pub(crate) async fn pieces(
        &self,
        whole: &Wanted,
        listing: Option<&Arc<Listing>>,
        deadline: Deadline,
    ) -> Result<Vec<OldPiece>, VfsError> {
        let load = || self.places.load(whole, listing, Freshness::Any, deadline);
        let table = deadline.insist(ACTION, load).await?;
        let old = |part: &Part| OldPiece {
            start: part.start,
            piece: Piece {
                hash: part.id,
                len: part.len,
            },
        };
        let parts = table.find(&whole.content).unwrap_or_default();
        Ok(parts.iter().map(old).collect())
    }

    async fn attempt(
        &self,
        wanted: &Wanted,
        listing: Option<&Arc<Listing>>,
        freshness: Freshness,
        progress: &mut Progress,
    ) -> Result<Bytes, VfsError> {
        let load = self
            .places
            .load(wanted, listing, freshness, progress.deadline());
        let table = load.await?;
        read_located(&self.chunks, &table, wanted, progress).await
    }
}

/// Reads bytes of a content from where the table says that it is.
pub(crate) async fn read_located(
    chunks: &Arc<Chunks>,
    table: &PlaceTable,
    wanted: &Wanted,
    progress: &mut Progress,
) -> Result<Bytes, VfsError> {
    let mut bytes = Pieces::default();
    for part in parts_within(table, wanted)? {
        let location = table.location(part).ok_or_else(missing)?;
        let chunk = chunks.open(location, progress.deadline()).await?;
        for span in spans_within(&chunk, part, wanted)? {
            let block = chunks
                .block(location, &chunk, span.block, progress.deadline())
                .await?;
            bytes.add(&block, span.range).ok_or_else(missing)?;
            progress.reached(bytes.len());
        }
    }
    Ok(bytes.join())
}

/// Returns the parts of the content that have some of the wanted bytes.
fn parts_within<'a>(table: &'a PlaceTable, wanted: &Wanted) -> Result<&'a [Part], VfsError> {
    let parts = table.find(&wanted.content).ok_or_else(missing)?;
    let len = parts.last().map_or(0, Part::end);
    // A record may tell a false size: what its content has can be read all the same.
    if len < wanted.range.end {
        let problem = format!("its places have {len} bytes of {}", wanted.size);
        return Err(VfsError::corrupt(ACTION, problem));
    }
    let start = parts.partition_point(|part| part.end() <= wanted.range.start);
    let end = parts.partition_point(|part| part.start < wanted.range.end);
    Ok(&parts[start..end])
}

/// Returns where the wanted bytes of a part lie in the blocks of its chunk.
fn spans_within(chunk: &Chunk, part: &Part, wanted: &Wanted) -> Result<Vec<Span>, VfsError> {
    let entry = chunk.footer.find(&part.id).ok_or_else(missing)?;
    if entry.len != part.len {
        return Err(VfsError::corrupt(ACTION, "a piece has another length"));
    }
    let relative = |at: u64| {
        let within = at.clamp(part.start, part.end()) - part.start;
        u32::try_from(within).unwrap_or(part.len)
    };
    let range = relative(wanted.range.start)..relative(wanted.range.end);
    Ok(chunk.footer.spans_within(entry, range).collect())
}

fn missing() -> VfsError {
    VfsError::io(ACTION)(RemoteError::NotFound(
        "the content is not where it should be".to_owned(),
    ))
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
