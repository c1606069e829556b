//! The mount in the kernel: made, recognised and taken away again.
//!
//! Root calls mount(2); other users ask fusermount3. Nothing is ever unmounted by its path
//! alone: another user may have mounted something else there since, and that must stay.

mod fusermount;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{getegid, geteuid, getgid, getuid};
use tracing::{info, warn};

use crate::error::MountError;
use crate::limits::REQUEST_BYTES_MAX;
use crate::mountinfo::{self, Device, FILE_SYSTEM_TYPE, MountEntry};

const DEVICE: &str = "/dev/fuse";

/// What the kernel shall mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountSpec {
    /// Shown as the source.
    pub(crate) source: String,
    /// An existing directory, canonical.
    pub(crate) dir: PathBuf,
    /// Flags of the mount.
    pub(crate) flags: MountFlags,
    /// Other users may look in.
    pub(crate) allow_other: bool,
    /// The kernel checks modes.
    pub(crate) default_permissions: bool,
}

/// A mount that this process made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelMount {
    id: u64,
    device: Device,
    dir: PathBuf,
}

/// What became of a mount that was to be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detached {
    /// It is gone from the directory.
    Done,
    /// It was not the one seen there: gone already, or covered by another mount.
    NotSeen,
}

/// What happens to a mount that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Laziness {
    /// It goes from its directory, and for its users when they are done.
    AtOnce,
    /// It stays.
    WhenIdle,
}

/// Mounts; requests of the kernel come from the descriptor that is returned.
pub(crate) fn attach(spec: &MountSpec) -> Result<(OwnedFd, KernelMount), MountError> {
    appearing_at(&spec.dir, || {
        if geteuid().is_root() {
            attach_as_root(spec)
        } else {
            fusermount::attach(spec)
        }
    })
}

/// Makes a mount of lfsfs at a directory, and finds it in the mount table.
pub(crate) fn appearing_at<T>(
    dir: &Path,
    make: impl FnOnce() -> Result<T, MountError>,
) -> Result<(T, KernelMount), MountError> {
    let read = || mountinfo::read().map_err(MountError::system("read the mount table"));
    let before = read()?;
    let made = make()?;
    let entry = read()?
        .into_iter()
        .rfind(|mount| is_new(mount, dir, &before));
    match entry {
        Some(entry) => Ok((made, KernelMount::of(entry))),
        // It was unmounted at once. The descriptor goes, and with it what may be left.
        None => Err(MountError::NotMounted {
            path: dir.to_owned(),
        }),
    }
}

fn is_new(mount: &MountEntry, dir: &Path, before: &[MountEntry]) -> bool {
    // The number alone says nothing: the kernel gives it again to the next mount anywhere.
    let is_it = |old: &MountEntry| old.id == mount.id && old.dir == mount.dir;
    mount.is_ours() && mount.dir == dir && !before.iter().any(is_it)
}

fn attach_as_root(spec: &MountSpec) -> Result<OwnedFd, MountError> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},max_read={REQUEST_BYTES_MAX}",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw(),
    );
    if spec.default_permissions {
        data.push_str(",default_permissions");
    }
    if spec.allow_other {
        data.push_str(",allow_other");
    }
    let data = std::ffi::CString::new(data).map_err(|error| MountError::System {
        action: "pass options to the kernel",
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })?;
    let source = spec.source.as_str();
    match mount(
        source,
        &spec.dir,
        FILE_SYSTEM_TYPE,
        spec.flags,
        data.as_c_str(),
    ) {
        Ok(()) => Ok(device),
        Err(error) => Err(MountError::Kernel {
            dir: spec.dir.clone(),
            source: error.into(),
        }),
    }
}

pub(crate) fn open_device() -> Result<OwnedFd, MountError> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(file) => Ok(file.into()),
        Err(error) if is_missing(&error) => Err(MountError::DeviceMissing),
        Err(source) => Err(MountError::System {
            action: "open /dev/fuse",
            source,
        }),
    }
}

/// A node without a driver behind it is as good as none.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::NODEV | Errno::NXIO)
        )
}

/// Returns true if this process may act for other users than the one who runs it.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Takes away the mount that a descriptor is the root of.
pub(crate) fn detach_root(root: &OwnedFd) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", root.as_raw_fd());
    unmount(path, UnmountFlags::DETACH)
}

/// Takes a dead mount of lfsfs away, if that is what is seen at `dir`.
pub(crate) fn detach_dead(entry: &MountEntry) -> Result<Detached, MountError> {
    KernelMount::of(entry.clone()).detach()
}

impl KernelMount {
    pub(crate) fn of(entry: MountEntry) -> Self {
        Self {
            id: entry.id,
            device: entry.device,
            dir: entry.dir,
        }
    }

    /// Returns the device number, which names the mount on this machine.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Returns the directory that it is mounted on.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the mount away from its directory. Programs that have files of it open may go on; the
    /// kernel ends the session when the last one is closed.
    pub(crate) fn detach(&self) -> Result<Detached, MountError> {
        let detached = if is_root() {
            self.detach_as_root()
        } else {
            self.detach_as_user()
        }?;
        match detached {
            Detached::Done => info!(dir = %self.dir.display(), "unmounted"),
            Detached::NotSeen => {
                warn!(dir = %self.dir.display(), "not unmounted: our mount is not the one seen there");
            }
        }
        Ok(detached)
    }

