//! Contents on their way to the server: asked for, packed into chunks, sent.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_remote::{Project, Remote, RemoteError};
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::content::{Content, PieceList, small_content_id};
use lfsfs_types::limits::PIECES_INLINE_MAX;
use lfsfs_types::{ContentId, ProjectId};
use tokio::runtime::Handle;

use crate::error::UploadError;
use crate::progress::{Phase, Progress};
use crate::uploads::Uploads;

/// The bytes of a small content, or of a piece of a large one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentBytes {
    /// Names them.
    pub id: ContentId,
    /// At most as many as a small content or a piece has.
    pub bytes: Vec<u8>,
}

impl ContentBytes {
    /// Names the bytes of a small content.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            id: small_content_id(&bytes),
            bytes,
        }
    }
}

/// Whether contents are really sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// They are.
    Send,
    /// Only count what would be sent.
    DryRun,
}

/// Reads files, and sends the contents that the server lacks, each once. All workers share it: each fills
/// a chunk of its own, and what is left half full is filled further by the next.
#[derive(Debug)]
pub struct ContentSender {
    remote: Arc<dyn Remote>,
    project: ProjectId,
    chunk_len: u64,
    runtime: Handle,
    mode: SendMode,
    progress: Arc<Progress>,
    uploads: Uploads,
    /// Contents that some worker has taken on.
    claimed: Mutex<HashSet<ContentId>>,
    half_full: Mutex<Vec<ChunkBuilder>>,
    /// Large contents to register when their pieces are there.
    large: Mutex<Vec<LargeContent>>,
}

/// A large content on its way.
#[derive(Debug)]
struct LargeContent {
    id: ContentId,
    pieces: PieceList,
}

impl ContentSender {
    /// Prepares sending on the current runtime; the other methods block, and belong on threads that
    /// may.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        project: &Project,
        mode: SendMode,
        progress: Arc<Progress>,
    ) -> Self {
        progress.begin(Phase::Read);
        let runtime = Handle::current();
        let uploads = Uploads::new(
            Arc::clone(&remote),
            runtime.clone(),
            project.id,
            Arc::clone(&progress),
        );
        Self {
            remote,
            project: project.id,
            chunk_len: project.chunk_len,
            runtime,
            mode,
            progress,
            uploads,
            claimed: Mutex::default(),
            half_full: Mutex::default(),
            large: Mutex::default(),
        }
    }

    /// Sends those of the contents that are missing. They are durable only after [`Self::finish`].
    pub fn offer(&self, contents: &[ContentBytes]) -> Result<(), UploadError> {
        let some = contents.iter().filter(|content| !content.bytes.is_empty());
        let ids: Vec<ContentId> = some.map(|content| content.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let missing = self.find_missing(&ids)?;
        let mut wanted = self.claim(&missing);
        let mut builder = self.take_builder();
        let (mut bytes_new, mut bytes_known) = (0, 0);
        for content in contents {
            let len = content.bytes.len() as u64;
            if wanted.remove(&content.id) {
                bytes_new += len;
                builder = self.add(builder, content)?;
            } else {
                bytes_known += len;
            }
        }
        self.progress.offered(bytes_new, bytes_known);
        lock(&self.half_full).push(builder);
        Ok(())
    }

    /// Returns those of the contents that the server does not have.
    pub fn missing(&self, contents: &[ContentId]) -> Result<HashSet<ContentId>, UploadError> {
        if contents.is_empty() {
            return Ok(HashSet::new());
        }
        Ok(self.find_missing(contents)?.into_iter().collect())
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes on a large content whose pieces were offered.
    pub(crate) fn register(&self, content: ContentId, pieces: &PieceList) {
        if !self.claim(&[content]).is_empty() {
            lock(&self.large).push(LargeContent {
                id: content,
                pieces: pieces.clone(),
            });
        }
    }

    /// Sends what is left in half-full chunks, then the lists of large contents, which the server
    /// takes only when it has every piece. Call it when no worker is busy any more.
    pub fn finish(&self) -> Result<(), UploadError> {
        self.progress.begin(Phase::Send);
        let large = self.missing_large()?;
        // The server wants these lists stored before it takes them, and what they are cut into
        // before that.
        let mut registered = Vec::new();
        for content in &large {
            if content.pieces.pieces().len() > PIECES_INLINE_MAX {
                registered.extend(self.offer_list(&content.pieces)?);
            }
        }
        registered.extend(large);
        let rest = std::mem::take(&mut *lock(&self.half_full));
        rest.into_iter()
            .filter(|builder| !builder.is_empty())
            .try_for_each(|builder| self.send(builder))?;
        self.uploads.finish()?;
        if self.mode == SendMode::Send {
            for LargeContent { id, pieces } in &registered {
                let put = self.remote.put_pieces(self.project, *id, pieces);
                self.runtime.block_on(put)?;
            }
        }
        Ok(())
    }

    fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, RemoteError> {
        let asked = self.remote.find_missing(self.project, ids);
        self.runtime.block_on(asked)
    }

    fn missing_large(&self) -> Result<Vec<LargeContent>, UploadError> {
        let mut large = std::mem::take(&mut *lock(&self.large));
        let ids: Vec<ContentId> = large.iter().map(|content| content.id).collect();
        let missing = self.find_missing(&ids)?;
        let missing: HashSet<_> = missing.into_iter().collect();
        large.retain(|content| missing.contains(&content.id));
        Ok(large)
    }

    /// Sends a list of pieces as a content. Returns what is to be registered if it is a large one.
    fn offer_list(&self, pieces: &PieceList) -> Result<Option<LargeContent>, UploadError> {
        let encoded = pieces.encode();
        let content = Content::of_bytes(&encoded);
        let Some(list) = content.pieces else {
            self.offer(&[ContentBytes {
                id: content.id,
                bytes: encoded,
            }])?;
            return Ok(None);
        };
        for (range, piece) in list.ranges() {
            let part = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .and_then(|(start, end)| encoded.get(start..end))
                .expect("the pieces of these bytes are within them");
            self.offer(&[ContentBytes {
                id: piece.hash,
                bytes: part.to_vec(),
            }])?;
        }
        Ok(Some(LargeContent {
            id: content.id,
            pieces: list,
        }))
    }

    fn claim(&self, contents: &[ContentId]) -> HashSet<ContentId> {
        let mut claimed = lock(&self.claimed);
        contents
            .iter()
            .copied()
            .filter(|content| claimed.insert(*content))
            .collect()
    }

    fn take_builder(&self) -> ChunkBuilder {
        lock(&self.half_full)
            .pop()
            .unwrap_or_else(|| ChunkBuilder::new(self.chunk_len))
    }

    fn add(
        &self,
        mut builder: ChunkBuilder,
        content: &ContentBytes,
    ) -> Result<ChunkBuilder, UploadError> {
        if builder.is_full() {
            self.send(builder)?;
            builder = ChunkBuilder::new(self.chunk_len);
        }
        builder
            .add(content.id, &content.bytes)
            .map_err(|error| RemoteError::Internal(error.to_string()))?;
        Ok(builder)
    }

    fn send(&self, builder: ChunkBuilder) -> Result<(), UploadError> {
        let chunk = builder.finish();
        match self.mode {
            SendMode::Send => self.uploads.start(chunk),
            SendMode::DryRun => {
                let contents = chunk.footer.contents().len() as u64;
                self.progress.sent(chunk.bytes.len() as u64, contents);
                Ok(())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
