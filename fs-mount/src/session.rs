//! One mounted version from mount(2) to the end of its session.
//!
//! fuser gets the descriptor of a mount that was made here. Its own mounts are unmounted by path
//! when they end, and that takes away what another user has mounted there since.

use std::path::PathBuf;
use std::sync::Arc;

use lfsfs_vfs::{ImageView, Vfs};
use tokio::runtime::Handle;
use tracing::error;

use crate::counters::Counters;
use crate::cut::{Cut, PageSender, PageSource};
use crate::error::MountError;
use crate::fuse::FuseTransport;
use crate::kernel_cache::MountedKernel;
use crate::kernel_mode::choice::ServedBy;
use crate::kernel_mode::mount::ImageMount;
use crate::kernel_mount::{self, Detached, MountSpec};
use crate::mountinfo::Device;
use crate::operations::{Operations, OperationsConfig};
use crate::serve::serve;
use crate::serving::{Serve, Serving};
use crate::shown::ShownMount;

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
    shown: Arc<ShownMount>,
    served_by: ServedBy,
    /// What images are mounted with, in kernel mode.
    images: Option<Arc<ImageMount>>,
    operations: Arc<Operations>,
    serving: Arc<Serving>,
    cut: Arc<Cut>,
    kernel: Arc<MountedKernel>,
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
            Ok(session) => {
                mount.raise_readahead();
                Ok(Self {
                    served_by: ServedBy::Fuse { why },
                    images: None,
                    operations,
                    serving,
                    cut,
                    kernel: Arc::clone(session.kernel()),
                    shown: Arc::new(ShownMount::new(mount, session)),
                })
            }
            Err(source) => {
                mount.detach()?;
                let dir = spec.dir.clone();
                Err(MountError::Kernel { dir, source })
            }
        }
    }

    /// Mounts a version in kernel mode. On an error nothing stays mounted.
    pub(crate) async fn start_kernel_mode(
        spec: &MountSpec,
        vfs: Arc<Vfs>,
        view: ImageView,
        config: SessionConfig,
    ) -> Result<Self, MountError> {
        let operations =
            Operations::new(Arc::clone(&vfs), config.operations, None, Handle::current());
        let operations = Arc::new(operations);
        let tasks = vfs.tasks();
        let images = ImageMount::new(
            spec,
            view,
            config.threads,
            operations.counters(),
            tasks.spawner(),
        );
        let (mount, session) = images.mount(vfs.base()).await?;
        let writes = Arc::clone(operations.writes());
        Ok(Self {
            cut: Arc::new(Cut::new(spec.dir.clone(), mount.device(), writes)),
            served_by: ServedBy::Kernel,
            images: Some(Arc::new(images)),
            operations,
            serving: Serving::start(Serve::Plain),
            kernel: Arc::clone(session.kernel()),
            shown: Arc::new(ShownMount::new(mount, session)),
        })
    }

    /// Returns what serves it.
    pub(crate) fn served_by(&self) -> &ServedBy {
        &self.served_by
    }

    /// Returns the device number of the mount.
    pub(crate) fn device(&self) -> Device {
        self.shown.mount().device()
    }

    /// Returns what is shown at the directory.
    pub(crate) fn shown(&self) -> &Arc<ShownMount> {
        &self.shown
    }

    /// Returns what images are mounted with, in kernel mode.
    pub(crate) fn images(&self) -> Option<&Arc<ImageMount>> {
        self.images.as_ref()
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
        self.shown.mount().detach()
    }

    /// Unmounts where no process uses it, as umount(8) does.
    pub(crate) fn unmount(&self) -> Result<(), MountError> {
        self.shown.mount().unmount()
    }

    /// Returns the directory that it is mounted on.
    pub(crate) fn dir(&self) -> PathBuf {
        self.shown.mount().dir().to_owned()
    }

    /// Waits until the kernel has ended all sessions: the last user of the mount is gone.
    pub(crate) async fn ended(&self) {
        self.shown.ended().await;
    }
}

impl Drop for ServedMount {
    /// However serving ended, no dead mount stays behind.
    fn drop(&mut self) {
        // One that was unmounted and goes on for other namespaces has no place of ours any more.
        let mount = self.shown.mount();
        if self.shown.has_ended() || mount.is_gone() {
            return;
        }
        if let Err(error) = mount.detach() {
            error!(error = %error.full_text(), "the mount stays, dead");
        }
    }
}
