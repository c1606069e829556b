//! A mount without a kernel: each path is walked as a kernel does, by requests of the in-memory transport,
//! and what was looked up is forgotten.

use lfsfs_mount::Origin;
use lfsfs_mount::operations::{
    Answer, CopyRequest, EntryFound, FallocateRequest, Operations, Place, SetxattrRequest,
    WriteRequest, XattrFound,
};
use lfsfs_types::{Timestamp, nodeid};
use lfsfs_vfs::{Attr, FileKind, Privileges, SetAttr, SetTime};
use rustix::io::Errno;

use super::base::{self, Machine, noise};
use super::{Fallocate, Outcome, Rename, Seen, Special, Step, Tree, Value, Xattr};
use crate::memory_transport::{CALLER, answered, list};

const ROOT: u64 = nodeid::ROOT;

pub(super) struct Ours {
    machine: Machine,
    mount: Option<Operations>,
    /// Each holds one lookup.
    handles: [Option<u64>; 3],
}

/// What one call looked up, children last.
type Looked = Vec<u64>;

async fn done<T>(answer: Answer<T>) -> Outcome {
    answered(answer).await.map(|_| Value::Done)
}

impl Ours {
    pub(super) async fn new() -> Self {
        let machine = Machine::new();
        let mount = machine.mount().await;
        Self {
            machine,
            mount: Some(mount),
            handles: [None; 3],
        }
    }

    fn mount(&self) -> &Operations {
        self.mount.as_ref().unwrap()
    }

    fn handle(&self, slot: usize) -> Result<u64, Errno> {
        self.handles[slot].ok_or(Errno::BADF)
    }

    fn close(&mut self, slot: usize) {
        if let Some(ino) = self.handles[slot].take() {
            self.mount().forget(ino, 1);
        }
    }

    pub(super) async fn step(&mut self, step: &Step, seed: u64) -> Outcome {
        self.machine.tick();
        match step {
            Step::Remount => {
                (0..3).for_each(|slot| self.close(slot));
                self.mount = None;
                self.mount = Some(self.machine.mount().await);
                return Ok(Value::Done);
            }
            Step::Close(slot) => {
                self.close(*slot);
                return Ok(Value::Done);
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
            self.mount().forget(ino, 1);
        }
        outcome
    }

    async fn call(&self, step: &Step, seed: u64, looked: &mut Looked) -> Outcome {
        let mount = self.mount();
        match step {
            Step::Open(path, _) => self.file(path, looked).await.map(|_| Value::Done),
            Step::Sync => done(mount.fsyncdir(CALLER, ROOT)).await,
            Step::HandleWrite(slot, offset, len) => {
                self.write(self.handle(*slot)?, *offset, *len, seed).await
            }
            Step::HandleRead(slot, offset, len) => {
                self.read(self.handle(*slot)?, *offset, *len).await
            }
            Step::HandleTruncate(slot, size) => self.truncate(self.handle(*slot)?, *size).await,
            Step::HandleStat(slot) => {
                let attr = self.attr(self.handle(*slot)?).await?;
                Ok(Value::Stat(attr.size, attr.nlink, attr.mode))
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
                    Fallocate::Extend => 0,
                    Fallocate::KeepSize => libc::FALLOC_FL_KEEP_SIZE,
                    Fallocate::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    Fallocate::ZeroRange => libc::FALLOC_FL_ZERO_RANGE,
                    Fallocate::ZeroRangeKeepSize => {
                        libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE
                    }
                };
                let fallocate = FallocateRequest {
                    ino,
                    offset: *offset,
                    len: *len,
                    mode,
                };
                done(mount.fallocate(CALLER, fallocate)).await
            }
            Step::Copy(from, offset, to, at, len) => {
                // A directory can be opened, but not copied from.
                let source = self.walk(from, looked).await?;
                let is_directory = source.kind == FileKind::Directory;
                if !is_directory {
                    let _ = self.file(from, looked).await?;
                }
                let to = self.file(to, looked).await?;
                if is_directory {
                    return Err(Errno::ISDIR);
                }
                self.copy(source.ino, *offset, to, *at, *len).await
            }
            step => self.attributes(step, looked).await,
        }
    }

