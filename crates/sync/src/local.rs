//! The directory on disk: entries and their attributes, relative to open directories, so that no
//! path is too long and none is followed.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use lfsfs_types::{Name, ObjectPath, Timestamp};
use rustix::fs::{
    self, AtFlags, Dir, FileType, FsWord, Mode, OFlags, ResolveFlags, Stat, StatxFlags,
};
use rustix::io::Errno;

/// What stat tells of an entry, in the types of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalStat {
    pub(crate) kind: FileType,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) nlink: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
}

/// The numbers that name a file on this machine, as far as its file system can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl LocalStat {
    pub(crate) const fn identity(&self) -> FileIdentity {
        FileIdentity {
            device: self.device,
            inode: self.inode,
        }
    }

    fn new(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            device: stat.st_dev,
            inode: stat.st_ino,
            nlink: stat.st_nlink,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: timestamp(stat.st_mtime, stat.st_mtime_nsec),
            ctime: timestamp(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Returns true if no program has changed the file between the two looks at it.
    pub(crate) fn untouched_since(&self, earlier: &Self) -> bool {
        (self.size, self.mtime, self.ctime) == (earlier.size, earlier.mtime, earlier.ctime)
    }
}

fn timestamp(secs: i64, nanos: impl TryInto<u32>) -> Timestamp {
    Timestamp {
        secs,
        nanos: nanos.try_into().unwrap_or(0).min(999_999_999),
    }
    .clamped()
}

/// An open directory.
pub(crate) type DirHandle = Arc<OwnedFd>;

/// Opens the directory to import.
pub(crate) fn open_root(path: &Path) -> Result<DirHandle, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).map(Arc::new)
}

/// Opens a directory in a directory.
pub(crate) fn open_dir(parent: &DirHandle, name: &Name) -> Result<DirHandle, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name.as_bytes(), flags, Mode::empty()).map(Arc::new)
}

/// Opens a directory below another by its path: no link is followed and no way leads out. `also`
/// asks for more than that.
pub(crate) fn open_below(
    root: &DirHandle,
    path: &ObjectPath,
    also: ResolveFlags,
) -> Result<DirHandle, Errno> {
    if path.is_root() {
        return Ok(Arc::clone(root));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | also;
    loop {
        match fs::openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
            // Something was renamed while the way was looked for.
            Err(Errno::AGAIN) => {}
            opened => return opened.map(Arc::new),
        }
    }
}

/// Opens a file for reading. One that became a pipe meanwhile does not block.
pub(crate) fn open_file(parent: &DirHandle, name: &Name) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::openat(parent, name.as_bytes(), flags, Mode::empty()).map(File::from)
}

/// Returns what an open file or directory is now.
pub(crate) fn stat(file: impl AsFd) -> Result<LocalStat, Errno> {
    fs::fstat(file).map(|stat| LocalStat::new(&stat))
}

/// Returns when an entry was made, where the file system knows.
pub(crate) fn birth(parent: &DirHandle, name: &Name) -> Option<Timestamp> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = fs::statx(parent, name.as_bytes(), flags, StatxFlags::BTIME).ok()?;
    let is_known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    is_known.then(|| timestamp(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// Returns the target of a symbolic link.
pub(crate) fn read_link(parent: &DirHandle, name: &Name) -> Result<Box<[u8]>, Errno> {
    let target = fs::readlinkat(parent, name.as_bytes(), Vec::new())?;
    Ok(target.into_bytes().into())
}

/// Returns what an entry is, or `None` if there is none.
pub(crate) fn stat_entry(parent: &DirHandle, name: &Name) -> Result<Option<LocalStat>, Errno> {
    match fs::statat(parent, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(LocalStat::new(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns true if there is no such entry any more: a worker that failed to read it reports no problem.
pub(crate) fn is_gone(parent: &DirHandle, name: &Name) -> bool {
    let stat = fs::statat(parent, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW);
    matches!(stat, Err(Errno::NOENT))
}

/// An entry of a local directory, or why it cannot be looked at.
pub(crate) type LocalEntry = (Name, Result<LocalStat, Errno>);

/// Returns the entries of a directory in the order of their names.
pub(crate) fn read_dir(dir: &DirHandle) -> Result<Vec<LocalEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        // Only "." and ".." are no names of entries.
        let Ok(name) = Name::new(entry.file_name().to_bytes()) else {
            continue;
        };
        match fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => entries.push((name, Ok(LocalStat::new(&stat)))),
            // It was removed since; then it is not there.
            Err(Errno::NOENT) => {}
            Err(error) => entries.push((name, Err(error))),
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Returns true if an error tells of the machine, its disk or the way to a file system, and nothing
/// of the entry that was looked at: the next entry would fail in the same way.
pub(crate) const fn is_of_the_machine(error: Errno) -> bool {
    matches!(
        error,
        Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::IO
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::NODEV
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::CONNABORTED
            | Errno::SHUTDOWN
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::REMOTEIO
    )
}

/// Returns true if numbers of inodes on a file system name one file each. Those that join others
/// (overlays, virtual machines' shared directories, networks) may give one number to two files.
pub(crate) fn has_true_numbers(dir: &DirHandle) -> bool {
    /// `f_type` of local file systems, as statfs(2) lists them.
    const LOCAL: [FsWord; 15] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683e, // btrfs
        0x0102_1994, // tmpfs
        0x8584_58f6, // ramfs
        0xf2f5_2010, // F2FS
        0x2fc1_2fc1, // ZFS
        0xca45_1a4e, // bcachefs
        0xe0f5_e1e2, // EROFS
        0x7371_7368, // squashfs
        0x3153_464a, // JFS
        0x5265_4973, // reiserfs
        0x0000_3434, // NILFS
        0x0000_9660, // ISO 9660
        0x1501_3346, // UDF
    ];
    fs::fstatfs(dir).is_ok_and(|found| LOCAL.contains(&(found.f_type & 0xffff_ffff)))
}
