//! Temporary directories for trees under test.
//!
//! They lie on a real disk, because extended attributes, direct I/O and fsync mean something
//! only there, and they are removed whatever a test left in them: paths beyond the kernel's
//! limit and directories of mode 0000. Removal never crosses into another mounted filesystem.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::FileType;

use crate::directory::Directory;

const TMPFS_MAGIC: i64 = 0x0102_1994;
const MEMORY: &str = "/dev/shm";

/// A directory that is removed with everything in it when the value is dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Creates an empty directory in `TMPDIR`; without that in `/tmp` or, where that is memory,
    /// in `/var/tmp`.
    ///
    /// # Errors
    /// Fails where no directory can be created there.
    pub fn new() -> anyhow::Result<Self> {
        Self::new_in(&parent())
    }

    fn new_in(parent: &Path) -> anyhow::Result<Self> {
        let created = tempfile::Builder::new()
            .prefix("lfsfs-test-")
            .tempdir_in(parent);
        let path = created
            .with_context(|| format!("create a temporary directory in {}", parent.display()))?
            .keep();
        Ok(Self { path })
    }

    /// Returns where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory that is removed when the thread ends that made it: after the runtime of a test, and so
/// after all tasks that may still write there.
#[derive(Debug)]
pub struct ThreadDir {
    path: PathBuf,
}

impl ThreadDir {
    /// Creates an empty directory where [`TempDir::new`] does.
    ///
    /// # Errors
    /// Fails where no directory can be created there.
    pub fn new() -> anyhow::Result<Self> {
        TempDir::new().map(Self::of)
    }

    /// Creates an empty directory in memory where there is any, else where [`TempDir::new`] does: syncs
    /// of a disk can be most of a test's time.
    ///
    /// # Errors
    /// Fails where no directory can be created.
    pub fn in_memory() -> anyhow::Result<Self> {
        let dir = TempDir::new_in(Path::new(MEMORY));
        dir.or_else(|_| TempDir::new()).map(Self::of)
    }

    fn of(dir: TempDir) -> Self {
        thread_local! {
            static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
        }
        let path = dir.path.clone();
        DIRECTORIES.with_borrow_mut(|directories| directories.push(dir));
        Self { path }
    }

    /// Returns where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            crate::requirements::say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

fn parent() -> PathBuf {
    if let Some(chosen) = std::env::var_os("TMPDIR").filter(|chosen| !chosen.is_empty()) {
        return chosen.into();
    }
    let default = std::env::temp_dir();
    let is_memory = rustix::fs::statfs(&default).is_ok_and(|info| info.f_type == TMPFS_MAGIC);
    if is_memory {
        "/var/tmp".into()
    } else {
        default
    }
}

/// Removes `path` and everything below it, without following symlinks or entering mounts.
///
/// # Errors
/// Fails at the first object that cannot be removed, such as a mount point.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let device = path.symlink_metadata()?.dev();
    empty(&open_for_removal(None, path.as_os_str())?, device)?;
    std::fs::remove_dir(path)
}

fn empty(directory: &Directory, device: u64) -> io::Result<()> {
    if directory.stat_self()?.st_dev != device {
        return Err(io::Error::other("another filesystem is mounted in it"));
    }
    for (name, kind) in directory.entries()? {
        if kind == FileType::Directory {
            empty(&open_for_removal(Some(directory), &name)?, device)?;
        }
        directory.remove(&name, kind)?;
    }
    Ok(())
}

/// Opens a directory of which entries shall be removed, whatever its mode.
fn open_for_removal(parent: Option<&Directory>, name: &OsStr) -> io::Result<Directory> {
    // Root needs no permission; for others the owner's bits decide about listing and removing.
    if !rustix::process::geteuid().is_root() {
        let handle = parent.map_or(rustix::fs::CWD, |parent| parent.handle().as_fd());
        let mode = rustix::fs::Mode::RWXU;
        let _ = rustix::fs::chmodat(handle, name, mode, rustix::fs::AtFlags::empty());
    }
    match parent {
        Some(parent) => parent.child(name),
        None => Directory::open(Path::new(name)),
    }
}
