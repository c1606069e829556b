//! Whole files, which trees share blocks or an inode with.
//!
//! Their bytes carry no seal: an inode that a tree shares can only be what the file is. So the caller verifies
//! each file before it uses it, and removes one that is damaged.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lfsfs_common::durable::TempFile;
use rustix::fs::{Mode, OFlags};

/// No process has a reason to write to it.
const MODE: u32 = 0o400;

/// Opens the file at `path` for reading, following no link.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Keeps a copy of a file that shares its blocks, under `path`, in place of what is there.
pub(crate) fn clone(path: &Path, file: &File) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temp = TempFile::create_in(dir).map_err(|error| error.source)?;
    rustix::fs::ioctl_ficlone(temp.file(), file)?;
    temp.file().set_permissions(Permissions::from_mode(MODE))?;
    temp.persist_without_sync(path)
        .map_err(|error| error.source)?;
    Ok(())
}

/// Gives the file at `from` another name, `path`. What is there stays.
pub(crate) fn link(path: &Path, from: &Path) -> io::Result<()> {
    match fs::hard_link(from, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}
