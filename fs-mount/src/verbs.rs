//! What a mount process does for other processes that ask: the serving end of the control socket.
//!
//! Only root and the owner of the mount process are heard.

mod alone;
mod changing;
mod committing;
mod following;
mod publishing;
mod queue;
mod socket;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_client::ClientConfig;
use lfsfs_queue::UploadQueue;
use lfsfs_remote::{Layered, Retry};
use lfsfs_types::ObjectPath;
use lfsfs_upload::IgnoredPaths;
use lfsfs_vfs::{CommitParams, Kernel, Vfs, VfsStats};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::alone::Running;
pub(crate) use self::following::Following;
use self::publishing::now;
use self::socket::{Answers, Notices};
pub(crate) use self::socket::{ControlSocket, SocketPlace};
use crate::control::{ControlError, ControlRequest, MountStats, MountStatus, Unmounted};
use crate::counters::Counters;
use crate::cut::Cut;
use crate::kernel_mode::choice::ServedBy;
use crate::kernel_mode::mount::ImageMount;
use crate::options::Access;
use crate::publisher::Publisher;
use crate::server::Server;
use crate::serving::Serving;
use crate::shown::ShownMount;
use crate::version;

/// How long a status may take to find out what is ignored.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);
/// Orders to unmount that wait at once.
const ORDERS_MAX: usize = 8;

/// An order to unmount, and where to say how that went.
#[derive(Debug)]
pub(crate) struct UmountOrder {
    pub(crate) lazy: bool,
    pub(crate) is_flushed: bool,
    pub(crate) done: oneshot::Sender<Result<Left, ControlError>>,
}

/// What is left of a mount that was taken from its directory, in words for the one who asked for it.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Other mount namespaces that show it.
    pub(crate) shown_in: Vec<String>,
    /// Programs for which the process goes on.
    pub(crate) used_by: Vec<String>,
}

/// What the status of a mount says that never changes.
#[derive(Debug)]
pub(crate) struct FixedStatus {
    pub(crate) source: String,
    /// The directory of each version that is the root of the mount.
    pub(crate) path: ObjectPath,
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) served_by: ServedBy,
    pub(crate) overlay: Option<PathBuf>,
    pub(crate) cache: PathBuf,
    pub(crate) log: Option<PathBuf>,
}

/// What the verbs work on.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) fixed: FixedStatus,
    pub(crate) counters: Arc<Counters>,
    pub(crate) serving: Arc<Serving>,
    pub(crate) vfs: Arc<Vfs>,
    /// Where tags and numbers of versions are known.
    pub(crate) server: Arc<Layered<Server>>,
    /// How it is reached, whatever its address.
    pub(crate) client: ClientConfig,
    pub(crate) cut: Arc<Cut>,
    pub(crate) kernel: Kernel,
    /// What is shown at the directory.
    pub(crate) shown: Arc<ShownMount>,
    /// What images are mounted with, in kernel mode.
    pub(crate) images: Option<Arc<ImageMount>>,
    /// Where this process listens.
    pub(crate) socket: SocketPlace,
    /// Uploads what was written, unless the mount is read-only or was told not to.
    pub(crate) queue: Option<Arc<UploadQueue>>,
    /// The version that is published later.
    pub(crate) publisher: Arc<Publisher>,
    /// What it follows, if it does.
    pub(crate) following: Option<Following>,
    /// Which verb changes what the mount shows now.
    pub(crate) running: Running,
    /// Where orders to unmount go.
    pub(crate) orders: mpsc::Sender<UmountOrder>,
}

/// Returns the way of orders to unmount.
pub(crate) fn orders() -> (mpsc::Sender<UmountOrder>, mpsc::Receiver<UmountOrder>) {
    mpsc::channel(ORDERS_MAX)
}

/// Does what is asked and returns the answer's last line.
async fn respond(
    request: ControlRequest,
    control: &Arc<Control>,
    answers: &mut Answers,
) -> Result<serde_json::Value, ControlError> {
    match request {
        ControlRequest::Status => json(&control.counted_status().await),
        ControlRequest::Stats => json(&control.stats()),
        ControlRequest::Umount { lazy, is_flushed } => {
            let unmount = control.umount(lazy, is_flushed);
            json(&answers.telling(Default::default, unmount).await?)
        }
        ControlRequest::Changes => json(&control.tell_changes(answers).await?),
        ControlRequest::Ignored => json(&control.tell_ignored(answers).await?),
        ControlRequest::Commit {
            message,
            author,
            force,
            takes_ignored,
            ignore_times,
            later,
            retry_ms,
        } => {
            let (retry, notices) = retry(retry_ms);
            let params = CommitParams {
                author,
                message,
                force,
                ignore_times,
                ignored: if takes_ignored {
                    IgnoredPaths::Taken
                } else {
                    IgnoredPaths::LeftOut
                },
                retry,
            };
            if later {
                return json(&control.commit_later(params, notices, answers).await?);
            }
            json(&control.commit(params, notices, answers).await?)
        }
        ControlRequest::Switch { version, retry_ms } => {
            let (retry, notices) = retry(retry_ms);
            json(&control.switch(&version, retry, notices, answers).await?)
        }
        ControlRequest::Server { address } => {
            let moved = control.move_to_server(&address);
            json(&answers.telling(Default::default, moved).await?)
        }
        ControlRequest::Queue { watch } => json(&control.tell_queue(watch, answers).await?),
        ControlRequest::Pause { paused } => json(&control.pause_queue(paused, answers).await?),
        ControlRequest::Publication { timeout_ms } => {
            let timeout = timeout_ms.map(Duration::from_millis);
            let wait = control.await_publication(timeout);
            answers.telling(Default::default, wait).await;
            json(&control.report())
        }
        ControlRequest::Retry => json(&control.retry_queue()?),
        ControlRequest::Flush { timeout_ms } => {
            let timeout = timeout_ms.map(Duration::from_millis);
            json(&control.flush_queue(timeout, answers).await?)
        }
        ControlRequest::Discard { paths } => json(&control.discard(&paths, answers).await?),
    }
}

