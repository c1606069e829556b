//! Directory handles: everything relative to an open directory.
//!
//! The kernel refuses paths of 4,096 bytes and more, but trees under test go deeper than that
//! below their own root, so all walks of this crate go from handle to handle. Symlinks are never
//! followed. Holds system calls only, no policy.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat, XattrFlags};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: OwnedFd,
}

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the directory at `path`; the last component must not be a symlink.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let handle = fs::open(path, DIRECTORY_FLAGS, Mode::empty())?;
        Ok(Self { handle })
    }

    /// Opens the directory `name` in this one.
    pub(crate) fn child(&self, name: &OsStr) -> io::Result<Self> {
        let handle = fs::openat(&self.handle, name, DIRECTORY_FLAGS, Mode::empty())?;
        Ok(Self { handle })
    }

    /// Returns the handle, for system calls that have no method here.
    pub(crate) fn handle(&self) -> &OwnedFd {
        &self.handle
    }

    /// Returns all names in the directory and their types, ordered by the bytes of the name.
    pub(crate) fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let kind = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(self.stat(&name)?.st_mode),
                known => known,
            };
            entries.push((name, kind));
        }
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(entries)
    }

    /// Returns the attributes of `name`.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Returns the attributes of the directory itself.
    pub(crate) fn stat_self(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.handle)?)
    }

    /// Opens the regular file `name` for reading.
    pub(crate) fn open_file(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(fs::openat(&self.handle, name, flags, Mode::empty())?.into())
    }

    /// Creates the file `name`, which must not exist, for writing.
    pub(crate) fn create_file(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// Creates the directory `name`, which must not exist, and opens it.
    pub(crate) fn create_directory(&self, name: &OsStr) -> io::Result<Self> {
        fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o700))?;
        self.child(name)
    }

    /// Sets the permission bits of `name`, which must not be a symlink.
    pub(crate) fn set_mode(&self, name: &OsStr, mode: RawMode) -> io::Result<()> {
        Ok(fs::chmodat(
            &self.handle,
            name,
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )?)
    }

    /// Removes `name`: a directory, which must be empty, or anything else.
    pub(crate) fn remove(&self, name: &OsStr, kind: FileType) -> io::Result<()> {
        let flags = if kind == FileType::Directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        Ok(fs::unlinkat(&self.handle, name, flags)?)
    }

    /// Returns the target of the symlink `name`.
    pub(crate) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = fs::readlinkat(&self.handle, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Returns the extended attributes of `name` in the order of their names; none where the
    /// filesystem has no such thing.
    pub(crate) fn xattrs(&self, name: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        xattrs_of(&self.reach(name))
    }

    /// Returns the extended attributes of the directory itself.
    pub(crate) fn xattrs_self(&self) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        // The dot makes the kernel resolve the magic link instead of asking for its own xattrs.
        self.xattrs(OsStr::new("."))
    }

    /// Sets one extended attribute of `name`.
    pub(crate) fn set_xattr(&self, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
        Ok(fs::lsetxattr(
            self.reach(name),
            key,
            value,
            XattrFlags::empty(),
        )?)
    }

    /// Returns a short path to `name`, for system calls without an `at` form.
    pub(crate) fn reach(&self, name: &OsStr) -> CString {
        let mut path = format!("/proc/self/fd/{}/", self.handle.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        CString::new(path).expect("a name in a directory has no NUL byte")
    }
}

fn xattrs_of(path: &CStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut list = vec![0_u8; 65_536];
    let list_len = match fs::llistxattr(path, &mut list[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut xattrs = Vec::new();
    let mut value = vec![0_u8; 65_536];
    for key in list[..list_len]
        .split(|byte| *byte == 0)
        .filter(|key| !key.is_empty())
    {
        let value_len = fs::lgetxattr(path, key, &mut value[..])?;
        xattrs.push((
            OsString::from_vec(key.to_vec()),
            value[..value_len].to_vec(),
        ));
    }
    xattrs.sort();
    Ok(xattrs)
}