    async fn attributes(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let mount = self.mount();
        let unchanged = SetAttr::default();
        match step {
            Step::Chmod(path, mode) => {
                let attr = self.walk(path, looked).await?;
                if attr.kind == FileKind::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                let mode = Some(*mode);
                self.set(attr.ino, SetAttr { mode, ..unchanged }).await
            }
            Step::Chown(path, uid, gid) => {
                if (uid, gid) == (&None, &None) {
                    return Ok(Value::Done);
                }
                let ino = self.walk(path, looked).await?.ino;
                let (uid, gid) = (*uid, *gid);
                let owner = SetAttr {
                    uid,
                    gid,
                    ..unchanged
                };
                self.set(ino, owner).await
            }
            Step::Utimes(path, secs) => {
                let ino = self.walk(path, looked).await?.ino;
                let time = Timestamp {
                    secs: *secs,
                    nanos: 77,
                };
                let mtime = Some(SetTime::At(time));
                self.set(ino, SetAttr { mtime, ..unchanged }).await
            }
            Step::Readlink(path) => {
                let ino = self.walk(path, looked).await?.ino;
                let target = answered(mount.readlink(CALLER, ino)).await?;
                Ok(Value::Bytes(target.to_vec()))
            }
            Step::SetXattr(..) | Step::RemoveXattr(..) | Step::Xattrs(..) => {
                self.xattrs(step, looked).await
            }
            step => self.names(step, looked).await,
        }
    }

    async fn xattrs(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let mount = self.mount();
        match step {
            Step::SetXattr(path, name, value, mode) => {
                let attr = self.walk(path, looked).await?;
                expect_user_xattrs(&attr)?;
                let flags = match mode {
                    Xattr::Set => 0,
                    Xattr::Create => libc::XATTR_CREATE,
                    Xattr::Replace => libc::XATTR_REPLACE,
                };
                let set = SetxattrRequest {
                    ino: attr.ino,
                    name: base::XATTRS[*name].as_bytes(),
                    value: &base::value(*value),
                    flags,
                };
                done(mount.setxattr(CALLER, set)).await
            }
            Step::RemoveXattr(path, name) => {
                let attr = self.walk(path, looked).await?;
                expect_user_xattrs(&attr)?;
                let name = base::XATTRS[*name].as_bytes();
                done(mount.removexattr(CALLER, attr.ino, name)).await
            }
            Step::Xattrs(path) => {
                let ino = self.walk(path, looked).await?.ino;
                self.all_xattrs(ino).await
            }
            step => panic!("{step:?}"),
        }
    }

    /// Asks for each length first, as programs do.
    async fn all_xattrs(&self, ino: u64) -> Outcome {
        let mount = self.mount();
        let names = sized(|size| mount.listxattr(CALLER, ino, size)).await?;
        let mut found = Vec::new();
        let names = names.split(|byte| *byte == 0).filter(|it| !it.is_empty());
        for name in names {
            let value = sized(|size| mount.getxattr(CALLER, ino, name, size)).await?;
            found.push((String::from_utf8(name.to_vec()).unwrap(), value));
        }
        found.sort();
        Ok(Value::Names(found))
    }

