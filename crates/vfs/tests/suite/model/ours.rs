//! The writable version: each path is walked as a kernel does, and what was looked up is forgotten.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_remote::MemoryRemote;
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::Timestamp;
use lfsfs_vfs::{
    Allocation, Attr, Existing, FileKind, Privileges, RenameMode, SetAttr, SetTime, SpecialFile,
    VfsError, WritableVfs, XattrMode,
};
use rustix::io::Errno;

use super::local::libc_numbers::{EBADF, ENXIO, EOPNOTSUPP};
use super::{Answer, Fallocate, Outcome, Rename, Seen, Special, Step, Tree, Xattr};
use crate::support::{CHUNK_LEN, noise};
use crate::writable_support::{self as base, Machine, OWNER, ROOT};

pub(super) struct Ours {
    machine: Machine,
    vfs: Option<WritableVfs>,
    /// Each holds one lookup.
    handles: [Option<u64>; 3],
}

/// What one call looked up, children last.
type Looked = Vec<u64>;

fn number(error: VfsError) -> i32 {
    let errno = match error {
        VfsError::NotFound => Errno::NOENT,
        VfsError::NotDirectory => Errno::NOTDIR,
        VfsError::IsDirectory => Errno::ISDIR,
        VfsError::NameTooLong => Errno::NAMETOOLONG,
        VfsError::NoAttribute => Errno::NODATA,
        VfsError::Invalid => Errno::INVAL,
        VfsError::Exists => Errno::EXIST,
        VfsError::NotEmpty => Errno::NOTEMPTY,
        VfsError::NotPermitted => Errno::PERM,
        VfsError::FileTooLarge => Errno::FBIG,
        VfsError::NoSpace => Errno::NOSPC,
        error => panic!("{error:?}"),
    };
    errno.raw_os_error()
}

fn done<T>(result: Result<T, VfsError>) -> Outcome {
    result.map(|_| Answer::Done).map_err(number)
}

fn remote() -> Arc<MemoryRemote> {
    static REMOTE: OnceLock<Arc<MemoryRemote>> = OnceLock::new();
    let serve = || {
        let remote = MemoryRemote::new();
        remote.serve("app", 9, &base::tree(), CHUNK_LEN);
        remote
    };
    Arc::clone(REMOTE.get_or_init(serve))
}