/// Returns how long a verb goes on trying, and what it says to the user meanwhile.
fn retry(millis: u64) -> (Retry, Notices) {
    let (sender, notices) = mpsc::channel(1);
    let notice = move |line: &str| {
        // There is one line. The peer may be gone; the work goes on.
        let _ = sender.try_send(line.to_owned());
    };
    let retry = Retry::with_notice(Duration::from_millis(millis), Arc::new(notice));
    (retry, notices)
}

impl Control {
    /// Returns the status as of now, with what is ignored not counted as changes. If it cannot be told in time
    /// what is, it is.
    pub(crate) async fn counted_status(&self) -> MountStatus {
        let counts = tokio::time::timeout(COUNT_TIMEOUT, self.vfs.counts()).await;
        let status = self.status();
        match counts {
            Ok(Ok((changes, ignored))) => MountStatus {
                changes,
                ignored,
                ..status
            },
            Ok(Err(_)) | Err(_) => status,
        }
    }

    /// Returns the status as of now, where all changes count.
    pub(crate) fn status(&self) -> MountStatus {
        let FixedStatus {
            source,
            path,
            dir,
            access,
            served_by,
            overlay,
            cache,
            log,
        } = &self.fixed;
        let sealed = self.vfs.overlay().and_then(|overlay| overlay.sealed());
        let publishing = self.publisher.status(now());
        let is_pending = publishing.as_ref().is_some_and(|it| it.refused.is_none());
        MountStatus {
            source: source.clone(),
            dir: dir.to_string_lossy().into_owned(),
            device: self.shown.mount().device(),
            pid: std::process::id(),
            mode: access.to_string(),
            served_by: match served_by {
                ServedBy::Kernel => "kernel".to_owned(),
                ServedBy::Fuse { .. } => "fuse".to_owned(),
            },
            why_fuse: match served_by {
                ServedBy::Kernel => None,
                ServedBy::Fuse { why } => why.clone(),
            },
            version: version::info(&self.vfs.base(), path, &self.server.0.address()),
            changes: self.vfs.changes_len(),
            ignored: 0,
            has_unfinished_commit: sealed.is_some_and(|sealed| !sealed.is_draft()) && !is_pending,
            publishing,
            follow: self.following.as_ref().map(Following::status),
            server_away_seconds: self.server.0.away().map(|away| away.as_secs()),
            overlay: overlay.clone(),
            cache: cache.clone(),
            log: log.clone(),
        }
    }

    fn stats(&self) -> MountStats {
        let mut counters = counters(&self.vfs.base().stats());
        counters.extend(self.queue_counters());
        let serving = self.serving.counters().into_iter();
        counters.extend(serving.map(|(name, count)| (name.to_owned(), count)));
        MountStats {
            requests: self.counters.snapshot(),
            counters,
        }
    }

    async fn umount(&self, lazy: bool, is_flushed: bool) -> Result<Unmounted, ControlError> {
        let _alone = self.begin_end().await?;
        // Only for the number that is told: the kernel sends all before it unmounts.
        self.cut.settle().await;
        let status = self.counted_status().await;
        let unmounted = |left: Left| Unmounted {
            changes: status.changes,
            version: status.version,
            shown_in: left.shown_in,
            used_by: left.used_by,
            publishing: status.publishing.filter(|it| it.refused.is_none()),
        };
        let (done, told) = oneshot::channel();
        let order = UmountOrder {
            lazy,
            is_flushed,
            done,
        };
        if self.orders.send(order).await.is_err() {
            return Ok(unmounted(Left::default()));
        }
        match told.await {
            Ok(left) => left.map(unmounted),
            // No answer means that the process is already ending.
            Err(_) => Ok(unmounted(Left::default())),
        }
    }
}

/// Names what the file system core counts. Scripts read these names.
fn counters(stats: &VfsStats) -> BTreeMap<String, u64> {
    let counters = [
        ("inodes", stats.inodes),
        ("directories", stats.directories),
        ("listings", stats.listings),
        ("listings_bytes", stats.listings_len),
        ("blocks", stats.blocks),
        ("blocks_bytes", stats.blocks_len),
        ("remote_listings", stats.remote_listings),
        ("remote_resolves", stats.remote_resolves),
        ("remote_reads", stats.remote_reads),
        ("remote_bytes", stats.remote_bytes),
        ("remote_damaged", stats.remote_damaged),
        ("read_errors", stats.read_errors),
        ("cache_hits", stats.cache.hits),
        ("cache_misses", stats.cache.misses),
        ("cache_bytes_read", stats.cache.bytes_read),
        ("cache_bytes_written", stats.cache.bytes_written),
        ("cache_damaged", stats.cache.damaged),
        ("cache_write_errors", stats.cache.write_errors),
        ("cache_evicted", stats.cache.evicted),
    ];
    counters
        .map(|(name, count)| (name.to_owned(), count))
        .into()
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, ControlError> {
    serde_json::to_value(value).map_err(|error| ControlError::failed(error.to_string()))
}
