//! Many whole contents at once: those that lie in one chunk come together, in few calls.
//!
//! Each is checked against the hash that names it, and not only block by block. Memory is bounded by
//! what the caller asks for at once; blocks that are read here are not asked for again, so no cache is
//! asked for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use lfsfs_remote::{ChunkLocation, RemoteError};
use lfsfs_types::chunk::{Footer, Span};
use lfsfs_types::content::{PieceList, small_content_id};
use lfsfs_types::{ChunkId, ContentId};

use crate::chunks::Chunk;
use crate::content_reader::ContentReader;
use crate::deadline::Deadline;
use crate::error::ReadError;
use crate::located::missing;
use crate::place_table::PlaceTable;
use crate::places::Freshness;

const ACTION: &str = "read contents";

/// Chunks that one call reads from at once.
const CHUNKS_AT_ONCE: usize = 4;
/// Stored bytes asked for at once.
const READ_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Contents by their names.
pub type Loaded = HashMap<ContentId, Bytes>;

/// What is wanted of one chunk.
struct InChunk {
    location: Arc<ChunkLocation>,
    contents: Vec<ContentId>,
}

impl ContentReader {
    /// Returns small contents and pieces, all of them and each as its name says. The caller asks for
    /// no more than it can hold.
    ///
    /// If one of them is damaged or absent, the call fails. Servers that are away are not tried again:
    /// that is up to the caller or its remote.
    pub async fn load(
        &self,
        wanted: &[ContentId],
        deadline: Deadline,
    ) -> Result<Loaded, ReadError> {
        match self.load_once(wanted, Freshness::Any, deadline).await {
            // Chunks are moved and rewritten.
            Err(error) if error.is_not_found() || error.is_corrupt() => {
                self.load_once(wanted, Freshness::Now, deadline).await
            }
            loaded => loaded,
        }
    }

    /// Returns the pieces of a large content, to be loaded a few at a time.
    pub async fn piece_list(
        &self,
        content: ContentId,
        deadline: Deadline,
    ) -> Result<PieceList, ReadError> {
        self.places.piece_list(content, deadline).await
    }

    async fn load_once(
        &self,
        wanted: &[ContentId],
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded::new();
        let mut contents: BTreeSet<ContentId> = wanted.iter().copied().collect();
        if contents.remove(&ContentId::EMPTY) {
            loaded.insert(ContentId::EMPTY, Bytes::new());
        }
        let table = self.places.locate(&contents, freshness, deadline).await?;
        let reads = by_chunk(&contents, &table)?
            .into_values()
            .map(|part| async move { self.load_from(&part, deadline).await });
        let mut parts = stream::iter(reads).buffer_unordered(CHUNKS_AT_ONCE);
        while let Some(part) = parts.try_next().await? {
            loaded.extend(part);
        }
        Ok(loaded)
    }

    async fn load_from(
        &self,
        wanted: &InChunk,
        deadline: Deadline,
    ) -> Result<Vec<(ContentId, Bytes)>, ReadError> {
        let InChunk { location, contents } = wanted;
        let chunk = self.chunks.open(location, deadline).await?;
        let mut spans = Vec::with_capacity(contents.len());
        for content in contents {
            let entry = chunk.footer.find(content).ok_or_else(|| missing(content))?;
            spans.push((*content, chunk.footer.spans(entry).collect::<Vec<_>>()));
        }
        let blocks = spans.iter().flat_map(|(_, spans)| spans);
        let blocks = blocks.map(|span| span.block).collect();
        let blocks = self.blocks(location, &chunk, &blocks, deadline).await?;
        let mut loaded = Vec::with_capacity(spans.len());
        for (content, spans) in spans {
            loaded.push((content, joined(content, spans, &blocks)?));
        }
        Ok(loaded)
    }

    /// Reads blocks of a chunk, those that lie side by side at once.
    async fn blocks(
        &self,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        wanted: &BTreeSet<u32>,
        deadline: Deadline,
    ) -> Result<HashMap<u32, Bytes>, ReadError> {
        let mut blocks = HashMap::with_capacity(wanted.len());
        for run in runs(&chunk.footer, wanted) {
            let read = self.chunks.run(location, chunk, run.clone(), deadline);
            blocks.extend(run.zip(read.await?));
        }
        Ok(blocks)
    }
}

/// Returns what is wanted of each chunk, in the order of their ids.
fn by_chunk(
    contents: &BTreeSet<ContentId>,
    table: &PlaceTable,
) -> Result<BTreeMap<ChunkId, InChunk>, ReadError> {
    let mut chunks: BTreeMap<ChunkId, InChunk> = BTreeMap::new();
    for content in contents {
        let [part] = table.find(content).ok_or_else(|| missing(content))? else {
            return Err(damaged(content, "it lies in more than one place"));
        };
        let location = table.location(part).ok_or_else(|| missing(content))?;
        let in_chunk = chunks.entry(location.info.id).or_insert_with(|| InChunk {
            location: Arc::clone(location),
            contents: Vec::new(),
        });
        in_chunk.contents.push(*content);
    }
    Ok(chunks)
}

/// Returns a content whose blocks are there, once its hash was checked.
fn joined(
    content: ContentId,
    spans: Vec<Span>,
    blocks: &HashMap<u32, Bytes>,
) -> Result<Bytes, ReadError> {
    let mut bytes = Vec::new();
    for span in spans {
        let part = blocks.get(&span.block).and_then(|raw| raw.get(span.range));
        bytes.extend_from_slice(part.ok_or_else(|| missing(&content))?);
    }
    if small_content_id(&bytes) != content {
        return Err(damaged(&content, "its bytes have another hash"));
    }
    Ok(bytes.into())
}

/// Divides blocks into stretches without a gap, none of which is too long for one read.
fn runs(footer: &Footer, wanted: &BTreeSet<u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    let mut run_len = 0;
    for &block in wanted {
        let len = footer
            .block_range(block)
            .map_or(0, |range| range.end - range.start);
        match runs.last_mut() {
            Some(run) if run.end == block && run_len + len <= READ_LEN_MAX => {
                run.end = block + 1;
                run_len += len;
            }
            _ => {
                runs.push(block..block + 1);
                run_len = len;
            }
        }
    }
    runs
}

fn damaged(content: &ContentId, problem: &str) -> ReadError {
    let text = format!("content {content}: {problem}");
    ReadError::remote(ACTION)(RemoteError::Corrupt(text))
}
