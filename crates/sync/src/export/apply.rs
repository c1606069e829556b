//! Applying attributes to entries: owner, extended attributes, mode, times, in an order in which none
//! undoes another.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lfsfs_remote::RemoteError;
use lfsfs_types::{
    ACCESS_LIST, AccessList, Kind, Name, ObjectPath, Record, Timestamp, Xattr, XattrValue,
};
use rustix::fs::{self, AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::contents::{Loaded, take};
use super::error::ExportError;
use super::progress::ExportProgress;
use super::target::failed;
use crate::attributes::{handle_path, is_kept, read_xattrs};
use crate::local::{self, DirHandle, LocalStat};

/// Set-user-id and set-group-id: they mean something only together with the owner.
const MODE_SET_ID: u32 = 0o6000;
/// With so many bytes free, a file system that takes no attribute is not full.
const ROOM_MIN: u64 = 1024 * 1024;

/// What this process may give to entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Those of the version.
    Kept,
    /// Its own: it is not root.
    Own,
}

impl Owners {
    pub(crate) fn of_this_process() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Kept
        } else {
            Self::Own
        }
    }
}

/// A file that this process has just made, and has open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewFile<'a> {
    pub(crate) file: &'a File,
    /// A short path to it: see `handle_path`.
    pub(crate) path: &'a Path,
    /// Whether it may have extended attributes of the directory that it was made in.
    pub(crate) may_inherit: bool,
}

/// Applies the attributes of a version to entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applier<'a> {
    pub(crate) owners: Owners,
    pub(crate) progress: &'a ExportProgress,
}

