//! A mount holds the version that it shows, so that a collection of garbage on the server leaves it alone.
//!
//! A hold lasts for some minutes. It is renewed as long as the process lives, and made anew when the mount goes to
//! another version. The one of the version before is left to its end: files that are open still read that version.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Hold, RemoteError, RemoteRead as _};
use lfsfs_types::{SessionId, VersionNumber};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::verbs::Control;

/// How often it is looked which version the mount shows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits after a call that failed.
const RETRY: Duration = Duration::from_secs(10);
/// How long the last call may take.
const END_MAX: Duration = Duration::from_secs(1);

/// What a mount holds.
#[derive(Debug)]
pub(crate) struct Holding {
    control: Arc<Control>,
    holder: SessionId,
}

impl Holding {
    /// Returns nothing if the system gives no random numbers: then the server's grace has to do.
    pub(crate) fn of(control: &Arc<Control>) -> Option<Self> {
        Some(Self {
            control: Arc::clone(control),
            holder: SessionId(random_bytes().ok()?),
        })
    }

    /// Holds the version that the mount shows, until it is dropped.
    pub(crate) async fn keep(&self) {
        let mut held: Option<Hold> = None;
        let mut next = Instant::now();
        loop {
            let hold = self.shown();
            if held != Some(hold) || Instant::now() >= next {
                let pause = self.hold(&hold, held == Some(hold)).await;
                next = Instant::now() + pause;
                held = Some(hold);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the hold: the mount has ended.
    pub(crate) async fn end(&self) {
        let hold = self.shown();
        let released = self.control.server.release_version(&hold);
        // It ends by itself otherwise.
        let _ = tokio::time::timeout(END_MAX, released).await;
    }

    fn shown(&self) -> Hold {
        let base = self.control.vfs.base();
        let snapshot = base.snapshot();
        Hold {
            project: snapshot.project.id,
            version: snapshot.version.number,
            version_id: snapshot.version.id,
            holder: self.holder,
        }
    }

    /// Holds a version once. Returns when to do it again.
    async fn hold(&self, hold: &Hold, is_renewal: bool) -> Duration {
        if hold.version == VersionNumber::ZERO {
            return RETRY;
        }
        let version = hold.version.0;
        match self.control.server.hold_version(hold).await {
            Ok(lasts) => {
                if !is_renewal {
                    info!(version, seconds = lasts.as_secs(), "the version is held");
                }
                lasts / 3
            }
            Err(RemoteError::NotFound(reason)) => {
                warn!(
                    version,
                    reason, "the version is gone: what is not in the cache cannot be read"
                );
                Duration::from_secs(600)
            }
            Err(_) => RETRY,
        }
    }
}
