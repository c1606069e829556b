//! System calls as programs make them, on one side, and what they answer.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec,
    Timestamps, XattrFlags,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::mapped;

/// Files that a side can have open.
pub(crate) const HANDLES: usize = 4;

/// Times below this were set by a call; later ones come from a clock.
pub(crate) const CLOCK_FROM: i64 = 1_700_000_000;

/// One call and the user that makes it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// User and group; root can do what others cannot.
    pub(crate) user: u32,
    pub(crate) call: Call,
}

/// A call. Paths are relative to the root of a side.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Open(usize, String, OFlags, u32),
    Close(usize),
    Read(usize, u64, usize),
    Write(usize, u64, usize, u8),
    SetLen(usize, u64),
    /// Writes a byte far behind the end, reads what is there, and makes the file as long as before.
    WriteFar(usize, u64, u8),
    Allocate(usize, FallocateFlags, u64, u64),
    /// Copies from one open file, and offset, to another.
    Copy((usize, u64), (usize, u64), usize),
    /// Writes through a shared mapping and syncs it.
    WriteMapped(usize, u64, usize, u8),
    Sync(usize, bool),
    /// Syncs the root, and with it all that was changed.
    SyncAll,
    StatOpen(usize),
    ChmodOpen(usize, u32),
    Truncate(String, u64),
    MakeDir(String, u32),
    RemoveDir(String),
    Unlink(String),
    Rename(String, String, RenameFlags),
    Link(String, String),
    Symlink(String, String),
    ReadLink(String),
    MakeNode(String, FileType, u32),
    Chmod(String, u32),
    Chown(String, Option<u32>, Option<u32>),
    SetTimes(String, Time, Time),
    SetXattr(String, &'static str, usize, XattrFlags),
    Xattr(String, &'static str),
    RemoveXattr(String, &'static str),
    Xattrs(String),
    List(String),
    Stat(String, bool),
    MayAccess(String, Access),
    FileSystem(String),
}

/// A time to be set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    At(i64, i64),
    Now,
    Omit,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Len(usize),
    Bytes(Vec<u8>),
    Names(Vec<Vec<u8>>),
    Attributes(Attributes),
}

/// What of a stat must be the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    mode: u32,
    owner: (u32, u32),
    /// 0 and 1 of directories: file systems differ.
    size: i64,
    nlink: u64,
    rdev: u64,
    /// Only a time that was set.
    mtime: Option<(i64, i64)>,
}

pub(crate) type Outcome = Result<Answer, Errno>;

/// A tree and the files that are open in it.
#[derive(Debug)]
pub(crate) struct Side {
    root: OwnedFd,
    open: [Option<File>; HANDLES],
}

