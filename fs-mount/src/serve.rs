//! Serving one FUSE session, whatever file system it is of.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fuser::{Config, Filesystem, SessionACL};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::kernel_cache::MountedKernel;

/// How long the kernel may take for the first exchange, which it starts itself.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A session that is being served.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    kernel: Arc<MountedKernel>,
    /// Turns true when the kernel has ended it.
    ended: watch::Receiver<bool>,
}

impl Session {
    /// Returns the way to tell the kernel what it must not keep.
    pub(crate) fn kernel(&self) -> &Arc<MountedKernel> {
        &self.kernel
    }

    /// Returns true if the kernel has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the kernel has ended it.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the serving thread is gone, which is an end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// Answers the kernel's first request and goes on serving in threads of its own.
///
/// `connect` takes the way to the kernel before the second request is served.
pub(crate) async fn serve(
    transport: impl Filesystem,
    connect: impl FnOnce(Arc<MountedKernel>) + Send + 'static,
    device: OwnedFd,
    threads: usize,
) -> io::Result<Session> {
    let (handshake, handshaken) = oneshot::channel();
    let (end, ended) = watch::channel(false);
    thread::Builder::new()
        .name("fuse-session".to_owned())
        .spawn(move || {
            let mut config = Config::default();
            config.n_threads = Some(threads);
            config.clone_fd = threads > 1;
            // The kernel has checked who may come in; checking again would refuse root's readahead.
            let session = match fuser::Session::from_fd(transport, device, SessionACL::All, config)
            {
                Ok(session) => session,
                Err(error) => {
                    let _ = handshake.send(Err(error));
                    return;
                }
            };
            let kernel = Arc::new(MountedKernel::new(session.notifier()));
            connect(kernel.clone());
            let _ = handshake.send(Ok(kernel));
            match session.run() {
                Ok(()) => info!("the kernel ended the session"),
                Err(error) => error!(%error, "the session ended"),
            }
            let _ = end.send(true);
        })?;
    let answer = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshaken).await;
    let kernel = answer
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(|_| io::Error::other("the serving thread ended"))??;
    Ok(Session { kernel, ended })
}