    async fn names(&self, step: &Step, looked: &mut Looked) -> Outcome {
        let mount = self.mount();
        match step {
            Step::Create(path, mode, exclusive) => self
                .create(path, *mode, *exclusive, looked)
                .await
                .and_then(|attr| expect_openable(&attr))
                .map(|()| Value::Done),
            Step::Mkdir(path, mode) => {
                let place = self.place(path, looked).await?;
                // The kernel passes no setuid and setgid on to any file system's mkdir.
                let made = mount.mkdir(CALLER, place, u32::from(*mode) & 0o1777);
                keep(made, looked).await.map(|_| Value::Done)
            }
            Step::Symlink(path) => {
                let place = self.place(path, looked).await?;
                let made = mount.symlink(CALLER, place, b"nowhere");
                keep(made, looked).await.map(|_| Value::Done)
            }
            Step::Mknod(path, special) => {
                let place = self.place(path, looked).await?;
                let (kind, rdev) = match special {
                    Special::Fifo => (libc::S_IFIFO, 0),
                    Special::Socket => (libc::S_IFSOCK, 0),
                    Special::Null => (libc::S_IFCHR, 0x103),
                };
                let made = mount.mknod(CALLER, place, kind | 0o640, rdev);
                keep(made, looked).await.map(|_| Value::Done)
            }
            Step::Link(from, to) => {
                let ino = self.walk(from, looked).await?.ino;
                let place = self.place(to, looked).await?;
                let made = mount.link(CALLER, ino, place);
                keep(made, looked).await.map(|_| Value::Done)
            }
            Step::Unlink(path) => {
                let place = self.place(path, looked).await?;
                done(mount.unlink(CALLER, place)).await
            }
            Step::Rmdir(path) => {
                let place = self.place(path, looked).await?;
                done(mount.rmdir(CALLER, place)).await
            }
            Step::Rename(from, to, mode) => {
                let from = self.place(from, looked).await?;
                let to = self.place(to, looked).await?;
                let flags = match mode {
                    Rename::Replace => 0,
                    Rename::NoReplace => libc::RENAME_NOREPLACE,
                    Rename::Exchange => libc::RENAME_EXCHANGE,
                };
                done(mount.rename(CALLER, from, to, flags)).await
            }
            step => panic!("{step:?}"),
        }
    }

    /// Makes or finds a file as a kernel does whose CREATE was answered ENOSYS.
    async fn create(
        &self,
        path: &str,
        mode: u16,
        exclusive: bool,
        looked: &mut Looked,
    ) -> Result<Attr, Errno> {
        let mount = self.mount();
        let place = self.place(path, looked).await?;
        if !exclusive {
            match keep(mount.lookup(CALLER, place), looked).await {
                Err(Errno::NOENT) => {}
                found => return found,
            }
        }
        let mode = libc::S_IFREG | u32::from(mode);
        keep(mount.mknod(CALLER, place, mode, 0), looked).await
    }

    /// Walks a path. Symbolic links point nowhere, so nothing is below them.
    async fn walk(&self, path: &str, looked: &mut Looked) -> Result<Attr, Errno> {
        let mut attr = self.attr(ROOT).await?;
        for name in path.split('/').filter(|it| !it.is_empty()) {
            if attr.kind == FileKind::Symlink {
                return Err(Errno::NOENT);
            }
            let place = Place {
                parent: attr.ino,
                name: name.as_bytes(),
            };
            attr = keep(self.mount().lookup(CALLER, place), looked).await?;
        }
        Ok(attr)
    }

