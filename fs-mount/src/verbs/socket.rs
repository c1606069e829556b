//! The listening end of the control socket.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lfsfs_common::PathError;
use rustix::fs::{Mode, OFlags, Stat, fstat};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter,
};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{debug, warn};

use super::{Control, respond};
use crate::control::{Answer, ControlError, ControlErrorKind, ControlProgress};
use crate::kernel_mount;
use crate::mountinfo::Device;
use crate::places::Places;

/// The longest line that is read: a request may name many paths.
const LINE_LEN_MAX: u64 = 1024 * 1024;
/// How long a peer may take for its line, and for taking one of ours.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers that are served at once; more wait.
const PEERS_MAX: usize = 16;
/// How often long work tells how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// A socket that is listened on; dropping it removes the file.
///
/// The kernel gives the number of a device away as soon as its mount is gone. The socket of the next
/// mount may then be at the same path before this one is dropped, and must stay.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    file: Arc<SocketFile>,
}

/// The file of a socket.
#[derive(Debug)]
struct SocketFile {
    path: Mutex<PathBuf>,
    /// Held so that no other file gets its inode number.
    file: OwnedFd,
}

/// The way to move a socket, when the device that is shown has another number.
#[derive(Debug)]
pub(crate) struct SocketPlace {
    places: Places,
    file: Arc<SocketFile>,
}

impl SocketPlace {
    /// Moves the socket to where the process that serves a device listens.
    pub(crate) fn move_to(&self, device: Device) -> Result<(), PathError> {
        self.file.move_to(self.places.socket(device))
    }
}

impl ControlSocket {
    /// Listens at `path`. What lies there was left by a dead process: its device number is ours.
    pub(crate) fn bind(path: PathBuf) -> Result<Self, PathError> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let _alone = lock(dir)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(PathError::new("remove", path, error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(PathError::wrap("listen at", &path))?;
        let file = open(&path).map_err(PathError::wrap("open", &path))?;
        // Until here the file had the mode of the umask; peers are checked one by one anyway. By the
        // descriptor, since a path could be something else by now.
        let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(by_descriptor, fs::Permissions::from_mode(0o600))
            .map_err(PathError::wrap("set mode of", &path))?;
        let path = Mutex::new(path);
        Ok(Self {
            listener,
            file: Arc::new(SocketFile { path, file }),
        })
    }

    /// Returns the way to move it among these places.
    pub(crate) fn place(&self, places: Places) -> SocketPlace {
        SocketPlace {
            places,
            file: Arc::clone(&self.file),
        }
    }

    /// Serves peers until `stop` tells; those being served are served to the end.
    pub(crate) async fn serve(&self, control: &Arc<Control>, stop: &Notify) {
        let mut peers = JoinSet::new();
        loop {
            let has_room = peers.len() < PEERS_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((peer, _)) => {
                        peers.spawn(serve_peer(peer, Arc::clone(control)));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a control connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = peers.join_next() => {}
                () = stop.notified() => break,
            }
        }
        while peers.join_next().await.is_some() {}
    }
}

impl SocketFile {
    fn move_to(&self, path: PathBuf) -> Result<(), PathError> {
        let mut current = self.path();
        if *current == path {
            return Ok(());
        }
        let _alone = lock(path.parent().unwrap_or(Path::new("/")))?;
        // What lies there was left by a dead process: its device number is ours now.
        let _ = fs::remove_file(&path);
        fs::hard_link(&*current, &path).map_err(PathError::wrap("move the socket to", &path))?;
        if self.is_at(&current) {
            let _ = fs::remove_file(&*current);
        }
        *current = path;
        Ok(())
    }

    /// No method panics between two changes of it.
    fn path(&self) -> MutexGuard<'_, PathBuf> {
        self.path.lock().expect("no holder of this lock panics")
    }