    /// Opens what is at the directory, asks whether that is ours, and unmounts what was opened:
    /// what is mounted over it in between stays. Neither step sends a request, so a dead
    /// or hanging mount does not stop it.
    fn detach_as_root(&self) -> Result<Detached, MountError> {
        let failed = |error: Errno| MountError::Unmount {
            dir: self.dir.clone(),
            source: error.into(),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let seen = match openat(CWD, &self.dir, flags, Mode::empty()) {
            Ok(seen) => seen,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Detached::NotSeen),
            Err(error) => return Err(failed(error)),
        };
        if mount_id(&seen).map_err(failed)? != self.id {
            return Ok(Detached::NotSeen);
        }
        match detach_root(&seen) {
            Ok(()) => Ok(Detached::Done),
            // Not a mount point any more.
            Err(Errno::INVAL) => Ok(Detached::NotSeen),
            Err(error) => Err(failed(error)),
        }
    }

    /// Unmounts where no process uses it, as umount(8) does; a mount that is in use stays.
    pub(crate) fn unmount(&self) -> Result<(), MountError> {
        if !self.is_seen()? {
            return Err(MountError::NotMounted {
                path: self.dir.clone(),
            });
        }
        if !is_root() {
            return fusermount::detach(&self.dir, Laziness::WhenIdle);
        }
        // By path: a descriptor of the mount, as for detaching, would itself be a use of it.
        let dir = self.dir.clone();
        unmount(&self.dir, UnmountFlags::NOFOLLOW).map_err(|error| match error {
            Errno::BUSY => MountError::Busy { dir },
            other => MountError::Unmount {
                dir,
                source: other.into(),
            },
        })
    }

    fn detach_as_user(&self) -> Result<Detached, MountError> {
        if !self.is_seen()? {
            return Ok(Detached::NotSeen);
        }
        fusermount::detach(&self.dir, Laziness::AtOnce)?;
        Ok(Detached::Done)
    }

    /// Returns true if no place of this namespace shows it.
    pub(crate) fn is_gone(&self) -> bool {
        let mounts = mountinfo::read();
        mounts.is_ok_and(|mounts| mounts.iter().all(|mount| mount.device != self.device))
    }

    /// Returns true if it is what is seen at its directory.
    pub(crate) fn is_seen(&self) -> Result<bool, MountError> {
        let mounts = mountinfo::read().map_err(MountError::system("read the mount table"))?;
        let seen = mountinfo::topmost(&mounts, &self.dir);
        Ok(seen.is_some_and(|seen| (seen.id, seen.device) == (self.id, self.device)))
    }

    /// Raises how far the kernel reads ahead; the protocol itself can only lower it.
    pub(crate) fn raise_readahead(&self) {
        raise_readahead(self.device);
    }
}

/// Raises how far the kernel reads ahead on a device.
pub(crate) fn raise_readahead(device: Device) {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let kilobytes = REQUEST_BYTES_MAX / 1024;
    if let Err(error) = std::fs::write(&path, kilobytes.to_string()) {
        // A user, or a container with /sys read-only: reading works, only slower.
        info!(%error, path, "readahead stays as it is");
    }
}

/// Asks for the mount a descriptor lies in, which the kernel answers without the file system.
fn mount_id(seen: &OwnedFd) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(seen, c"", flags, StatxFlags::MNT_ID) {
        Ok(answer) => Ok(answer.stx_mnt_id),
        Err(Errno::NOTCONN | Errno::CONNABORTED) => mount_id_of_dead(seen),
        Err(error) => Err(error),
    }
}

/// A dead file system answers no stat at all, but the kernel still tells of the descriptor.
fn mount_id_of_dead(seen: &OwnedFd) -> Result<u64, Errno> {
    let path = format!("/proc/self/fdinfo/{}", seen.as_raw_fd());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let line = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    line.and_then(|id| id.trim().parse().ok())
        .ok_or(Errno::INVAL)
}

/// Returns whom the kernel takes for the owner of a mount made now.
pub(crate) fn owner() -> (u32, u32) {
    (getuid().as_raw(), getgid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo::Propagation;

    fn entry(id: u64, dir: &str) -> MountEntry {
        MountEntry {
            id,
            device: Device {
                major: 0,
                minor: 40,
            },
            root: "/".into(),
            dir: dir.into(),
            options: String::new(),
            kind: FILE_SYSTEM_TYPE.to_owned(),
            source: "app@v1".to_owned(),
            owner: None,
            propagation: Propagation::default(),
        }
    }

    #[test]
    fn a_mount_with_the_number_of_one_that_ended_meanwhile_is_new() {
        let before = [entry(7, "/ended"), entry(8, "/mnt")];
        let is_new = |id, dir| is_new(&entry(id, dir), Path::new("/mnt"), &before);
        assert!(is_new(7, "/mnt"));
        assert!(is_new(9, "/mnt"));
        assert!(!is_new(8, "/mnt"), "it was there");
        assert!(!is_new(9, "/other"));
    }
}