impl Side {
    pub(crate) fn new(root: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).expect("the root of a side");
        let open = Default::default();
        Self { root, open }
    }

    /// Returns the directory of the tree.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Makes one call.
    pub(crate) fn perform(&mut self, step: &Step) -> Outcome {
        if step.user == 0 {
            return self.call(&step.call);
        }
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                become_user(step.user);
                self.call(&step.call)
            });
            thread.join().expect("the call returns")
        })
    }

    fn call(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Open(slot, path, flags, mode) => self.open(*slot, path, *flags, *mode),
            Call::Close(slot) => {
                self.open[*slot] = None;
                Ok(Answer::Done)
            }
            Call::Read(..)
            | Call::Write(..)
            | Call::SetLen(..)
            | Call::WriteFar(..)
            | Call::Allocate(..)
            | Call::Copy(..)
            | Call::WriteMapped(..)
            | Call::Sync(..)
            | Call::StatOpen(..)
            | Call::ChmodOpen(..) => self.on_open_file(call),
            Call::MakeDir(..)
            | Call::RemoveDir(..)
            | Call::Unlink(..)
            | Call::Rename(..)
            | Call::Link(..)
            | Call::Symlink(..)
            | Call::MakeNode(..) => self.on_names(call).map(|()| Answer::Done),
            Call::SyncAll => done(rustix::fs::fsync(&self.root)),
            Call::ReadLink(..)
            | Call::Xattr(..)
            | Call::Xattrs(..)
            | Call::List(..)
            | Call::Stat(..)
            | Call::FileSystem(..) => self.look(call),
            _ => self.on_attributes(call).map(|()| Answer::Done),
        }
    }

    fn open(&mut self, slot: usize, path: &str, flags: OFlags, mode: u32) -> Outcome {
        // A pipe without another end must not hold the test up.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(mode))?;
        self.open[slot] = Some(file.into());
        Ok(Answer::Done)
    }

    fn on_open_file(&self, call: &Call) -> Outcome {
        let file = |slot: &usize| self.open[*slot].as_ref().ok_or(Errno::BADF);
        match call {
            Call::Read(slot, offset, len) => read(file(slot)?, *offset, *len),
            Call::Write(slot, offset, len, fill) => {
                let bytes = pattern(*fill, *len);
                let written = file(slot)?.write_at(&bytes, *offset);
                written.map(Answer::Len).map_err(errno)
            }
            Call::SetLen(slot, len) => done(rustix::fs::ftruncate(file(slot)?, *len)),
            Call::WriteFar(slot, offset, fill) => write_far(file(slot)?, *offset, *fill),
            Call::Allocate(slot, how, offset, len) => {
                done(rustix::fs::fallocate(file(slot)?, *how, *offset, *len))
            }
            Call::Copy((from, offset), (to, at), len) => {
                copy((file(from)?, *offset), (file(to)?, *at), *len)
            }
            Call::WriteMapped(slot, offset, len, fill) => {
                done(mapped::write(file(slot)?, *offset, &pattern(*fill, *len)))
            }
            Call::Sync(slot, true) => done(rustix::fs::fdatasync(file(slot)?)),
            Call::Sync(slot, false) => done(rustix::fs::fsync(file(slot)?)),
            Call::ChmodOpen(slot, mode) => {
                done(rustix::fs::fchmod(file(slot)?, Mode::from_raw_mode(*mode)))
            }
            Call::StatOpen(slot) => {
                let stat = rustix::fs::fstat(file(slot)?)?;
                Ok(Answer::Attributes(Attributes::of(&stat)))
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn on_names(&self, call: &Call) -> Result<(), Errno> {
        let root = &self.root;
        match call {
            Call::MakeDir(path, mode) => {
                rustix::fs::mkdirat(root, path, Mode::from_raw_mode(*mode))
            }
            Call::RemoveDir(path) => rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR),
            Call::Unlink(path) => rustix::fs::unlinkat(root, path, AtFlags::empty()),
            Call::Rename(from, to, how) => rustix::fs::renameat_with(root, from, root, to, *how),
            Call::Link(from, to) => rustix::fs::linkat(root, from, root, to, AtFlags::empty()),
            Call::Symlink(target, path) => rustix::fs::symlinkat(target, root, path),
            Call::MakeNode(path, kind, mode) => {
                // The null device: harmless to a program that opens it.
                let device = match kind {
                    FileType::CharacterDevice | FileType::BlockDevice => rustix::fs::makedev(1, 3),
                    _ => 0,
                };
                rustix::fs::mknodat(root, path, *kind, Mode::from_raw_mode(*mode), device)
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn on_attributes(&self, call: &Call) -> Result<(), Errno> {
        let root = &self.root;
        match call {
            Call::Truncate(path, len) => truncate(&self.reach(path), *len),
            Call::Chmod(path, mode) => {
                rustix::fs::chmodat(root, path, Mode::from_raw_mode(*mode), AtFlags::empty())
            }
            Call::Chown(path, user, group) => {
                let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
                rustix::fs::chownat(root, path, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
            Call::SetTimes(path, access, change) => {
                let times = Timestamps {
                    last_access: timespec(*access),
                    last_modification: timespec(*change),
                };
                rustix::fs::utimensat(root, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
            Call::SetXattr(path, key, len, how) => {
                rustix::fs::lsetxattr(self.reach(path), *key, &pattern(7, *len), *how)
            }
            Call::RemoveXattr(path, key) => rustix::fs::lremovexattr(self.reach(path), *key),
            Call::MayAccess(path, access) => {
                rustix::fs::accessat(root, path, *access, AtFlags::EACCESS)
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn look(&self, call: &Call) -> Outcome {
        let root = &self.root;
        match call {
            Call::ReadLink(path) => {
                let target = rustix::fs::readlinkat(root, path, Vec::new())?;
                Ok(Answer::Bytes(target.into_bytes()))
            }
            Call::Xattr(path, key) => {
                let mut value = vec![0; 65_536];
                let len = rustix::fs::lgetxattr(self.reach(path), *key, &mut value)?;
                value.truncate(len);
                Ok(Answer::Bytes(value))
            }
            Call::Xattrs(path) => {
                let mut names = vec![0; 65_536];
                let len = rustix::fs::llistxattr(self.reach(path), &mut names)?;
                let names = names[..len].split(|byte| *byte == 0);
                let mut names: Vec<_> = names
                    .filter(|name| is_compared(name))
                    .map(<[u8]>::to_vec)
                    .collect();
                names.sort_unstable();
                Ok(Answer::Names(names))
            }
            Call::List(path) => list(root, path),
            Call::Stat(path, follows) => {
                let flags = if *follows {
                    AtFlags::empty()
                } else {
                    AtFlags::SYMLINK_NOFOLLOW
                };
                let stat = rustix::fs::statat(root, path, flags)?;
                Ok(Answer::Attributes(Attributes::of(&stat)))
            }
            Call::FileSystem(path) => {
                let space = rustix::fs::statvfs(self.reach(path))?;
                // Everything else is a matter of the file system.
                Ok(Answer::Len(
                    usize::try_from(space.f_namemax).expect("a small number"),
                ))
            }
            _ => Err(Errno::NOSYS),
        }
    }

    /// Returns a path for calls that take no directory: shorter than any limit, and open to users
    /// who could not go there from `/`.
    fn reach(&self, path: &str) -> String {
        format!("/proc/self/fd/{}/{path}", self.root.as_raw_fd())
    }
}

impl Attributes {
    fn of(stat: &Stat) -> Self {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_set = stat.st_mtime < CLOCK_FROM;
        Self {
            mode: comparable_mode(stat.st_mode),
            owner: (stat.st_uid, stat.st_gid),
            size: if is_directory { 0 } else { stat.st_size },
            nlink: if is_directory { 1 } else { stat.st_nlink },
            rdev: stat.st_rdev,
            mtime: is_set.then(|| (stat.st_mtime, nanos(stat.st_mtime_nsec))),
        }
    }
}

/// Returns a mode without setgid where the group may not run a file: the kernel clears that on a
/// write by a user outside the group, and FUSE tells no daemon which users are in a group.
pub(crate) fn comparable_mode(mode: u32) -> u32 {
    let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
    if is_file && mode & 0o010 == 0 {
        mode & !0o2000
    } else {
        mode
    }
}

fn nanos(nanos: impl TryInto<i64>) -> i64 {
    nanos.try_into().unwrap_or(i64::MAX)
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map(|()| Answer::Done)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn copy((from, offset): (&File, u64), (to, at): (&File, u64), len: usize) -> Outcome {
    let (mut offset, mut at, mut copied) = (offset, at, 0);
    while copied < len {
        let (from_at, to_at) = (Some(&mut offset), Some(&mut at));
        match rustix::fs::copy_file_range(from, from_at, to, to_at, len - copied)? {
            0 => break,
            more => copied += more,
        }
    }
    Ok(Answer::Len(copied))
}

fn write_far(file: &File, offset: u64, fill: u8) -> Outcome {
    let len = u64::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| Errno::OVERFLOW)?;
    file.write_at(&[fill], offset).map_err(errno)?;
    let far = rustix::fs::fstat(file)?.st_size;
    let bytes = read(file, offset.saturating_sub(1), 4);
    rustix::fs::ftruncate(file, len)?;
    let Answer::Bytes(bytes) = bytes? else {
        return Err(Errno::NOSYS);
    };
    Ok(Answer::Bytes([&far.to_be_bytes(), &*bytes].concat()))
}

fn read(file: &File, offset: u64, len: usize) -> Outcome {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) => return Err(errno(error)),
        }
    }
    bytes.truncate(filled);
    Ok(Answer::Bytes(bytes))
}

/// Labels of a security module are the machine's own. The root names its version here, which a local
/// directory does not.
pub(crate) fn is_compared(name: &[u8]) -> bool {
    let is_ours = [&b"user."[..], b"trusted.", b"security.other"];
    is_ours.iter().any(|start| name.starts_with(start)) && name != b"user.lfsfs.version"
}

fn list(root: &OwnedFd, path: &str) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(root, path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(dir.as_fd())? {
        names.push(entry?.file_name().to_bytes().to_vec());
    }
    names.sort_unstable();
    Ok(Answer::Names(names))
}

fn truncate(path: &str, len: u64) -> Result<(), Errno> {
    let path = std::ffi::CString::new(path).expect("a path without NUL");
    let len = i64::try_from(len).expect("a small number");
    #[expect(unsafe_code, reason = "rustix has no truncate by path")]
    // SAFETY: the path is a C string that lives over the call.
    let result = unsafe { libc::truncate64(path.as_ptr(), len) };
    match result {
        0 => Ok(()),
        _ => Err(errno(std::io::Error::last_os_error())),
    }
}

fn timespec(time: Time) -> Timespec {
    let (tv_sec, tv_nsec) = match time {
        Time::At(seconds, nanos) => (seconds, nanos),
        Time::Now => (0, rustix::fs::UTIME_NOW),
        Time::Omit => (0, rustix::fs::UTIME_OMIT),
    };
    Timespec { tv_sec, tv_nsec }
}

/// Makes this thread one of another user, for ever.
fn become_user(user: u32) {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[gid]).expect("root can");
    set_thread_res_gid(gid, gid, gid).expect("root can");
    set_thread_res_uid(uid, uid, uid).expect("root can");
}

/// Returns bytes that tell where they stand.
fn pattern(fill: u8, len: usize) -> Vec<u8> {
    let byte = |at: usize| fill.wrapping_add(u8::try_from(at % 251).expect("below 256"));
    (0..len).map(byte).collect()
}