impl Ours {
    pub(super) async fn new() -> Self {
        let machine = Machine {
            remote: remote(),
            dir: ThreadDir::in_memory().unwrap(),
            clock: Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000))),
        };
        let vfs = machine.mount().await;
        Self {
            machine,
            vfs: Some(vfs),
            handles: [None; 3],
        }
    }

    fn vfs(&self) -> &WritableVfs {
        self.vfs.as_ref().unwrap()
    }

    fn handle(&self, slot: usize) -> Result<u64, i32> {
        self.handles[slot].ok_or(EBADF)
    }

    fn close(&mut self, slot: usize) {
        if let Some(ino) = self.handles[slot].take() {
            self.vfs().forget(ino, 1);
        }
    }

    pub(super) async fn step(&mut self, step: &Step, seed: u64) -> Outcome {
        self.machine.clock.advance(Duration::from_millis(1));
        match step {
            Step::Remount => {
                (0..3).for_each(|slot| self.close(slot));
                self.vfs = None;
                self.vfs = Some(self.machine.mount().await);
                return Ok(Answer::Done);
            }
            Step::Close(slot) => {
                self.close(*slot);
                return Ok(Answer::Done);
            }
            Step::Open(_, slot) => self.close(*slot),
            _ => {}
        }
        let mut looked = Looked::new();
        let outcome = self.call(step, seed, &mut looked).await;
        if let (Step::Open(_, slot), Ok(_)) = (step, &outcome) {
            self.handles[*slot] = looked.pop();
        }
        for ino in looked.into_iter().rev() {
            self.vfs().forget(ino, 1);
        }
        outcome
    }

    async fn call(&self, step: &Step, seed: u64, looked: &mut Looked) -> Outcome {
        let vfs = self.vfs();
        match step {
            Step::Open(path, _) => self.file(path, looked).await.map(|_| Answer::Done),
            Step::Sync => done(vfs.syncfs().await),
            Step::HandleWrite(slot, offset, len) => {
                self.write(self.handle(*slot)?, *offset, *len, seed).await
            }
            Step::HandleRead(slot, offset, len) => {
                self.read(self.handle(*slot)?, *offset, *len).await
            }
            Step::HandleTruncate(slot, size) => self.truncate(self.handle(*slot)?, *size).await,
            Step::HandleStat(slot) => {
                let attr = vfs.getattr(self.handle(*slot)?).await.map_err(number)?;
                Ok(Answer::Stat(attr.size, attr.nlink, attr.mode))
            }
            Step::Write(path, offset, len) => {
                let ino = self.file(path, looked).await?;
                self.write(ino, *offset, *len, seed).await
            }
            Step::Read(path, offset, len) => {
                let attr = self.walk(path, looked).await?;
                let ino = match attr.kind {
                    FileKind::Directory => attr.ino,
                    _ => self.file(path, looked).await?,
                };
                self.read(ino, *offset, *len).await
            }
            Step::Truncate(path, size) => {
                let ino = self.file(path, looked).await?;
                self.truncate(ino, *size).await
            }
            Step::Fallocate(path, offset, len, mode) => {
                let ino = self.file(path, looked).await?;
                let mode = match mode {
                    Fallocate::Extend => Allocation::Extend,
                    Fallocate::KeepSize => Allocation::KeepSize,
                    Fallocate::PunchHole => Allocation::PunchHole,
                    Fallocate::ZeroRange => Allocation::ZeroRange,
                    Fallocate::ZeroRangeKeepSize => Allocation::ZeroRangeKeepSize,
                };
                done(
                    vfs.fallocate(ino, *offset, *len, mode, Privileges::Keep)
                        .await,
                )
            }
            step => self.attributes(step, looked).await,
        }
    }

    async fn attributes(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let vfs = self.vfs();
        match step {
            Step::Chmod(path, mode) => {
                let attr = self.walk(path, looked).await?;
                if attr.kind == FileKind::Symlink {
                    return Err(EOPNOTSUPP);
                }
                let mode = Some(*mode);
                done(
                    vfs.setattr(
                        attr.ino,
                        SetAttr {
                            mode,
                            ..SetAttr::default()
                        },
                    )
                    .await,
                )
            }
            Step::Chown(path, uid, gid) => {
                if (uid, gid) == (&None, &None) {
                    return Ok(Answer::Done);
                }
                let ino = self.walk(path, looked).await?.ino;
                let (uid, gid) = (*uid, *gid);
                done(
                    vfs.setattr(
                        ino,
                        SetAttr {
                            uid,
                            gid,
                            ..SetAttr::default()
                        },
                    )
                    .await,
                )
            }
            Step::Utimes(path, secs) => {
                let ino = self.walk(path, looked).await?.ino;
                let time = Timestamp {
                    secs: *secs,
                    nanos: 77,
                };
                let mtime = Some(SetTime::At(time));
                done(
                    vfs.setattr(
                        ino,
                        SetAttr {
                            mtime,
                            ..SetAttr::default()
                        },
                    )
                    .await,
                )
            }
            Step::Readlink(path) => {
                let ino = self.walk(path, looked).await?.ino;
                let target = vfs.readlink(ino).await.map_err(number)?;
                Ok(Answer::Bytes(target.to_vec()))
            }
            Step::SetXattr(..) | Step::RemoveXattr(..) | Step::Xattrs(..) => {
                self.xattrs(step, looked).await
            }
            step => self.names(step, looked).await,
        }
    }

    async fn xattrs(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let vfs = self.vfs();
        match step {
            Step::SetXattr(path, name, value, mode) => {
                let attr = self.walk(path, looked).await?;
                expect_user_xattrs(&attr)?;
                let mode = match mode {
                    Xattr::Set => XattrMode::Set,
                    Xattr::Create => XattrMode::Create,
                    Xattr::Replace => XattrMode::Replace,
                };
                let (name, value) = (base::XATTRS[*name].as_bytes(), base::value(*value));
                done(vfs.setxattr(attr.ino, name, &value, mode).await)
            }
            Step::RemoveXattr(path, name) => {
                let attr = self.walk(path, looked).await?;
                expect_user_xattrs(&attr)?;
                let name = base::XATTRS[*name].as_bytes();
                done(vfs.removexattr(attr.ino, name).await)
            }
            Step::Xattrs(path) => {
                let ino = self.walk(path, looked).await?.ino;
                self.all_xattrs(ino).await
            }
            step => panic!("{step:?}"),
        }
    }

    async fn all_xattrs(&self, ino: u64) -> Outcome {
        let vfs = self.vfs();
        let names = vfs.listxattr(ino).await.map_err(number)?;
        let mut found = Vec::new();
        for name in base::split(&names) {
            let value = vfs.getxattr(ino, name.as_bytes()).await.map_err(number)?;
            found.push((name, value.to_vec()));
        }
        found.sort();
        Ok(Answer::Names(found))
    }

    async fn names(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let vfs = self.vfs();
        match step {
            Step::Create(path, mode, exclusive) => {
                let (parent, name) = self.parent(path, looked).await?;
                let existing = if *exclusive {
                    Existing::Refuse
                } else {
                    Existing::Take
                };
                let made = vfs.create(parent, name, *mode, OWNER, existing).await;
                let attr = keep(made.map(|it| it.attr), looked)?;
                expect_openable(&attr).map(|()| Answer::Done)
            }
            Step::Mkdir(path, mode) => {
                let (parent, name) = self.parent(path, looked).await?;
                // The kernel passes no setuid and setgid on to any file system's mkdir.
                let made = vfs.mkdir(parent, name, *mode & 0o1777, OWNER).await;
                keep(made.map(|it| it.attr), looked).map(|_| Answer::Done)
            }
            Step::Symlink(path) => {
                let (parent, name) = self.parent(path, looked).await?;
                let made = vfs.symlink(parent, name, b"nowhere", OWNER).await;
                keep(made.map(|it| it.attr), looked).map(|_| Answer::Done)
            }
            Step::Mknod(path, special) => {
                let (parent, name) = self.parent(path, looked).await?;
                let kind = match special {
                    Special::Fifo => SpecialFile::Fifo,
                    Special::Socket => SpecialFile::Socket,
                    Special::Null => SpecialFile::CharDevice(0x103),
                };
                let made = vfs.mknod(parent, name, kind, 0o640, OWNER).await;
                keep(made.map(|it| it.attr), looked).map(|_| Answer::Done)
            }
            Step::Link(from, to) => {
                let ino = self.walk(from, looked).await?.ino;
                let (parent, name) = self.parent(to, looked).await?;
                let made = vfs.link(ino, parent, name).await;
                keep(made.map(|it| it.attr), looked).map(|_| Answer::Done)
            }
            Step::Unlink(path) => {
                let (parent, name) = self.parent(path, looked).await?;
                done(vfs.unlink(parent, name).await)
            }
            Step::Rmdir(path) => {
                let (parent, name) = self.parent(path, looked).await?;
                done(vfs.rmdir(parent, name).await)
            }
            Step::Rename(from, to, mode) => {
                let (parent, name) = self.parent(from, looked).await?;
                let (new_parent, new_name) = self.parent(to, looked).await?;
                let mode = match mode {
                    Rename::Replace => RenameMode::Replace,
                    Rename::NoReplace => RenameMode::NoReplace,
                    Rename::Exchange => RenameMode::Exchange,
                };
                done(vfs.rename(parent, name, new_parent, new_name, mode).await)
            }
            step => panic!("{step:?}"),
        }
    }

    /// Walks a path. Symbolic links point nowhere, so nothing is below them.
    async fn walk(&self, path: &str, looked: &mut Looked) -> Result<Attr, i32> {
        let mut attr = self.vfs().getattr(ROOT).await.map_err(number)?;
        for name in path.split('/').filter(|it| !it.is_empty()) {
            if attr.kind == FileKind::Symlink {
                return Err(Errno::NOENT.raw_os_error());
            }
            let found = self.vfs().lookup(attr.ino, name.as_bytes()).await;
            attr = keep(found.map(|it| it.attr), looked)?;
        }
        Ok(attr)
    }

    async fn parent<'p>(&self, path: &'p str, looked: &mut Looked) -> Result<(u64, &'p [u8]), i32> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let attr = self.walk(parent, looked).await?;
        match attr.kind {
            FileKind::Directory => Ok((attr.ino, name.as_bytes())),
            FileKind::Symlink => Err(Errno::NOENT.raw_os_error()),
            _ => Err(Errno::NOTDIR.raw_os_error()),
        }
    }

    async fn file(&self, path: &str, looked: &mut Looked) -> Result<u64, i32> {
        let attr = self.walk(path, looked).await?;
        expect_openable(&attr)?;
        Ok(attr.ino)
    }

    async fn write(&self, ino: u64, offset: u64, len: u32, seed: u64) -> Outcome {
        let data = noise(seed, len as usize);
        let written = self.vfs().write(ino, offset, &data, Privileges::Keep).await;
        assert!(written.as_ref().is_ok_and(|it| it.len == len) || written.is_err());
        done(written)
    }

    async fn read(&self, ino: u64, offset: u64, len: u32) -> Outcome {
        let bytes = self.vfs().read(ino, offset, len).await.map_err(number)?;
        Ok(Answer::Bytes(bytes.to_vec()))
    }

    async fn truncate(&self, ino: u64, size: u64) -> Outcome {
        let size = Some(size);
        done(
            self.vfs()
                .setattr(
                    ino,
                    SetAttr {
                        size,
                        ..SetAttr::default()
                    },
                )
                .await,
        )
    }

    /// Reads the whole tree by readdirplus, and takes back what that counted.
    pub(super) async fn tree(&self) -> Tree {
        let vfs = self.vfs();
        let root = vfs.getattr(ROOT).await.unwrap();
        let mut tree = Tree::from([(String::new(), seen(&root))]);
        let (mut open, mut counted) = (vec![(String::new(), ROOT)], Vec::new());
        while let Some((dir, ino)) = open.pop() {
            for (name, attr) in children(vfs, ino).await {
                assert_eq!(attr, vfs.getattr(attr.ino).await.unwrap());
                let path = format!("{dir}{name}");
                counted.push(attr.ino);
                if attr.kind == FileKind::Directory {
                    open.push((format!("{path}/"), attr.ino));
                }
                assert!(
                    tree.insert(path, seen(&attr)).is_none(),
                    "an entry came twice"
                );
            }
        }
        counted.into_iter().rev().for_each(|ino| vfs.forget(ino, 1));
        tree
    }
}

