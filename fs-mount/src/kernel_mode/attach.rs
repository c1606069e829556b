//! The two mounts of kernel mode: the hidden one of the image's files, and that of EROFS on them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::{fchdir, getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::error::MountError;
use crate::kernel_mount;
use crate::limits::REQUEST_BYTES_MAX;
use crate::mountinfo::Device;

/// A FUSE mount that no table shows. It lives as long as this, or as anything that was opened in it.
#[derive(Debug)]
pub(crate) struct HiddenMount(OwnedFd);

/// Makes a FUSE mount that is nowhere; its requests come from the descriptor that is returned.
pub(crate) fn hide() -> Result<(OwnedFd, HiddenMount), MountError> {
    let device = kernel_mount::open_device()?;
    let mounted = fuse(&device).map_err(MountError::system("mount the files of the image"))?;
    Ok((device, HiddenMount(mounted)))
}

fn fuse(device: &OwnedFd) -> io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let number = |value: u32| value.to_string();
    fsconfig_set_string(context.as_fd(), "source", "lfsfs-image")?;
    fsconfig_set_string(context.as_fd(), "subtype", "lfsfs")?;
    fsconfig_set_string(context.as_fd(), "fd", device.as_raw_fd().to_string())?;
    fsconfig_set_string(context.as_fd(), "rootmode", "40000")?;
    fsconfig_set_string(context.as_fd(), "user_id", number(geteuid().as_raw()))?;
    fsconfig_set_string(context.as_fd(), "group_id", number(getegid().as_raw()))?;
    fsconfig_set_string(context.as_fd(), "max_read", number(REQUEST_BYTES_MAX))?;
    fsconfig_set_flag(context.as_fd(), "allow_other")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

impl HiddenMount {
    /// Returns its device number.
    pub(crate) fn device(&self) -> io::Result<Device> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok(Device {
            major: rustix::fs::major(stat.st_dev),
            minor: rustix::fs::minor(stat.st_dev),
        })
    }

    /// Mounts EROFS on the file `source` of this mount, with content devices beside it, and returns that mount. It is
    /// nowhere yet. The files are served meanwhile. Blocks.
    ///
    /// The kernel opens the source by its path and shows that path in the mount table. So a thread with a working
    /// directory of its own goes into the hidden mount: there the path is what the user typed.
    pub(crate) fn mount_erofs(
        &self,
        source: &str,
        devices: &[String],
        flags: MountFlags,
    ) -> io::Result<OwnedFd> {
        let mount = || {
            own_working_directory()?;
            fchdir(&self.0)?;
            let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(context.as_fd(), "source", source)?;
            for device in devices {
                fsconfig_set_string(context.as_fd(), "device", device.as_str())?;
            }
            fsconfig_set_flag(context.as_fd(), "ro")?;
            fsconfig_create(context.as_fd()).map_err(|error| told(&context, error.into()))?;
            Ok(fsmount(
                context.as_fd(),
                FsMountFlags::FSMOUNT_CLOEXEC,
                attributes(flags),
            )?)
        };
        thread::scope(|scope| {
            let mounted = thread::Builder::new().spawn_scoped(scope, mount)?;
            let panicked = |_| Err(io::Error::other("it panicked"));
            mounted.join().unwrap_or_else(panicked)
        })
    }
}

/// Shows a mount at a directory.
pub(crate) fn show(mount: &OwnedFd, dir: &Path) -> io::Result<()> {
    let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), "", CWD, dir, from)?)
}

/// Shows a mount below the one that is shown at a directory, which hides it until it goes.
pub(crate) fn show_beneath(mount: &OwnedFd, dir: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH;
    Ok(move_mount(mount.as_fd(), "", CWD, dir, flags)?)
}

/// Returns true if this kernel has EROFS. Whether it mounts that from files only a try tells.
pub(crate) fn has_erofs() -> bool {
    // A module that is not loaded yet is loaded by this.
    fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

#[expect(unsafe_code, reason = "rustix has no safe call")]
fn own_working_directory() -> io::Result<()> {
    // SAFETY: only the working directory, the root and the umask are unshared, no descriptors. The thread ends
    // after its work.
    Ok(unsafe { unshare_unsafe(UnshareFlags::FS) }?)
}

/// Adds what the kernel says of a mount that it refused.
fn told(context: &OwnedFd, error: io::Error) -> io::Error {
    let mut line = [0; 512];
    match rustix::io::read(context, &mut line[..]) {
        Ok(len) => {
            let line = String::from_utf8_lossy(&line[..len]);
            io::Error::new(error.kind(), format!("{error}: {}", line.trim()))
        }
        Err(_) => error,
    }
}

/// Returns flags of mount(2) as attributes of a mount.
fn attributes(flags: MountFlags) -> MountAttrFlags {
    let known = [
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (
            MountFlags::NODIRATIME,
            MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        ),
    ];
    known
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(MountAttrFlags::MOUNT_ATTR_RDONLY, |all, (_, attribute)| {
            all | attribute
        })
}
