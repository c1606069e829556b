//! The commit that takes the changes, running beside the code that finds them.

use std::sync::Arc;

use futures::stream::{Stream, StreamExt as _};
use lfsfs_remote::{Change, Published, Remote, RemoteError, SessionParams};
use lfsfs_types::SessionId;
use tokio::task::JoinHandle;

use crate::error::UploadError;

/// A commit under way, given up when it is dropped.
#[derive(Debug)]
pub struct Publishing(JoinHandle<Result<Published, RemoteError>>);

impl Publishing {
    /// Starts to send changes into an open session.
    pub fn start(
        remote: Arc<dyn Remote>,
        session: SessionId,
        params: SessionParams,
        changes: impl Stream<Item = Change> + Send + 'static,
    ) -> Self {
        let changes = changes.boxed();
        let commit = async move { remote.commit(session, &params, changes).await };
        Self(tokio::spawn(commit))
    }

    /// Waits until the changes are a version. They must have been ended.
    pub async fn finish(mut self) -> Result<Published, UploadError> {
        let panicked = |_| UploadError::Stopped("the commit panicked");
        Ok((&mut self.0).await.map_err(panicked)??)
    }

    /// Returns why the commit failed, if it has.
    pub async fn failure(mut self) -> Option<RemoteError> {
        if !self.0.is_finished() {
            return None;
        }
        match (&mut self.0).await {
            Ok(Err(error)) => Some(error),
            _ => None,
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
