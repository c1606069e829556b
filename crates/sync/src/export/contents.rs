//! Bytes of contents from datanodes, each checked against the hash that names it.
//!
//! Made for reading much at once: contents that lie in one chunk come together, in few reads.
//! Nothing is kept but indexes of chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use lfsfs_client::{ChunkLocation, RemoteError, RemoteRead, Resolved};
use lfsfs_types::chunk::{ChunkError, FOOTER_LEN_MAX, Footer, TRAILER_LEN, decode_block};
use lfsfs_types::content::{Piece, PieceList, small_content_id};
use lfsfs_types::limits::CHUNK_LEN_MAX;
use lfsfs_types::{ChunkId, ContentId, ProjectId};
use lru::LruCache;

/// Indexes of chunks that are kept.
const FOOTERS_MAX: NonZeroUsize = NonZeroUsize::new(32).expect("more than none");
/// Chunks that one call reads from at once.
const CHUNKS_AT_ONCE: usize = 4;
/// Stored bytes asked for at once.
const READ_LEN_MAX: u64 = 4 * 1024 * 1024;
/// How often something damaged, or gone from where it was, is asked for.
const ATTEMPTS: usize = 2;

/// Contents by their names.
pub(crate) type Loaded = HashMap<ContentId, Bytes>;

/// Reads contents.
#[derive(Debug)]
pub(crate) struct Contents {
    remote: Arc<dyn RemoteRead>,
    project: ProjectId,
    footers: Mutex<LruCache<ChunkId, Arc<Footer>>>,
}

impl Contents {
    pub(crate) fn new(remote: Arc<dyn RemoteRead>, project: ProjectId) -> Self {
        Self {
            remote,
            project,
            footers: Mutex::new(LruCache::new(FOOTERS_MAX)),
        }
    }

    /// Returns small contents and pieces, all of them and each as its name says. The caller asks for
    /// no more than it can hold.
    pub(crate) async fn load(&self, wanted: &[ContentId]) -> Result<Loaded, RemoteError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_load(wanted, attempt).await {
                // Places move, and another node may have what is damaged here.
                Err(error) if attempt < ATTEMPTS && may_be_elsewhere(&error) => {}
                loaded => return loaded,
            }
        }
    }

    async fn try_load(&self, wanted: &[ContentId], attempt: usize) -> Result<Loaded, RemoteError> {
        let empty = small_content_id(b"");
        let mut loaded = Loaded::new();
        let mut ids: BTreeSet<ContentId> = wanted.iter().copied().collect();
        if ids.remove(&empty) {
            loaded.insert(empty, Bytes::new());
        }
        if ids.is_empty() {
            return Ok(loaded);
        }
        let ids: Vec<ContentId> = ids.into_iter().collect();
        let resolved = self.remote.resolve(self.project, &ids).await?;
        let mut by_chunk: BTreeMap<ChunkId, Vec<ContentId>> = BTreeMap::new();
        for id in ids {
            by_chunk
                .entry(chunk_of(&resolved, id)?)
                .or_default()
                .push(id);
        }
        let reads = by_chunk.into_iter().map(|(chunk, ids)| {
            let location = resolved.chunks.get(&chunk).map(|at| turned(at, attempt));
            async move {
                let location = location.ok_or_else(|| missing(&ids[0]))?;
                self.load_from(&location, &ids).await
            }
        });
        let mut parts = stream::iter(reads).buffer_unordered(CHUNKS_AT_ONCE);
        while let Some(part) = parts.try_next().await? {
            loaded.extend(part);
        }
        Ok(loaded)
    }

    /// Returns the pieces of a large content.
    pub(crate) async fn pieces(&self, content: ContentId) -> Result<PieceList, RemoteError> {
        let resolved = self.remote.resolve(self.project, &[content]).await?;
        let list = match resolved.lists.get(&content) {
            None => inline_pieces(&resolved, content)?,
            Some(stored) => {
                let bytes = self.whole(stored.content).await?;
                PieceList::decode(&bytes).map_err(|error| damaged(&content, &error.to_string()))?
            }
        };
        if list.content_id() == content {
            Ok(list)
        } else {
            Err(damaged(&content, "its pieces make up another content"))
        }
    }

    /// Returns all bytes of a list of pieces, which may be a large content itself.
    async fn whole(&self, content: ContentId) -> Result<Vec<u8>, RemoteError> {
        let resolved = self.remote.resolve(self.project, &[content]).await?;
        let pieces = match places(&resolved, content)? {
            [place] if place.content == content => {
                return Ok(take(&self.load(&[content]).await?, &content)?.to_vec());
            }
            _ => inline_pieces(&resolved, content)?,
        };
        let mut bytes = Vec::new();
        for piece in pieces.pieces() {
            let loaded = self.load(&[piece.hash]).await?;
            bytes.extend_from_slice(take(&loaded, &piece.hash)?);
        }
        Ok(bytes)
    }

    async fn load_from(
        &self,
        location: &ChunkLocation,
        ids: &[ContentId],
    ) -> Result<Vec<(ContentId, Bytes)>, RemoteError> {
        let footer = self.footer(location).await?;
        let mut wanted = Vec::new();
        for id in ids {
            let entry = footer.find(id).ok_or_else(|| missing(id))?;
            wanted.push((*id, footer.spans(entry).collect::<Vec<_>>()));
        }
        let blocks = wanted.iter().flat_map(|(_, spans)| spans);
        let blocks: BTreeSet<u32> = blocks.map(|span| span.block).collect();
        let raw = self.blocks(location, &footer, &blocks).await?;
        let mut contents = Vec::with_capacity(wanted.len());
        for (id, spans) in wanted {
            let mut bytes = Vec::new();
            for span in spans {
                let part = raw.get(&span.block).and_then(|raw| raw.get(span.range));
                bytes.extend_from_slice(part.ok_or_else(|| missing(&id))?);
            }
            if small_content_id(&bytes) != id {
                return Err(damaged(&id, "its bytes have another hash"));
            }
            contents.push((id, bytes.into()));
        }
        Ok(contents)
    }

    /// Reads blocks of a chunk, those that lie side by side at once.
    async fn blocks(
        &self,
        location: &ChunkLocation,
        footer: &Footer,
        wanted: &BTreeSet<u32>,
    ) -> Result<HashMap<u32, Vec<u8>>, RemoteError> {
        let mut raw = HashMap::new();
        for run in runs(footer, wanted) {
            let blocks = &footer.blocks()[run.start as usize..run.end as usize];
            let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
                continue;
            };
            let range = first.offset..last.offset + u64::from(last.stored_len);
            let mut stored = self.remote.read_chunk(location, range).await?;
            for (index, block) in run.zip(blocks) {
                let len = block.stored_len as usize;
                if stored.len() < len {
                    return Err(damaged_chunk(location, "fewer bytes came than it has"));
                }
                let bytes = decode_block(block, &stored.split_to(len));
                raw.insert(index, bytes.map_err(|error| broken(location, &error))?);
            }
        }
        Ok(raw)
    }

    async fn footer(&self, location: &ChunkLocation) -> Result<Arc<Footer>, RemoteError> {
        let info = &location.info;
        if let Some(footer) = self.kept_footers().get(&info.id) {
            return Ok(Arc::clone(footer));
        }
        if info.len > CHUNK_LEN_MAX || info.footer_len > FOOTER_LEN_MAX {
            return Err(damaged_chunk(location, "no chunk is that long"));
        }
        let end = info.len.saturating_sub(TRAILER_LEN as u64);
        let range = end.saturating_sub(u64::from(info.footer_len))..end;
        let encoded = self.remote.read_chunk(location, range).await?;
        let footer = Footer::decode_verified(&encoded, &info.footer_sha256);
        let footer = Arc::new(footer.map_err(|error| broken(location, &error))?);
        self.kept_footers().put(info.id, Arc::clone(&footer));
        Ok(footer)
    }

    fn kept_footers(&self) -> std::sync::MutexGuard<'_, LruCache<ChunkId, Arc<Footer>>> {
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a content that was loaded.
pub(crate) fn take<'a>(loaded: &'a Loaded, id: &ContentId) -> Result<&'a Bytes, RemoteError> {
    loaded.get(id).ok_or_else(|| missing(id))
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

