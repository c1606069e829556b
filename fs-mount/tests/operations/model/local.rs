//! The local directory: plain system calls.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use lfsfs_testkit::tempdir::ThreadDir;
use rustix::fs::{
    AtFlags, CWD, Dev, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec,
    Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::base::{self, Entry, noise};
use super::{Fallocate, Outcome, Rename, Seen, Special, Step, Tree, Value, Xattr};

pub(super) struct Local {
    dir: ThreadDir,
    handles: [Option<File>; 3],
}

fn io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap()
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map(|()| Value::Done)
}

fn bits(mode: u16) -> Mode {
    Mode::from_raw_mode(u32::from(mode))
}

impl Local {
    pub(super) fn new() -> Self {
        rustix::process::umask(Mode::empty());
        let dir = ThreadDir::new().unwrap();
        let local = Self {
            dir,
            handles: Default::default(),
        };
        for (path, entry) in base::entries() {
            local.prepare(path, &entry);
        }
        for (path, entry) in base::entries().into_iter().rev() {
            local.prepare_times(path, &entry);
        }
        local.own("", 1000, 1000, 0o755);
        local
    }

    fn prepare(&self, path: &str, entry: &Entry) {
        let at = self.path(path);
        match entry {
            Entry::Directory { mode, gid } => {
                fs::create_dir(&at).unwrap();
                self.own(path, 1000, *gid, *mode);
            }
            Entry::File { bytes, .. } => {
                fs::write(&at, bytes).unwrap();
                self.own(path, 1000, 1000, 0o644);
            }
            Entry::Link { to } => fs::hard_link(self.path(to), &at).unwrap(),
            Entry::Symlink { target } => {
                std::os::unix::fs::symlink(target, &at).unwrap();
                std::os::unix::fs::lchown(&at, Some(1000), Some(1000)).unwrap();
            }
        }
    }

    fn prepare_times(&self, path: &str, _: &Entry) {
        self.times(path, base::TIME.0, base::TIME.1.into()).unwrap();
    }

