//! Chunks on their way, while others are being filled.
//!
//! The thread that fills chunks need not wait until the server has verified the last one and has it on
//! disk; only when too many are under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_remote::{Remote, RemoteError};
use lfsfs_types::ProjectId;
use lfsfs_types::chunk::BuiltChunk;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::error::UploadError;
use crate::progress::Progress;

/// Chunks under way at once. Each takes its length in memory.
const UPLOADS_MAX: usize = 4;

/// The uploads of one version. Dropping it gives up those that are under way.
#[derive(Debug)]
pub(crate) struct Uploads {
    remote: Arc<dyn Remote>,
    runtime: Handle,
    project: ProjectId,
    progress: Arc<Progress>,
    room: Arc<Semaphore>,
    running: Mutex<JoinSet<Result<(), RemoteError>>>,
}

impl Uploads {
    /// Prepares uploads on this runtime.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        runtime: Handle,
        project: ProjectId,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            remote,
            runtime,
            project,
            progress,
            room: Arc::new(Semaphore::new(UPLOADS_MAX)),
            running: Mutex::default(),
        }
    }

    /// Starts to send a chunk, waiting for room. Fails if an earlier one has failed.
    pub(crate) fn start(&self, chunk: BuiltChunk) -> Result<(), UploadError> {
        let permit = self
            .runtime
            .block_on(Arc::clone(&self.room).acquire_owned());
        let mut running = self.running();
        while let Some(ended) = running.try_join_next() {
            check(ended)?;
        }
        let (remote, project) = (Arc::clone(&self.remote), self.project);
        let progress = Arc::clone(&self.progress);
        let upload = async move {
            let _permit = permit;
            let stored = remote.store_chunk(project, chunk.id, chunk.bytes.into());
            let sent = stored.await?;
            progress.sent(sent, chunk.footer.contents().len() as u64);
            Ok(())
        };
        running.spawn_on(upload, &self.runtime);
        Ok(())
    }

    /// Waits until every chunk is durable on the server.
    pub(crate) fn finish(&self) -> Result<(), UploadError> {
        let mut running = std::mem::take(&mut *self.running());
        while let Some(ended) = self.runtime.block_on(running.join_next()) {
            check(ended)?;
        }
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<Result<(), RemoteError>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(ended: Result<Result<(), RemoteError>, JoinError>) -> Result<(), UploadError> {
    let ended = ended.map_err(|_| UploadError::Stopped("an upload panicked"))?;
    Ok(ended?)
}
