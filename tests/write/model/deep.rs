//! A tree that lies so deep in a mount that its paths come to the longest that there can be. The local
//! directory beside it does not lie deep and has no such end, so what would go beyond is worked out here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfsfs_types::limits::{NAME_LEN_MAX, PATH_LEN_MAX};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps,
};
use rustix::io::Errno;

use super::call::{Call, Side};

/// What is left for the paths of the tree: the first tree has room in it, and calls come to its end.
pub(crate) const ROOM: usize = 70;

/// How many symbolic links are followed to where a file is made.
const LINKS_MAX: usize = 40;

/// Where in a directory the tree of a side lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At its top.
    Top,
    /// So deep that [`ROOM`] bytes are left.
    Deep,
}

impl Depth {
    /// Returns how many bytes the paths of the tree can have, if calls can come to that.
    pub(crate) fn room(self) -> Option<usize> {
        match self {
            Self::Top => None,
            Self::Deep => Some(ROOM),
        }
    }

    /// Returns the names of the directories above the tree, each with the slash behind it.
    fn names(self) -> Vec<String> {
        let mut rest = match self {
            Self::Top => 0,
            Self::Deep => PATH_LEN_MAX - ROOM,
        };
        let mut names = Vec::new();
        while rest > 0 {
            // None is left with a slash and no name.
            let len = match rest {
                len if len <= NAME_LEN_MAX + 1 => len,
                len => (NAME_LEN_MAX + 1).min(len - 2),
            };
            names.push("d".repeat(len - 1));
            rest -= len;
        }
        names
    }

    /// Opens the directory of the tree.
    pub(crate) fn open(self, top: &Path) -> Opened {
        let mut dir = open_directory(CWD, top.as_os_str()).expect("the top of a side");
        for name in self.names() {
            dir = open_directory(&dir, name.as_ref()).expect("a directory above the tree");
        }
        Opened::new(dir)
    }

    /// Makes the directories above the tree, and moves there what the top has.
    pub(crate) fn bury(self, top: &Path) {
        let top = open_directory(CWD, top.as_os_str()).expect("the top of a side");
        let tree = entries(&top).expect("the tree");
        let names = self.names();
        let mut dir = top.try_clone().expect("a descriptor");
        for name in &names {
            rustix::fs::mkdirat(&dir, name.as_str(), Mode::from_raw_mode(0o777))
                .expect("a directory above the tree");
            dir = open_directory(&dir, name.as_ref()).expect("a directory above the tree");
        }
        if names.is_empty() {
            return;
        }
        let root = rustix::fs::fstat(&top).expect("attributes");
        for name in &tree {
            let name = OsStr::from_bytes(name);
            rustix::fs::renameat(&top, name, &dir, name).expect("a part of the tree moves");
        }
        make_like(&dir, &root);
    }
}

/// The open directory of a tree. Nothing can be unmounted as long as it is there.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    _dir: OwnedFd,
}

impl Opened {
    fn new(dir: OwnedFd) -> Self {
        // Not the link itself, which a path without the dot would name.
        let path = PathBuf::from(format!("/proc/self/fd/{}/.", dir.as_raw_fd()));
        Self { path, _dir: dir }
    }

    /// Returns a short path to the tree, of this process.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives a directory the mode and the times of another one.
fn make_like(dir: &OwnedFd, root: &Stat) {
    let time = |seconds, nanos| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).expect("below a second"),
    };
    let times = Timestamps {
        last_access: time(root.st_atime, root.st_atime_nsec),
        last_modification: time(root.st_mtime, root.st_mtime_nsec),
    };
    rustix::fs::fchmod(dir, Mode::from_raw_mode(root.st_mode)).expect("a mode");
    rustix::fs::futimens(dir, &times).expect("times");
}

/// Returns true if a call makes a path of more than `room` bytes where it succeeds.
pub(crate) fn is_beyond(side: &Side, call: &Call, room: usize) -> bool {
    let root = side.root();
    let len = match call {
        Call::MakeDir(path, _)
        | Call::MakeNode(path, ..)
        | Call::Symlink(_, path)
        | Call::Link(_, path) => len_of(root, path),
        Call::Open(_, path, flags, _) if flags.contains(OFlags::CREATE) => {
            let follows = !flags.intersects(OFlags::EXCL | OFlags::NOFOLLOW);
            len_of(root, &end_of(root, path, follows))
        }
        Call::Rename(from, to, how) => len_after_rename(root, (from, to), *how),
        _ => return false,
    };
    // What is not there is not made, and a tree has no path beyond.
    len.is_ok_and(|len| len > room)
}

/// Returns the longest path of what a rename moves, after it.
fn len_after_rename(
    root: &OwnedFd,
    (from, to): (&str, &str),
    how: RenameFlags,
) -> Result<usize, Errno> {
    let (from_len, to_len) = (len_of(root, from)?, len_of(root, to)?);
    let mut len = to_len + len_below(root.as_fd(), OsStr::new(from))?;
    if how.contains(RenameFlags::EXCHANGE) {
        len = len.max(from_len + len_below(root.as_fd(), OsStr::new(to))?);
    }
    Ok(len)
}

/// Returns the length of the path of a name, as it is without symbolic links on the way.
fn len_of(root: &OwnedFd, path: &str) -> Result<usize, Errno> {
    let (parent, name) = split(path);
    let real = |dir: &OwnedFd| {
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        rustix::fs::readlinkat(CWD, link, Vec::new()).map(|path| path.as_bytes().len())
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(root, parent, flags, Mode::empty())?;
    // Where a link leads out of the tree, nothing of that is in it.
    let above = real(&parent)?.saturating_sub(real(root)?);
    // The path of the directory begins with the slash behind the root, which counts for that of the name.
    Ok(above + name.len())
}

/// Returns the path that opening a path makes a file at.
fn end_of(root: &OwnedFd, path: &str, follows: bool) -> String {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let target = rustix::fs::readlinkat(root, path.as_str(), Vec::new());
        let Some(target) = target.ok().filter(|_| follows) else {
            break;
        };
        let (parent, _) = split(&path);
        path = format!("{parent}/{}", target.to_string_lossy());
    }
    path
}

/// Returns how much longer than the path of an object the longest path below it is.
fn len_below(dir: impl AsFd, name: &OsStr) -> Result<usize, Errno> {
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(0);
    }
    let dir = open_directory(dir, name)?;
    let mut longest = 0;
    for name in entries(&dir)? {
        let below = len_below(&dir, OsStr::from_bytes(&name))?;
        longest = longest.max(1 + name.len() + below);
    }
    Ok(longest)
}

fn entries(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&*name, b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn open_directory(at: impl AsFd, path: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// Splits a path into that of the directory and the name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}