    async fn place<'p>(&self, path: &'p str, looked: &mut Looked) -> Result<Place<'p>, Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let attr = self.walk(parent, looked).await?;
        match attr.kind {
            FileKind::Directory => Ok(Place {
                parent: attr.ino,
                name: name.as_bytes(),
            }),
            FileKind::Symlink => Err(Errno::NOENT),
            _ => Err(Errno::NOTDIR),
        }
    }

    async fn file(&self, path: &str, looked: &mut Looked) -> Result<u64, Errno> {
        let attr = self.walk(path, looked).await?;
        expect_openable(&attr)?;
        Ok(attr.ino)
    }

    async fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        let found = answered(self.mount().getattr(CALLER, ino)).await?;
        Ok(found.attr)
    }

    async fn set(&self, ino: u64, new: SetAttr) -> Outcome {
        done(self.mount().setattr(CALLER, ino, new)).await
    }

    async fn write(&self, ino: u64, offset: u64, len: u32, seed: u64) -> Outcome {
        let write = WriteRequest {
            ino,
            offset,
            data: &noise(seed, len as usize),
            origin: Origin::Call,
            privileges: Privileges::Keep,
        };
        let written = answered(self.mount().write(CALLER, write)).await?;
        assert_eq!(written, len);
        Ok(Value::Done)
    }

    /// Copies as a kernel does: it asks for what the file has, and again for what was not copied.
    async fn copy(&self, from: u64, offset: u64, to: u64, at: u64, len: u32) -> Outcome {
        let size = self.attr(from).await?.size;
        let mut left = u64::from(len).min(size.saturating_sub(offset));
        if from == to && offset < at + left && at < offset + left {
            return Err(Errno::INVAL);
        }
        let (mut offset, mut at) = (offset, at);
        while left > 0 {
            let copy = CopyRequest {
                from,
                offset,
                to,
                at,
                len: left,
            };
            let copied = answered(self.mount().copy_file_range(CALLER, copy)).await?;
            assert!(copied > 0);
            let copied = u64::from(copied);
            (offset, at, left) = (offset + copied, at + copied, left - copied);
        }
        Ok(Value::Done)
    }

    async fn read(&self, ino: u64, offset: u64, len: u32) -> Outcome {
        let bytes = answered(self.mount().read(CALLER, ino, offset, len)).await?;
        Ok(Value::Bytes(bytes.to_vec()))
    }

    async fn truncate(&self, ino: u64, size: u64) -> Outcome {
        let size = Some(size);
        let unchanged = SetAttr::default();
        self.set(ino, SetAttr { size, ..unchanged }).await
    }

    /// Reads the whole tree by READDIRPLUS, and takes back what that counted.
    pub(super) async fn tree(&self) -> Tree {
        let mount = self.mount();
        let root = self.attr(ROOT).await.unwrap();
        let mut tree = Tree::from([(String::new(), seen(&root))]);
        let (mut open, mut counted) = (vec![(String::new(), ROOT)], Vec::new());
        while let Some((dir, ino)) = open.pop() {
            for entry in list(mount, ino, 3).await.unwrap() {
                let attr = entry.attr;
                assert_eq!(attr, self.attr(attr.ino).await.unwrap());
                let path = format!("{dir}{}", entry.name);
                counted.push(attr.ino);
                if attr.kind == FileKind::Directory {
                    open.push((format!("{path}/"), attr.ino));
                }
                let before = tree.insert(path, seen(&attr));
                assert!(before.is_none(), "an entry came twice");
            }
        }
        counted
            .into_iter()
            .rev()
            .for_each(|ino| mount.forget(ino, 1));
        tree
    }
}

/// Keeps the lookup that an answer counted.
async fn keep(answer: Answer<EntryFound>, looked: &mut Looked) -> Result<Attr, Errno> {
    let attr = answered(answer).await?.attr.ok_or(Errno::NOENT)?;
    looked.push(attr.ino);
    Ok(attr)
}

/// Asks for a length, and then for so many bytes.
async fn sized(ask: impl Fn(u32) -> Answer<XattrFound>) -> Result<Vec<u8>, Errno> {
    let XattrFound::Len(len) = answered(ask(0)).await? else {
        panic!("the length alone was asked for");
    };
    if len == 0 {
        return Ok(Vec::new());
    }
    match answered(ask(len)).await? {
        XattrFound::Bytes(bytes) => Ok(bytes.to_vec()),
        XattrFound::Len(_) => panic!("the bytes were asked for"),
    }
}

/// Fails as open does for what is no regular file.
fn expect_openable(attr: &Attr) -> Result<(), Errno> {
    match attr.kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Errno::ISDIR),
        FileKind::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::NXIO),
    }
}

/// Fails as the kernel does where there are no attributes of users.
fn expect_user_xattrs(attr: &Attr) -> Result<(), Errno> {
    match attr.kind {
        FileKind::File | FileKind::Directory => Ok(()),
        _ => Err(Errno::PERM),
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