impl Applier<'_> {
    /// Returns true if an entry of the same kind and content has all attributes already.
    pub(crate) fn has_attributes(
        &self,
        parent: &DirHandle,
        name: Option<&Name>,
        stat: &LocalStat,
        record: &Record,
    ) -> bool {
        let same_owner =
            self.owners == Owners::Own || (stat.uid, stat.gid) == (record.uid, record.gid);
        let is_link = matches!(record.kind, Kind::Symlink { .. });
        same_owner
            && stat.mtime == record.mtime
            && read_xattrs(parent, name).is_ok_and(|found| {
                let mode = self.mode(record.mode, record, same_owner);
                found.xattrs == record.xattrs && (is_link || found.mode_of(stat) == mode)
            })
    }

    /// Sets all attributes of the entry at `path`, which is a short one: see `handle_path`.
    pub(crate) fn apply(
        &self,
        path: &Path,
        record: &Record,
        contents: &Loaded,
    ) -> Result<(), ApplyError> {
        let has_owner = self.set_owner(record, |uid, gid| {
            fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        })?;
        // Changing the owner takes file capabilities away, and a mode without write permission takes
        // the right to set attributes: so these come between the two.
        let mode = self.set_xattrs(path, record, contents)?;
        if !matches!(record.kind, Kind::Symlink { .. }) {
            let mode = Mode::from_raw_mode(self.mode(mode, record, has_owner));
            fs::chmodat(CWD, path, mode, AtFlags::empty())?;
        }
        let times = times(record);
        Ok(fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// As [`apply`](Self::apply), with fewer calls: most of what a new file needs it has already.
    pub(crate) fn apply_to_new(
        &self,
        new: NewFile<'_>,
        record: &Record,
        contents: &Loaded,
    ) -> Result<(), ApplyError> {
        if new.may_inherit || !record.xattrs.is_empty() {
            return self.apply(new.path, record, contents);
        }
        let made = local::stat(new.file)?;
        let has_owner = match self.owners {
            Owners::Kept if (made.uid, made.gid) == (record.uid, record.gid) => true,
            _ => self.set_owner(record, |uid, gid| {
                fs::fchown(new.file, Some(uid), Some(gid))
            })?,
        };
        let mode = self.mode(record.mode, record, has_owner);
        if made.mode != mode {
            fs::fchmod(new.file, Mode::from_raw_mode(mode))?;
        }
        Ok(fs::futimens(new.file, &times(record))?)
    }

    /// Sets the owner. Returns true if the entry then has the one that the version says.
    fn set_owner(
        &self,
        record: &Record,
        set: impl FnOnce(Uid, Gid) -> Result<(), Errno>,
    ) -> Result<bool, ApplyError> {
        if self.owners == Owners::Own {
            let user = rustix::process::geteuid().as_raw();
            let group = rustix::process::getegid().as_raw();
            return Ok((record.uid, record.gid) == (user, group));
        }
        let (uid, gid) = (Uid::from_raw(record.uid), Gid::from_raw(record.gid));
        match set(uid, gid) {
            Ok(()) => Ok(true),
            // Root of a container knows only some owners.
            Err(Errno::PERM | Errno::INVAL) => {
                self.progress.skipped_owner();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the mode that the entry gets, which an access list has a say in.
    fn set_xattrs(
        &self,
        path: &Path,
        record: &Record,
        contents: &Loaded,
    ) -> Result<u32, ApplyError> {
        for name in present_xattrs(path)? {
            let is_wanted = |xattr: &Xattr| xattr.name.as_bytes() == name.as_bytes();
            if !record.xattrs.iter().any(is_wanted) {
                self.is_done(path, xattr::remove(path, &name))?;
            }
        }
        let mut mode = record.mode;
        for xattr in &record.xattrs {
            let value: &[u8] = match &xattr.value {
                XattrValue::Inline(bytes) => bytes,
                XattrValue::Content { content, .. } => take(contents, content)?,
            };
            let name = OsStr::from_bytes(xattr.name.as_bytes());
            let is_set = self.is_done(path, xattr::set(path, name, value))?;
            if xattr.name.as_bytes() == ACCESS_LIST {
                mode = mode_with_list(mode, value, is_set);
            }
        }
        Ok(mode)
    }

    /// Returns false, and counts it, if an attribute cannot be changed: some are root's, some file
    /// systems have none, and each has its own rules for names and sizes.
    fn is_done(&self, path: &Path, result: io::Result<()>) -> Result<bool, ApplyError> {
        let Err(error) = result else { return Ok(true) };
        match Errno::from_io_error(&error) {
            Some(
                Errno::PERM
                | Errno::ACCESS
                | Errno::OPNOTSUPP
                | Errno::INVAL
                | Errno::RANGE
                | Errno::TOOBIG
                | Errno::NAMETOOLONG,
            ) => {}
            // ext4 says this of an attribute that is too long for it, too.
            Some(Errno::NOSPC) if has_room(path) => {}
            _ => return Err(error.into()),
        }
        self.progress.skipped_xattr();
        Ok(false)
    }

    /// Returns the mode that an entry gets. Without the owner of the version it loses set-user-id and
    /// set-group-id: programs must not run with the rights of the user who has it instead.
    fn mode(&self, mode: u32, record: &Record, has_owner: bool) -> u32 {
        if has_owner || record.kind.is_directory() {
            mode
        } else {
            mode & !MODE_SET_ID
        }
    }
}

/// Returns the mode of an entry with an access list. Where the list could not be set, the mode alone
/// must not grant what the list denies.
fn mode_with_list(mode: u32, list: &[u8], is_set: bool) -> u32 {
    let list = AccessList::parse(list);
    let beside = list.map_or(mode & 0o777, |list| u32::from(list.mode_bits()));
    // A list that is not understood may deny any right to the group and to others, so they keep none.
    let left = list.map_or(0, |list| u32::from(list.class_bits()));
    let mode = mode & !0o777 | beside;
    if is_set { mode } else { mode & (0o7700 | left) }
}

/// Returns true if the file system of an entry has space left.
fn has_room(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    fs::statvfs(dir).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM_MIN)
}

/// Labels of the security system are this machine's, whatever a version says.
fn is_removable(name: &OsStr) -> bool {
    let is_label = name.as_bytes().starts_with(b"security.") && name != "security.capability";
    is_kept(name) && !is_label
}

/// Returns true if what is made in a directory may get extended attributes of it: a default access list does that,
/// and some file systems have others.
pub(crate) fn hands_down_xattrs(dir: &DirHandle) -> bool {
    present_xattrs(&handle_path(dir, None)).map_or(true, |names| !names.is_empty())
}

fn present_xattrs(path: &Path) -> io::Result<Vec<OsString>> {
    match xattr::list(path) {
        Ok(names) => Ok(names.filter(|name| is_removable(name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The time of the last change is the version's; that of the last access stays.
fn times(record: &Record) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: timespec(record.mtime),
    }
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    }
}

/// Why an entry did not get its attributes.
#[derive(Debug)]
pub(crate) enum ApplyError {
    Local(io::Error),
    Remote(RemoteError),
}

impl ApplyError {
    /// Names the entry.
    pub(crate) fn of(self, path: &ObjectPath) -> ExportError {
        match self {
            Self::Local(error) => failed("set attributes of", path)(error),
            Self::Remote(error) => error.into(),
        }
    }
}

impl From<io::Error> for ApplyError {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<Errno> for ApplyError {
    fn from(error: Errno) -> Self {
        Self::Local(error.into())
    }
}

impl From<RemoteError> for ApplyError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_could_not_be_set_grants_nothing_that_it_denied() {
        // u::rw,u:1234:rw,g::---,m::rw,o::---
        let mut list = vec![2, 0, 0, 0];
        for (tag, rights) in [(1, 6), (2, 6), (4, 0), (0x10, 6), (0x20, 0)] {
            list.extend([tag, 0, rights, 0, 255, 255, 255, 255]);
        }
        assert_eq!(mode_with_list(0o4600, &list, true), 0o4660);
        assert_eq!(mode_with_list(0o4600, &list, false), 0o4600);
        assert_eq!(mode_with_list(0o4755, b"none", true), 0o4755);
        assert_eq!(mode_with_list(0o4755, b"none", false), 0o4700);
    }
}
