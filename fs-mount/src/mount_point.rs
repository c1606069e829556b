//! Checks of a mount point: before anything is mounted there, and whether a mount is seen there.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lfsfs_common::PathError;
use rustix::fs::{fstat, major, minor};
use rustix::io::Errno;
use tracing::info;

use crate::error::MountError;
use crate::kernel_mount;
use crate::mountinfo::{self, Device, MountEntry};
use crate::places::Places;

/// A mount that does not tell within this time is taken for alive: it may only be slow.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the canonical path of a directory that can be mounted on, after taking away what dead
/// mounts of lfsfs are left there.
pub(crate) fn prepare(dir: &Path, places: &Places) -> Result<PathBuf, MountError> {
    loop {
        let path = canonical(dir)?;
        let mounts = mountinfo::read().map_err(MountError::system("read the mount table"))?;
        match mountinfo::topmost(&mounts, &path) {
            Some(seen) if seen.is_ours() && is_dead(seen, places) => {
                info!(dir = %path.display(), "a dead mount of lfsfs is replaced");
                kernel_mount::detach_dead(seen)?;
            }
            Some(seen) => return Err(in_use(&path, seen)),
            None => return directory(path, dir),
        }
    }
}

fn in_use(dir: &Path, seen: &MountEntry) -> MountError {
    MountError::InUse {
        dir: dir.to_owned(),
        source_name: seen.source.clone(),
        kind: seen.kind.clone(),
    }
}

fn directory(path: PathBuf, given: &Path) -> Result<PathBuf, MountError> {
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(MountError::MountPointNotDirectory {
            dir: given.to_owned(),
        }),
        Err(error) => Err(PathError::new("stat", path, error).into()),
    }
}

/// Opens the root of a mount, if `dir` shows that.
pub(crate) fn open(dir: &Path, device: Device) -> io::Result<File> {
    let root = File::open(dir)?;
    let seen = fstat(&root)?.st_dev;
    if (major(seen), minor(seen)) == (device.major, device.minor) {
        Ok(root)
    } else {
        Err(io::Error::other("something else is mounted there"))
    }
}

/// Resolves links. The last name may be a dead mount, which answers nothing.
pub(crate) fn canonical(dir: &Path) -> Result<PathBuf, MountError> {
    match fs::canonicalize(dir) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(MountError::MountPointMissing {
                dir: dir.to_owned(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(MountError::MountPointNotDirectory {
                dir: dir.to_owned(),
            })
        }
        Err(error) if is_dead_error(&error) => canonical_parent(dir),
        Err(error) => Err(PathError::new("find", dir, error).into()),
    }
}

fn canonical_parent(dir: &Path) -> Result<PathBuf, MountError> {
    let absolute = std::path::absolute(dir).map_err(PathError::wrap("find", dir))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(canonical(parent)?.join(name)),
        _ => Ok(absolute),
    }
}

/// Returns true if no process serves a mount any more.
pub(crate) fn is_dead(mount: &MountEntry, places: &Places) -> bool {
    if mount.is_in_kernel_mode() {
        return is_abandoned(mount, places);
    }
    is_disconnected(&mount.dir)
}

/// Returns true if there is a socket of a mount in kernel mode, and no process listens at any. The kernel answers for
/// such a mount itself, so it cannot be asked.
fn is_abandoned(mount: &MountEntry, places: &Places) -> bool {
    let sockets = places.sockets(mount);
    let answers: Vec<_> = sockets.iter().map(UnixStream::connect).collect();
    let is_refused = |answer: &io::Result<UnixStream>| {
        let error = answer.as_ref().err();
        error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    answers.iter().any(is_refused) && !answers.iter().any(Result::is_ok)
}

/// Returns true if the FUSE mount at `path` has no process any more.
///
/// stat tells nothing: the kernel keeps the attributes of a dead mount's root. statfs always asks.
fn is_disconnected(path: &Path) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    let path = path.to_owned();
    // A thread, because a mount whose process is stopped does not answer at all.
    let asked = thread::Builder::new().spawn(move || {
        let dead = rustix::fs::statfs(&path).is_err_and(|error| is_dead_error(&error.into()));
        // After the timeout the caller does not wait any more.
        let _ = answer.send(dead);
    });
    asked.is_ok() && answered.recv_timeout(LIVENESS_TIMEOUT) == Ok(true)
}

fn is_dead_error(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOTCONN | Errno::CONNABORTED)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::MountOptions;

    fn places() -> Places {
        Places::find(&MountOptions::default()).unwrap()
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();

        let missing = prepare(&dir.path().join("absent"), &places()).unwrap_err();
        let not_directory = prepare(&file, &places()).unwrap_err();
        let below_file = prepare(&file.join("x"), &places()).unwrap_err();

        assert!(matches!(missing, MountError::MountPointMissing { .. }));
        assert!(matches!(
            not_directory,
            MountError::MountPointNotDirectory { .. }
        ));
        assert!(matches!(
            below_file,
            MountError::MountPointNotDirectory { .. }
        ));
    }

    #[test]
    fn a_place_where_something_else_is_mounted_is_in_use() {
        let error = prepare(Path::new("/proc"), &places()).unwrap_err();
        assert!(matches!(error, MountError::InUse { kind, .. } if kind == "proc"));
    }

    #[test]
    fn links_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(prepare(&real.join("link"), &places()).unwrap(), real);
    }
}
