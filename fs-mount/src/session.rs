//! One mounted version from mount(2) to the end of its session.
//!
//! fuser gets the descriptor of a mount that was made here. Its own mounts are unmounted by path
//! when they end, and that takes away what another user has mounted there since.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fuser::{Config, Filesystem, Session, SessionACL};
use lfsfs_vfs::{ImageView, VersionImage, Vfs};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::counters::Counters;
use crate::cut::{Cut, PageSender, PageSource};
use crate::error::MountError;
use crate::fuse::FuseTransport;
use crate::kernel_cache::MountedKernel;
use crate::kernel_mode::attach;
use crate::kernel_mode::choice::ServedBy;
use crate::kernel_mode::files::{self, FilePages, ImageFiles};
use crate::kernel_mount::{self, Detached, KernelMount, MountSpec};
use crate::mountinfo::Device;
use crate::operations::{Operations, OperationsConfig};
use crate::serving::{Serve, Serving};

/// How long the kernel may take for the first exchange, which it starts itself.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionConfig {
    /// Threads that read requests, each from a descriptor of its own.
    pub(crate) threads: usize,
    /// Where they run.
    pub(crate) serve: Serve,
    /// How objects are shown.
    pub(crate) operations: OperationsConfig,
}

/// A mount that is being served.
#[derive(Debug)]
pub(crate) struct ServedMount {
    mount: KernelMount,
    served_by: ServedBy,
    operations: Arc<Operations>,
    serving: Arc<Serving>,
    cut: Arc<Cut>,
    kernel: Arc<MountedKernel>,
    /// Turns true when the kernel has ended the session.
    ended: watch::Receiver<bool>,
}

impl ServedMount {
    /// Mounts and serves `vfs` in fuse mode; `why` says why not in kernel mode, if that was wanted. On an error nothing
    /// stays mounted.
    pub(crate) async fn start(
        spec: &MountSpec,
        vfs: Arc<Vfs>,
        config: SessionConfig,
        why: Option<String>,
    ) -> Result<Self, MountError> {
        let (device, mount) = kernel_mount::attach(spec)?;
        // Others than root may not open files by their numbers.
        let pages = kernel_mount::is_root().then(|| -> Arc<dyn PageSource> {
            Arc::new(PageSender::new(spec.dir.clone(), mount.device()))
        });
        let operations = Operations::new(vfs, config.operations, pages, Handle::current());
        let operations = Arc::new(operations);
        let writes = Arc::clone(operations.writes());
        let cut = Arc::new(Cut::new(spec.dir.clone(), mount.device(), writes));
        let serving = Serving::start(config.serve);
        let transport = FuseTransport::new(Arc::clone(&operations), Arc::clone(&serving));
        let connect = {
            let operations = Arc::clone(&operations);
            move |kernel: Arc<MountedKernel>| operations.connect(kernel)
        };
        match serve(transport, connect, device, config.threads).await {
            Ok((kernel, ended)) => {
                mount.raise_readahead();
                Ok(Self {
                    mount,
                    served_by: ServedBy::Fuse { why },
                    operations,
                    serving,
                    cut,
                    kernel,
                    ended,
                })
            }
            Err(source) => {
                mount.detach()?;
                let dir = spec.dir.clone();
                Err(MountError::Kernel { dir, source })
            }
        }
    }