    fn is_at(&self, path: &Path) -> bool {
        let seen = open(path).and_then(|it| Ok(fstat(it)?));
        let ours = fstat(&self.file);
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
        matches!((seen, ours), (Ok(seen), Ok(ours)) if identity(&seen) == identity(&ours))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone with its directory; a file that stays is found to be dead.
        let path = self.file.path().clone();
        let _alone = path.parent().map(lock);
        if self.file.is_at(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Keeps others from making and removing sockets in a directory; held for moments only.
fn lock(dir: &Path) -> Result<File, PathError> {
    let file = File::open(dir).map_err(PathError::wrap("open directory", dir))?;
    file.lock()
        .map_err(PathError::wrap("lock directory", dir))?;
    Ok(file)
}

/// Opens a file for no more than to be recognised.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

async fn serve_peer(peer: UnixStream, control: Arc<Control>) {
    if let Err(error) = try_serve_peer(peer, &control).await {
        debug!(%error, "a control connection failed");
    }
}

async fn try_serve_peer(peer: UnixStream, control: &Arc<Control>) -> io::Result<()> {
    let uid = peer.peer_cred()?.uid();
    let (read, write) = peer.into_split();
    let mut answers = Answers {
        write: BufWriter::new(write),
    };
    if !is_heard(uid) {
        let refused = "only root and the owner of the mount may ask";
        return answers.send(&failed(ControlError::failed(refused))).await;
    }
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LINE_LEN_MAX));
    timeout(LINE_TIMEOUT, read.read_line(&mut line)).await??;
    let result = match serde_json::from_str(&line) {
        Ok(request) => respond(request, control, &mut answers).await,
        Err(error) => Err(ControlError::new(
            ControlErrorKind::Usage,
            format!("not understood: {error}"),
        )),
    };
    answers.send(&result.map_or_else(failed, Answer::Ok)).await
}

fn is_heard(uid: u32) -> bool {
    uid == 0 || uid == kernel_mount::owner().0
}

fn failed(error: ControlError) -> Answer {
    Answer::Error(error)
}

/// What the user should know while work goes on.
pub(super) type Notices = mpsc::Receiver<String>;

/// The way back to a peer.
#[derive(Debug)]
pub(super) struct Answers {
    write: BufWriter<OwnedWriteHalf>,
}

impl Answers {
    /// Sends one line, and what was held back before it.
    pub(super) async fn send(&mut self, answer: &Answer) -> io::Result<()> {
        self.send_part(answer).await?;
        timeout(LINE_TIMEOUT, self.write.flush()).await?
    }

    /// Sends one line of many; it may be held back until more have come.
    pub(super) async fn send_part(&mut self, answer: &Answer) -> io::Result<()> {
        let mut text = serde_json::to_string(answer)?;
        text.push('\n');
        timeout(LINE_TIMEOUT, self.write.write_all(text.as_bytes())).await?
    }

    /// Works, and tells meanwhile how far it is. A peer that has gone does not stop the work.
    pub(super) async fn telling<T>(
        &mut self,
        progress: impl Fn() -> ControlProgress,
        work: impl Future<Output = T>,
    ) -> T {
        let (_sender, mut notices) = mpsc::channel(1);
        self.telling_all(progress, &mut notices, work).await
    }

    /// As [`telling`](Self::telling), and passes notices on.
    pub(super) async fn telling_all<T>(
        &mut self,
        progress: impl Fn() -> ControlProgress,
        notices: &mut Notices,
        work: impl Future<Output = T>,
    ) -> T {
        let mut ticks = interval_at(Instant::now() + PROGRESS_PERIOD, PROGRESS_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        loop {
            let answer = tokio::select! {
                result = &mut work => return result,
                Some(text) = notices.recv() => Answer::Warning(text),
                _ = ticks.tick() => Answer::Progress(progress()),
            };
            if let Err(error) = self.send(&answer).await {
                debug!(%error, "the peer that asked for the work is gone");
                return work.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_leaves_the_one_that_took_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mount-0-40.sock");
        let first = ControlSocket::bind(path.clone()).unwrap();
        let second = ControlSocket::bind(path.clone()).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
