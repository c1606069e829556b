//! How a mount begins to be served: in kernel mode or in fuse mode.

use std::sync::Arc;

use lfsfs_vfs::{ImageView, Vfs};
use tracing::info;

use crate::error::MountError;
use crate::kernel_mode::attach;
use crate::kernel_mode::choice::{self, Machine};
use crate::kernel_mount::{self, MountSpec};
use crate::options::{MountOptions, WantedMode};
use crate::session::{ServedMount, SessionConfig};

/// Starts to serve in the mode that the user wants and the machine can do.
pub(super) async fn start(
    spec: &MountSpec,
    vfs: &Arc<Vfs>,
    options: &MountOptions,
    config: SessionConfig,
) -> Result<ServedMount, MountError> {
    let machine = Machine {
        is_root: kernel_mount::is_root(),
        has_erofs: options.mode != WantedMode::Fuse && attach::has_erofs(),
    };
    let objection = choice::objection(options, machine);
    let vfs = Arc::clone(vfs);
    match (options.mode, objection) {
        (WantedMode::Fuse, _) => ServedMount::start(spec, vfs, config, None).await,
        (WantedMode::Auto, Some(why)) => {
            info!(why, "the mount is in fuse mode");
            ServedMount::start(spec, vfs, config, Some(why.to_owned())).await
        }
        (WantedMode::Kernel, Some(why)) => Err(MountError::NoKernelMode { why }),
        (WantedMode::Auto | WantedMode::Kernel, None) => {
            let view = ImageView {
                uid: options.uid,
                gid: options.gid,
                without_xattrs: options.noxattr,
            };
            let started = ServedMount::start_kernel_mode(spec, Arc::clone(&vfs), view, config);
            match started.await {
                Err(MountError::Kernel { source, .. }) if options.mode == WantedMode::Auto => {
                    let why = format!("the kernel refuses: {source}");
                    info!(why, "the mount is in fuse mode");
                    ServedMount::start(spec, vfs, config, Some(why)).await
                }
                started => started,
            }
        }
    }
}
