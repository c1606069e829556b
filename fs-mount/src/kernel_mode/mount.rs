//! A mount in kernel mode: an image shown at a directory, and another one in its place after a switch.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lfsfs_common::tasks::Spawner;
use lfsfs_vfs::{BaseVersion, ImageView, VersionImage};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::attach;
use super::files::{self, FilePages, ImageFiles};
use crate::counters::Counters;
use crate::error::MountError;
use crate::kernel_cache::MountedKernel;
use crate::kernel_mount::{self, KernelMount, MountSpec};
use crate::serve::{self, Session};
use crate::shown::ShownMount;

/// What all images of a mount have in common.
#[derive(Debug)]
pub(crate) struct ImageMount {
    spec: MountSpec,
    view: ImageView,
    threads: usize,
    counters: Arc<Counters>,
    tasks: Spawner,
}

/// An image that is served and mounted.
#[derive(Debug)]
struct MountedImage {
    mount: KernelMount,
    session: Session,
    /// Its root, by which it is found wherever it is.
    root: OwnedFd,
}

/// Where an image is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// On the directory.
    Top,
    /// Below what is mounted there.
    Beneath,
}

impl ImageMount {
    pub(crate) fn new(
        spec: &MountSpec,
        view: ImageView,
        threads: usize,
        counters: &Arc<Counters>,
        tasks: &Spawner,
    ) -> Self {
        // A slash at the end would ask for a directory.
        let source = spec.source.trim_end_matches('/').to_owned();
        Self {
            spec: MountSpec {
                source,
                ..spec.clone()
            },
            view,
            threads,
            counters: Arc::clone(counters),
            tasks: tasks.clone(),
        }
    }

    /// Mounts a version at the directory. On an error nothing stays mounted.
    pub(crate) async fn mount(
        &self,
        version: Arc<BaseVersion>,
    ) -> Result<(KernelMount, Session), MountError> {
        let mounted = self.mount_at(Layer::Top, version).await?;
        Ok((mounted.mount, mounted.session))
    }

    /// Shows another version in place of the one that is shown. Who opens a file by its path gets it from the one or
    /// from the other; what is open stays as it was.
    pub(crate) async fn replace(
        &self,
        shown: &ShownMount,
        version: Arc<BaseVersion>,
    ) -> Result<(), MountError> {
        let before = shown.mount();
        if !before.is_seen()? {
            let path = self.spec.dir.clone();
            return Err(MountError::NotMounted { path });
        }
        let MountedImage {
            mount,
            session,
            root,
        } = self.mount_at(Layer::Beneath, version).await?;
        // The session before may end as soon as its mount is gone, and there must be another one then.
        shown.replace(mount, session);
        if let Err(error) = before.detach() {
            shown.restore(before);
            // Nothing else shows it, so this ends it.
            let _ = kernel_mount::detach_root(&root);
            return Err(error);
        }
        Ok(())
    }

    async fn mount_at(
        &self,
        layer: Layer,
        version: Arc<BaseVersion>,
    ) -> Result<MountedImage, MountError> {
        let (dir, flags) = (self.spec.dir.clone(), self.spec.flags);
        let failed = |source| MountError::Kernel {
            dir: self.spec.dir.clone(),
            source,
        };
        let (device, hidden) = attach::hide()?;
        let files = ImageFiles {
            image: Arc::new(VersionImage::new(version, self.view)),
            source: self.spec.source.clone(),
            counters: Arc::clone(&self.counters),
            runtime: Handle::current(),
            tasks: self.tasks.clone(),
        };
        let image = Arc::clone(&files.image);
        image.start_giving_back();
        let connect = move |kernel: Arc<MountedKernel>| image.connect(Arc::new(FilePages(kernel)));
        let session = serve::serve(files, connect, device, self.threads);
        let session = session.await.map_err(failed)?;
        kernel_mount::raise_readahead(hidden.device().map_err(failed)?);
        let source = self.spec.source.clone();
        let mount = move || {
            kernel_mount::appearing_at(&dir, || {
                let devices = files::device_names();
                let root = hidden.mount_erofs(&source, &devices, flags);
                let shown = root.and_then(|root| {
                    match layer {
                        Layer::Top => attach::show(&root, &dir),
                        Layer::Beneath => attach::show_beneath(&root, &dir),
                    }?;
                    Ok(root)
                });
                let dir = dir.clone();
                shown.map_err(|source| MountError::Kernel { dir, source })
            })
        };
        let panicked = |error| failed(io::Error::other(error));
        let (root, mount) = spawn_blocking(mount).await.map_err(panicked)??;
        Ok(MountedImage {
            mount,
            session,
            root,
        })
    }
}
