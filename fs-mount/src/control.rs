//! The socket by which other processes talk to the process of a mount.
//!
//! One JSON object a line each way. Only root and the owner of the mount process are heard.

mod client;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::PathError;
use lfsfs_vfs::{Vfs, VfsStats};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};

pub(crate) use self::client::call;
use crate::counters::Counters;
use crate::kernel_mount;
use crate::mountinfo::Device;

/// The longest line that is read.
const LINE_LEN_MAX: u64 = 64 * 1024;
/// How long a peer may take for its line.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers that are served at once; more wait.
const ORDERS_MAX: usize = 8;

/// What can be asked of a mount process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum ControlRequest {
    /// What is mounted, where, by whom: answered by [`MountStatus`].
    Status,
    /// What it has done: answered by [`MountStats`].
    Stats,
    /// Unmount and end.
    Umount {
        /// Also where files are open: the mount is taken from its directory at once, and the
        /// process ends when the last file is closed.
        lazy: bool,
    },
}

/// What a mount process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The source as typed.
    pub source: String,
    /// Where it is mounted; lossy where that is not UTF-8.
    pub dir: String,
    /// The device number.
    pub device: Device,
    /// The process that serves it.
    pub pid: u32,
    /// `ro` or `rw`.
    pub mode: String,
    /// The version that the source was resolved to.
    pub version: VersionInfo,
    /// Where the cache lies.
    pub cache: PathBuf,
    /// Where the log lies, if there is a file.
    pub log: Option<PathBuf>,
}

/// Which version is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Address of the server.
    pub server: String,
    /// Name of the project.
    pub project: String,
    /// Id of the project, hexadecimal.
    pub project_id: String,
    /// Number of the version.
    pub version: u64,
    /// Random id of the version, hexadecimal.
    pub version_id: String,
}

/// What a mount has done since it was mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStats {
    /// Requests of the kernel by opcode.
    pub requests: BTreeMap<String, u64>,
    /// Counters of cache and network.
    pub counters: BTreeMap<String, u64>,
}

/// One line of answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(serde_json::Value),
    Error(String),
}

/// An order to unmount, and where to say how that went.
#[derive(Debug)]
pub(crate) struct UmountOrder {
    pub(crate) lazy: bool,
    pub(crate) done: tokio::sync::oneshot::Sender<Result<(), String>>,
}

/// What is told to whoever asks.
#[derive(Debug)]
pub(crate) struct ControlState {
    pub(crate) status: MountStatus,
    pub(crate) counters: Arc<Counters>,
    pub(crate) vfs: Arc<Vfs>,
}

/// A socket that is listened on; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at `path`. What lies there was left by a dead process: its device number is ours.
    pub(crate) fn bind(path: PathBuf) -> Result<Self, PathError> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(PathError::wrap("create directory", dir))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(PathError::new("remove", path, error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(PathError::wrap("listen at", &path))?;
        let socket = Self { listener, path };
        // Until here the file had the mode of the umask; peers are checked one by one anyway.
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))
            .map_err(PathError::wrap("set mode of", &socket.path))?;
        Ok(socket)
    }

    /// Serves peers, one after the other, until `stop` tells; the one being served is served to
    /// the end. Orders to unmount go to `orders`.
    pub(crate) async fn serve(
        &self,
        state: &ControlState,
        orders: &mpsc::Sender<UmountOrder>,
        stop: &Notify,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.notified() => return,
            };
            match accepted {
                Ok((peer, _)) => {
                    if let Err(error) = serve_peer(peer, state, orders).await {
                        debug!(%error, "a control connection failed");
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    pub(crate) fn orders() -> (mpsc::Sender<UmountOrder>, mpsc::Receiver<UmountOrder>) {
        mpsc::channel(ORDERS_MAX)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone with its directory; a file that stays is found to be dead.
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve_peer(
    mut peer: UnixStream,
    state: &ControlState,
    orders: &mpsc::Sender<UmountOrder>,
) -> io::Result<()> {
    let answer = if is_heard(peer.peer_cred()?.uid()) {
        let mut line = String::new();
        let (read, _) = peer.split();
        let mut read = BufReader::new(read.take(LINE_LEN_MAX));
        timeout(LINE_TIMEOUT, read.read_line(&mut line)).await??;
        match serde_json::from_str(&line) {
            Ok(request) => respond(request, state, orders).await,
            Err(error) => Answer::Error(format!("not understood: {error}")),
        }
    } else {
        Answer::Error("only root and the owner of the mount may ask".to_owned())
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    timeout(LINE_TIMEOUT, peer.write_all(text.as_bytes())).await?
}

fn is_heard(uid: u32) -> bool {
    uid == 0 || uid == kernel_mount::owner().0
}

async fn respond(
    request: ControlRequest,
    state: &ControlState,
    orders: &mpsc::Sender<UmountOrder>,
) -> Answer {
    match request {
        ControlRequest::Status => answer(&state.status),
        ControlRequest::Stats => answer(&stats(state)),
        ControlRequest::Umount { lazy } => umount(lazy, orders).await,
    }
}

async fn umount(lazy: bool, orders: &mpsc::Sender<UmountOrder>) -> Answer {
    let (done, told) = tokio::sync::oneshot::channel();
    if orders.send(UmountOrder { lazy, done }).await.is_err() {
        return answer(&());
    }
    match told.await {
        Ok(Err(reason)) => Answer::Error(reason),
        // No answer means that the process is already ending.
        Ok(Ok(())) | Err(_) => answer(&()),
    }
}

fn stats(state: &ControlState) -> MountStats {
    MountStats {
        requests: state.counters.snapshot(),
        counters: counters(&state.vfs.stats()),
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

fn answer(value: &impl Serialize) -> Answer {
    match serde_json::to_value(value) {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(error.to_string()),
    }
}
