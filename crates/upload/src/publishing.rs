//! The commit that takes the changes, running beside the code that finds them.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, StreamExt as _};
use lfsfs_remote::{Change, Published, Remote, RemoteError, SessionParams};
use lfsfs_types::SessionId;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::UploadError;

/// How long a commit may take to end after it has dropped its changes.
const ENDING_MAX: Duration = Duration::from_secs(1);

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

    /// Returns why the commit failed, if it has, or does within a second. It is asked when no change can
    /// be sent any more.
    pub async fn failure(mut self) -> Option<RemoteError> {
        // The transport drops the stream of changes an instant before the call itself ends.
        match timeout(ENDING_MAX, &mut self.0).await {
            Ok(Ok(Err(error))) => Some(error),
            _ => None,
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use lfsfs_remote::memory::{Faults, MemoryRemote};
    use lfsfs_types::{Origin, ProjectId, VersionId, VersionNumber};

    use super::*;

    #[tokio::test]
    async fn a_commit_that_is_about_to_fail_says_why() {
        let remote = MemoryRemote::new();
        remote.set_faults(Faults {
            is_down: true,
            delay: Duration::from_millis(20),
            ..Faults::default()
        });
        let params = SessionParams {
            project: ProjectId([0; 16]),
            base: (VersionNumber(0), VersionId([0; 16])),
            version: VersionId([1; 16]),
            origin: Origin::Import,
            author: String::new(),
            message: String::new(),
            force: false,
            ignore_times: false,
            want_ids: false,
        };
        let publishing = Publishing::start(remote, SessionId([0; 16]), params, stream::pending());
        let failure = publishing.failure().await;
        assert!(
            matches!(failure, Some(RemoteError::NoServer { .. })),
            "{failure:?}"
        );
    }
}