fn chunk_of(resolved: &Resolved, id: ContentId) -> Result<ChunkId, RemoteError> {
    match places(resolved, id)? {
        [place] if place.content == id => Ok(place.chunk),
        _ => Err(damaged(&id, "it lies in more than one place")),
    }
}

fn inline_pieces(resolved: &Resolved, content: ContentId) -> Result<PieceList, RemoteError> {
    let pieces = places(resolved, content)?.iter().map(|place| Piece {
        hash: place.content,
        len: place.len,
    });
    PieceList::new(pieces.collect()).map_err(|error| damaged(&content, &error.to_string()))
}

fn places(resolved: &Resolved, id: ContentId) -> Result<&[lfsfs_types::ContentPlace], RemoteError> {
    let places = resolved.contents.get(&id);
    places.map(Vec::as_slice).ok_or_else(|| missing(&id))
}

/// Names another node first at each attempt.
fn turned(location: &ChunkLocation, attempt: usize) -> ChunkLocation {
    let mut location = location.clone();
    if let Some(turn) = (attempt - 1).checked_rem(location.nodes.len()) {
        location.nodes.rotate_left(turn);
    }
    location
}

fn may_be_elsewhere(error: &RemoteError) -> bool {
    error.is_not_found() || matches!(error, RemoteError::Corrupt(_))
}

fn missing(id: &ContentId) -> RemoteError {
    RemoteError::NotFound(format!("content {id} is not where it should be"))
}

fn damaged(id: &ContentId, problem: &str) -> RemoteError {
    RemoteError::Corrupt(format!("content {id}: {problem}"))
}

fn damaged_chunk(location: &ChunkLocation, problem: &str) -> RemoteError {
    RemoteError::Corrupt(format!("chunk {}: {problem}", location.info.id))
}

fn broken(location: &ChunkLocation, error: &ChunkError) -> RemoteError {
    damaged_chunk(location, &error.to_string())
}
