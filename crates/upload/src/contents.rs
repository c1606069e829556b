//! Contents on their way to the server: asked for, packed into chunks, sent.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_remote::{Remote, RemoteError};
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::content::{Content, PieceList};
use lfsfs_types::limits::{CHUNK_LEN_DEFAULT, PIECES_INLINE_MAX};
use lfsfs_types::{ContentId, ProjectId};
use tokio::runtime::Handle;

use crate::error::UploadError;
use crate::progress::{Phase, Progress};
use crate::uploads::Uploads;

/// Whether contents are really sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// They are.
    Send,
    /// Only count what would be sent.
    DryRun,
}

/// Sends contents that the server lacks, each once. Shared by all workers, each of which fills a
/// chunk of its own; what is left half full is taken up by the next.
#[derive(Debug)]
pub struct ContentSender {
    remote: Arc<dyn Remote>,
    project: ProjectId,
    runtime: Handle,
    mode: SendMode,
    progress: Arc<Progress>,
    uploads: Uploads,
    /// Contents that some worker has taken on.
    claimed: Mutex<HashSet<ContentId>>,
    half_full: Mutex<Vec<ChunkBuilder>>,
    /// Large contents to register when their pieces are there.
    large: Mutex<Vec<(ContentId, PieceList)>>,
}

impl ContentSender {
    /// Prepares sending on the current runtime; the other methods block, and belong on threads that
    /// may.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        project: ProjectId,
        mode: SendMode,
        progress: Arc<Progress>,
    ) -> Self {
        progress.begin(Phase::Read);
        let runtime = Handle::current();
        let uploads = Uploads::new(
            Arc::clone(&remote),
            runtime.clone(),
            project,
            Arc::clone(&progress),
        );
        Self {
            remote,
            project,
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
    pub fn offer(&self, contents: &[(ContentId, Vec<u8>)]) -> Result<(), UploadError> {
        let ids: Vec<ContentId> = contents
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let missing = self.find_missing(&ids)?;
        let mut wanted = self.claim(&missing);
        let mut builder = self.take_builder();
        for (id, bytes) in contents {
            if wanted.remove(id) {
                builder = self.add(builder, *id, bytes)?;
            }
        }
        lock(&self.half_full).push(builder);
        Ok(())
    }

    /// Takes on a large content whose pieces were offered.
    pub fn register(&self, content: ContentId, pieces: &PieceList) {
        if !self.claim(&[content]).is_empty() {
            lock(&self.large).push((content, pieces.clone()));
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
        for (_, pieces) in &large {
            if pieces.pieces().len() > PIECES_INLINE_MAX {
                registered.extend(self.offer_list(pieces)?);
            }
        }
        registered.extend(large);
        let rest = std::mem::take(&mut *lock(&self.half_full));
        rest.into_iter()
            .filter(|builder| !builder.is_empty())
            .try_for_each(|builder| self.send(builder))?;
        self.uploads.finish()?;
        if self.mode == SendMode::Send {
            for (id, pieces) in &registered {
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

    fn missing_large(&self) -> Result<Vec<(ContentId, PieceList)>, UploadError> {
        let mut large = std::mem::take(&mut *lock(&self.large));
        let ids: Vec<ContentId> = large.iter().map(|(id, _)| *id).collect();
        let missing = self.find_missing(&ids)?;
        let missing: HashSet<_> = missing.into_iter().collect();
        large.retain(|(id, _)| missing.contains(id));
        Ok(large)
    }

    /// Sends a list of pieces as a content. Returns what is to be registered if it is a large one.
    fn offer_list(
        &self,
        pieces: &PieceList,
    ) -> Result<Option<(ContentId, PieceList)>, UploadError> {
        let encoded = pieces.encode();
        let content = Content::of_bytes(&encoded);
        let Some(list) = content.pieces else {
            self.offer(&[(content.id, encoded)])?;
            return Ok(None);
        };
        for (range, piece) in list.ranges() {
            let part = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .and_then(|(start, end)| encoded.get(start..end))
                .expect("the pieces of these bytes are within them");
            self.offer(&[(piece.hash, part.to_vec())])?;
        }
        Ok(Some((content.id, list)))
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
            .unwrap_or_else(|| ChunkBuilder::new(CHUNK_LEN_DEFAULT))
    }

    fn add(
        &self,
        mut builder: ChunkBuilder,
        id: ContentId,
        bytes: &[u8],
    ) -> Result<ChunkBuilder, UploadError> {
        if builder.is_full() {
            self.send(builder)?;
            builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
        }
        builder
            .add(id, bytes)
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