    fn own(&self, path: &str, uid: u32, gid: u32, mode: u16) {
        std::os::unix::fs::chown(self.path(path), Some(uid), Some(gid)).unwrap();
        rustix::fs::chmod(self.path(path), bits(mode)).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn times(&self, path: &str, secs: i64, nanos: i64) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: secs,
                tv_nsec: nanos,
            },
        };
        rustix::fs::utimensat(CWD, self.path(path), &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens a regular file; anything else gives the error that ours is expected to give.
    fn file(&self, path: &str, flags: OFlags) -> Result<File, Errno> {
        let at = self.path(path);
        let kind = fs::symlink_metadata(&at).map_err(|it| io(&it))?.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Err(Errno::NXIO);
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&at, flags, Mode::empty())?;
        Ok(opened.into())
    }

    fn handle(&self, slot: usize) -> Result<&File, Errno> {
        self.handles[slot].as_ref().ok_or(Errno::BADF)
    }

    pub(super) fn step(&mut self, step: &Step, seed: u64) -> Outcome {
        match step {
            Step::Open(path, slot) => {
                self.handles[*slot] = None;
                self.handles[*slot] = Some(self.file(path, OFlags::RDWR)?);
                Ok(Value::Done)
            }
            Step::Close(slot) => {
                self.handles[*slot] = None;
                Ok(Value::Done)
            }
            Step::Remount => {
                self.handles = Default::default();
                Ok(Value::Done)
            }
            Step::Sync => Ok(Value::Done),
            Step::HandleWrite(slot, offset, len) => write(self.handle(*slot)?, *offset, *len, seed),
            Step::HandleRead(slot, offset, len) => read(self.handle(*slot)?, *offset, *len),
            Step::HandleTruncate(slot, size) => {
                done(rustix::fs::ftruncate(self.handle(*slot)?, *size))
            }
            Step::HandleStat(slot) => {
                let found = self.handle(*slot)?.metadata().map_err(|it| io(&it))?;
                let mode = u16::try_from(found.mode() & 0o7777).unwrap();
                let nlink = u32::try_from(found.nlink()).unwrap();
                Ok(Value::Stat(found.size(), nlink, mode))
            }
            step => self.by_path(step, seed),
        }
    }

    fn by_path(&self, step: &Step, seed: u64) -> Outcome {
        match step {
            Step::Write(path, offset, len) => {
                write(&self.file(path, OFlags::WRONLY)?, *offset, *len, seed)
            }
            Step::Read(path, offset, len) => read(&self.file(path, OFlags::RDONLY)?, *offset, *len),
            Step::Truncate(path, size) => done(rustix::fs::ftruncate(
                self.file(path, OFlags::WRONLY)?,
                *size,
            )),
            Step::Fallocate(path, offset, len, mode) => {
                let mode = match mode {
                    Fallocate::Extend => FallocateFlags::empty(),
                    Fallocate::KeepSize => FallocateFlags::KEEP_SIZE,
                    Fallocate::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    Fallocate::ZeroRange => FallocateFlags::ZERO_RANGE,
                    Fallocate::ZeroRangeKeepSize => {
                        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE
                    }
                };
                let file = self.file(path, OFlags::WRONLY)?;
                done(rustix::fs::fallocate(file, mode, *offset, *len))
            }
            Step::Copy(from, offset, to, at, len) => {
                let from = self.file(from, OFlags::RDONLY)?;
                let to = self.file(to, OFlags::WRONLY)?;
                copy(&from, *offset, &to, *at, *len)
            }
            Step::Chmod(path, mode) => {
                // There is no chmod of a symbolic link.
                if self.path(path).is_symlink() {
                    return Err(Errno::OPNOTSUPP);
                }
                done(rustix::fs::chmod(self.path(path), bits(*mode)))
            }
            Step::Chown(path, uid, gid) => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                if (uid, gid) == (None, None) {
                    return Ok(Value::Done);
                }
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                done(rustix::fs::chownat(CWD, self.path(path), uid, gid, flags))
            }
            Step::Utimes(path, secs) => done(self.times(path, *secs, 77)),
            Step::Readlink(path) => {
                let target = rustix::fs::readlink(self.path(path), Vec::new())?;
                Ok(Value::Bytes(target.into_bytes()))
            }
            Step::SetXattr(..) | Step::RemoveXattr(..) | Step::Xattrs(..) => self.xattrs(step),
            step => self.names(step),
        }
    }

    fn xattrs(&self, step: &Step) -> Outcome {
        match step {
            Step::SetXattr(path, name, value, mode) => {
                let flags = match mode {
                    Xattr::Set => XattrFlags::empty(),
                    Xattr::Create => XattrFlags::CREATE,
                    Xattr::Replace => XattrFlags::REPLACE,
                };
                let (name, value) = (base::XATTRS[*name], base::value(*value));
                done(rustix::fs::lsetxattr(self.path(path), name, &value, flags))
            }
            Step::RemoveXattr(path, name) => done(rustix::fs::lremovexattr(
                self.path(path),
                base::XATTRS[*name],
            )),
            Step::Xattrs(path) => {
                let mut buffer = [0; 4096];
                let at = self.path(path);
                let len = rustix::fs::llistxattr(&at, &mut buffer[..])?;
                let mut names = Vec::new();
                let listed = buffer[..len].split(|byte| *byte == 0);
                for name in listed.filter(|it| !it.is_empty()) {
                    let name = String::from_utf8(name.to_vec()).unwrap();
                    let mut value = [0; 4096];
                    let len = rustix::fs::lgetxattr(&at, &*name, &mut value[..])?;
                    names.push((name, value[..len].to_vec()));
                }
                names.sort();
                Ok(Value::Names(names))
            }
            step => panic!("{step:?}"),
        }
    }

    fn names(&self, step: &Step) -> Outcome {
        match step {
            Step::Create(path, mode, exclusive) => {
                let at = self.path(path);
                let kind = fs::symlink_metadata(&at).map(|it| it.file_type());
                let special =
                    kind.is_ok_and(|it| !(it.is_file() || it.is_dir() || it.is_symlink()));
                if special && !exclusive {
                    return Err(Errno::NXIO);
                }
                let mut flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW;
                flags.set(OFlags::EXCL, *exclusive);
                let opened = rustix::fs::open(at, flags | OFlags::CLOEXEC, bits(*mode));
                done(opened.map(drop))
            }
            Step::Mkdir(path, mode) => done(rustix::fs::mkdir(self.path(path), bits(*mode))),
            Step::Symlink(path) => done(rustix::fs::symlink("nowhere", self.path(path))),
            Step::Mknod(path, special) => {
                let (kind, device) = match special {
                    Special::Fifo => (FileType::Fifo, 0),
                    Special::Socket => (FileType::Socket, 0),
                    Special::Null => (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
                };
                let device: Dev = device;
                done(rustix::fs::mknodat(
                    CWD,
                    self.path(path),
                    kind,
                    bits(0o640),
                    device,
                ))
            }
            Step::Link(from, to) => done(rustix::fs::link(self.path(from), self.path(to))),
            Step::Unlink(path) => done(rustix::fs::unlink(self.path(path))),
            Step::Rmdir(path) => done(rustix::fs::rmdir(self.path(path))),
            Step::Rename(from, to, mode) => {
                let flags = match mode {
                    Rename::Replace => RenameFlags::empty(),
                    Rename::NoReplace => RenameFlags::NOREPLACE,
                    Rename::Exchange => RenameFlags::EXCHANGE,
                };
                let (from, to) = (self.path(from), self.path(to));
                done(rustix::fs::renameat_with(CWD, from, CWD, to, flags))
            }
            step => panic!("{step:?}"),
        }
    }

    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        see(self.dir.path(), String::new(), &mut tree);
        tree
    }
}