fn keep(result: Result<Attr, VfsError>, looked: &mut Looked) -> Result<Attr, i32> {
    let attr = result.map_err(number)?;
    looked.push(attr.ino);
    Ok(attr)
}

/// Fails as open does for what is no regular file.
fn expect_openable(attr: &Attr) -> Result<(), i32> {
    match attr.kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Errno::ISDIR.raw_os_error()),
        FileKind::Symlink => Err(Errno::LOOP.raw_os_error()),
        _ => Err(ENXIO),
    }
}

/// Fails as the kernel does where there are no attributes of users.
fn expect_user_xattrs(attr: &Attr) -> Result<(), i32> {
    match attr.kind {
        FileKind::File | FileKind::Directory => Ok(()),
        _ => Err(Errno::PERM.raw_os_error()),
    }
}

async fn children(vfs: &WritableVfs, ino: u64) -> Vec<(String, Attr)> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    loop {
        let before = offset;
        let mut room = 3;
        let mut take = |entry: lfsfs_vfs::DirEntry<'_>| {
            if room == 0 {
                return false;
            }
            room -= 1;
            offset = entry.offset;
            if let Some(attr) = entry.attr {
                entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), attr));
            }
            true
        };
        vfs.readdir(ino, before, true, &mut take).await.unwrap();
        if offset == before {
            return entries;
        }
    }
}

fn seen(attr: &Attr) -> Seen {
    let is_directory = attr.kind == FileKind::Directory;
    Seen {
        ino: attr.ino,
        kind: match attr.kind {
            FileKind::Directory => 'd',
            FileKind::File => 'f',
            FileKind::Symlink => 'l',
            FileKind::Fifo => 'p',
            FileKind::Socket => 's',
            _ => 'c',
        },
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        size: if is_directory { 0 } else { attr.size },
        nlink: attr.nlink,
        rdev: attr.rdev,
        mtime: (attr.mtime.secs, attr.mtime.nanos),
        ctime: (attr.ctime.secs, attr.ctime.nanos),
    }
}
