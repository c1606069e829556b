//! A mount that follows `latest` or a tag: it switches by itself when that names another version.
//!
//! The newest version comes by the watch of the project. No watch tells that a tag has moved, so the server is asked
//! for it from time to time. What cannot be done now (the server is away, changes are not committed, something is
//! mounted in the way) is tried again; the status says why until then.

use std::time::Duration;

use lfsfs_client::{Client, ClientConfig, Watch};
use lfsfs_remote::Retry;
use lfsfs_types::{Source, VersionId, VersionNumber, VersionRef};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::Control;
use crate::control::{ControlError, FollowStatus};

/// How often the server is asked where a tag is.
const TAG_PERIOD: Duration = Duration::from_secs(2);
/// How long the watch of a project is waited for before the server is asked all the same.
const WATCH_PERIOD: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// What a mount follows, and how that is going.
#[derive(Debug)]
pub(crate) struct Following {
    source: Source,
    failure: watch::Sender<Option<ControlError>>,
}

impl Following {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            failure: watch::Sender::new(None),
        }
    }

    /// Returns what the status says of it.
    pub(super) fn status(&self) -> FollowStatus {
        FollowStatus {
            source: self.source.to_string(),
            failure: self.failure.borrow().clone(),
        }
    }

    /// Notes how the last attempt ended. Only a change of that is worth a line in the log.
    fn note(&self, attempt: Result<(), ControlError>) -> bool {
        let failure = attempt.err();
        self.failure.send_if_modified(|before| {
            let is_news =
                before.as_ref().map(|it| &it.message) != failure.as_ref().map(|it| &it.message);
            if let (true, Some(failure)) = (is_news, &failure) {
                warn!(error = failure.message, "the mount cannot follow yet");
            }
            before.clone_from(&failure);
            is_news
        });
        failure.is_none()
    }
}

impl Control {
    /// Follows until it is aborted, which may be at any time: a switch is whole or was not begun.
    pub(crate) async fn keep_following(&self) {
        let Some(following) = &self.following else {
            return;
        };
        let mut news = News::new(following.source.version.clone());
        loop {
            let is_there = following.note(self.follow(&following.source).await);
            if is_there {
                news.wait(self).await;
            } else {
                sleep(RETRY_PERIOD).await;
            }
        }
    }

    /// Goes to the version that the source names now, unless it is shown.
    async fn follow(&self, source: &Source) -> Result<(), ControlError> {
        let retry = no_retry();
        let version = source.version.to_string();
        let wanted = self.find_version(&version, &retry).await?;
        if wanted.version.id == self.shown_id() {
            return Ok(());
        }
        let alone = self.wait_to_change("switch to what is followed").await;
        // A commit of this mount may have come to it meanwhile.
        if wanted.version.id != self.shown_id() {
            let switched = self.switch_to(&alone, &version, &retry).await?;
            info!(version = switched.version.version, "followed");
        }
        Ok(())
    }

    fn shown_id(&self) -> VersionId {
        self.vfs.base().snapshot().version.id
    }

    fn shown(&self) -> (VersionNumber, VersionId) {
        let base = self.vfs.base();
        let version = &base.snapshot().version;
        (version.number, version.id)
    }
}

/// Waits until what is followed may be another version.
struct News {
    version: VersionRef,
    /// The watch of the project, at the address that it was begun with.
    watch: Option<(String, Watch)>,
}

impl News {
    fn new(version: VersionRef) -> Self {
        Self {
            version,
            watch: None,
        }
    }

    async fn wait(&mut self, control: &Control) {
        match self.version {
            VersionRef::Latest => self.wait_for_version(control).await,
            VersionRef::Tag(_) | VersionRef::Number(_) => sleep(TAG_PERIOD).await,
        }
    }

    /// Waits for the next version of the project, and not much longer than [`WATCH_PERIOD`]: a watch may be that
    /// of a server which the mount has left.
    async fn wait_for_version(&mut self, control: &Control) {
        let Some(watch) = self.watch_at(control) else {
            return sleep(RETRY_PERIOD).await;
        };
        if let Ok(Err(error)) = timeout(WATCH_PERIOD, watch.next()).await {
            debug!(%error, "the watch of the project ended");
            self.watch = None;
            sleep(RETRY_PERIOD).await;
        }
    }

    fn watch_at(&mut self, control: &Control) -> Option<&mut Watch> {
        let address = control.server.0.address();
        if self.watch.as_ref().is_none_or(|(at, _)| *at != address) {
            let config = ClientConfig {
                address: address.clone(),
                ..control.client.clone()
            };
            // It fails for an address that makes no sense, and the mount has none of those.
            let client = Client::new(config, no_retry()).ok()?;
            let project = control.vfs.base().snapshot().project.id;
            let watch = client.history.watch(project, control.shown());
            self.watch = Some((address, watch));
        }
        self.watch.as_mut().map(|(_, watch)| watch)
    }
}

/// What fails is tried again by the loop.
fn no_retry() -> Retry {
    Retry::new(Duration::ZERO)
}