fn see(at: &Path, path: String, tree: &mut Tree) {
    let found = fs::symlink_metadata(at).unwrap();
    if found.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let slash = if path.is_empty() { "" } else { "/" };
            see(&at.join(&name), format!("{path}{slash}{name}"), tree);
        }
    }
    let kind = match FileType::from_raw_mode(found.mode()) {
        FileType::Directory => 'd',
        FileType::RegularFile => 'f',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        _ => 'c',
    };
    let nanos = |nanos: i64| u32::try_from(nanos).unwrap();
    let seen = Seen {
        ino: found.ino(),
        kind,
        mode: u16::try_from(found.mode() & 0o7777).unwrap(),
        uid: found.uid(),
        gid: found.gid(),
        size: if kind == 'd' { 0 } else { found.size() },
        nlink: if kind == 'd' {
            1
        } else {
            u32::try_from(found.nlink()).unwrap()
        },
        rdev: u32::try_from(found.rdev()).unwrap(),
        mtime: (found.mtime(), nanos(found.mtime_nsec())),
        ctime: (found.ctime(), nanos(found.ctime_nsec())),
    };
    tree.insert(path, seen);
}

fn copy(from: &File, offset: u64, to: &File, at: u64, len: u32) -> Outcome {
    // What the file has now: a copy into itself may make it longer.
    let size = from.metadata().map_err(|error| io(&error))?.len();
    let has = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (mut offset, mut at, mut left) = (offset, at, has.min(len as usize));
    loop {
        let (from_at, to_at) = (Some(&mut offset), Some(&mut at));
        match rustix::fs::copy_file_range(from, from_at, to, to_at, left)? {
            0 => return Ok(Value::Done),
            copied => left -= copied,
        }
    }
}

fn write(file: &File, offset: u64, len: u32, seed: u64) -> Outcome {
    let data = noise(seed, len as usize);
    file.write_all_at(&data, offset).map_err(|it| io(&it))?;
    Ok(Value::Done)
}

fn read(file: &File, offset: u64, len: u32) -> Outcome {
    let mut data = vec![0; len as usize];
    let mut filled = 0;
    loop {
        let part = file.read_at(&mut data[filled..], offset + filled as u64);
        match part.map_err(|it| io(&it))? {
            0 => break,
            part => filled += part,
        }
    }
    data.truncate(filled);
    Ok(Value::Bytes(data))
}