    /// Mounts and serves the files of an image, and has the kernel's EROFS serve the version from them. On an error
    /// nothing stays mounted.
    pub(crate) async fn start_kernel_mode(
        spec: &MountSpec,
        vfs: Arc<Vfs>,
        view: ImageView,
        config: SessionConfig,
    ) -> Result<Self, MountError> {
        let operations =
            Operations::new(Arc::clone(&vfs), config.operations, None, Handle::current());
        let operations = Arc::new(operations);
        let source = spec.source.trim_end_matches('/').to_owned();
        let files = ImageFiles {
            image: Arc::new(VersionImage::new(vfs.base(), view)),
            source: source.clone(),
            counters: Arc::clone(operations.counters()),
            runtime: Handle::current(),
            tasks: vfs.tasks().spawner().clone(),
        };
        let (device, hidden) = attach::hide()?;
        let failed = |source| MountError::Kernel {
            dir: spec.dir.clone(),
            source,
        };
        let image = Arc::clone(&files.image);
        let connect = move |kernel| image.connect(Arc::new(FilePages(kernel)));
        let serving = serve(files, connect, device, config.threads).await;
        let (kernel, ended) = serving.map_err(failed)?;
        kernel_mount::raise_readahead(hidden.device().map_err(failed)?);
        let mount = {
            let (dir, flags) = (spec.dir.clone(), spec.flags);
            let mount = move || {
                kernel_mount::appearing_at(&dir, || {
                    let shown = hidden
                        .mount_erofs(&source, &files::device_names(), flags)
                        .and_then(|mount| attach::show(&mount, &dir));
                    let dir = dir.clone();
                    shown.map_err(|source| MountError::Kernel { dir, source })
                })
            };
            let mounted = spawn_blocking(mount).await;
            let ((), mount) = mounted.map_err(|error| failed(io::Error::other(error)))??;
            mount
        };
        let writes = Arc::clone(operations.writes());
        Ok(Self {
            cut: Arc::new(Cut::new(spec.dir.clone(), mount.device(), writes)),
            mount,
            served_by: ServedBy::Kernel,
            operations,
            serving: Serving::start(Serve::Plain),
            kernel,
            ended,
        })
    }

    /// Returns what serves it.
    pub(crate) fn served_by(&self) -> &ServedBy {
        &self.served_by
    }

    /// Returns the device number of the mount.
    pub(crate) fn device(&self) -> Device {
        self.mount.device()
    }

    /// Returns the counts of requests.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        self.operations.counters()
    }

    /// Returns the threads that serve it.
    pub(crate) fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// Returns the way to a moment at which no write call is half made.
    pub(crate) fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// Returns the way to tell the kernel what it must not keep.
    pub(crate) fn kernel(&self) -> &Arc<MountedKernel> {
        &self.kernel
    }

    /// Takes the mount away from its directory, if it is still the one that is seen there.
    pub(crate) fn detach(&self) -> Result<Detached, MountError> {
        self.mount.detach()
    }

    /// Unmounts where no process uses it, as umount(8) does.
    pub(crate) fn unmount(&self) -> Result<(), MountError> {
        self.mount.unmount()
    }

    /// Returns the directory that it is mounted on.
    pub(crate) fn dir(&self) -> &Path {
        self.mount.dir()
    }

    /// Waits until the kernel has ended the session: the last user of the mount is gone.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the serving thread is gone, which is an end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for ServedMount {
    /// However serving ended, no dead mount stays behind.
    fn drop(&mut self) {
        // One that was unmounted and goes on for other namespaces has no place of ours any more.
        if *self.ended.borrow() || self.mount.is_gone() {
            return;
        }
        if let Err(error) = self.mount.detach() {
            error!(error = %error.full_text(), "the mount stays, dead");
        }
    }
}

/// Answers the kernel's first request and goes on serving in threads of its own.
async fn serve(
    transport: impl Filesystem,
    connect: impl FnOnce(Arc<MountedKernel>) + Send + 'static,
    device: OwnedFd,
    threads: usize,
) -> io::Result<(Arc<MountedKernel>, watch::Receiver<bool>)> {
    let (handshake, handshaken) = oneshot::channel();
    let (end, ended) = watch::channel(false);
    thread::Builder::new()
        .name("fuse-session".to_owned())
        .spawn(move || {
            let mut config = Config::default();
            config.n_threads = Some(threads);
            config.clone_fd = threads > 1;
            // The kernel has checked who may come in; checking again would refuse root's readahead.
            let session = match Session::from_fd(transport, device, SessionACL::All, config) {
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
    Ok((kernel, ended))
}
