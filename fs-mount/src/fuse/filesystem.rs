//! The requests of the kernel, one method each.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use lfsfs_vfs::{Privileges, SetAttr};

use super::FuseTransport;
use super::attributes::{set_time, timestamp_of};
use super::replies::{self, Respond};
use crate::cut::Origin;
use crate::operations::{
    Answer, CopyRequest, FallocateRequest, Place, SetxattrRequest, WriteRequest,
};

impl FuseTransport {
    /// Sends an answer by the reply of its request.
    fn answer<T: Send + 'static>(&self, answer: Answer<T>, reply: impl Respond<T>) {
        self.send(answer, move |answer| reply.respond(answer));
    }
}

fn place(parent: INodeNo, name: &OsStr) -> Place<'_> {
    Place {
        parent: parent.0,
        name: name.as_bytes(),
    }
}

impl Filesystem for FuseTransport {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.set_up(config)
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .operations
            .lookup(self.caller(request), place(parent, name));
        self.answer(found, reply);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.operations.forget(ino.0, nlookup);
    }

    fn getattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        self.answer(self.operations.getattr(self.caller(request), ino.0), reply);
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let new = SetAttr {
            mode: mode.map(|mode| u16::try_from(mode & 0o7777).unwrap_or_default()),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ctime: ctime.map(timestamp_of),
            // The operation decides that by the caller.
            privileges: Privileges::Keep,
        };
        let set = self.operations.setattr(self.caller(request), ino.0, new);
        self.answer(set, reply);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.answer(self.operations.readlink(self.caller(request), ino.0), reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (place, mode) = (place(parent, name), self.requested_mode(mode, umask));
        let made = self
            .operations
            .mknod(self.caller(request), place, mode, rdev);
        self.answer(made, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (place, mode) = (place(parent, name), self.requested_mode(mode, umask));
        let made = self.operations.mkdir(self.caller(request), place, mode);
        self.answer(made, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self
            .operations
            .unlink(self.caller(request), place(parent, name));
        self.answer(removed, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self
            .operations
            .rmdir(self.caller(request), place(parent, name));
        self.answer(removed, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (place, target) = (place(parent, name), target.as_os_str().as_bytes());
        let made = self.operations.symlink(self.caller(request), place, target);
        self.answer(made, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (place(parent, name), place(new_parent, new_name));
        let renamed = self
            .operations
            .rename(self.caller(request), from, to, flags.bits());
        self.answer(renamed, reply);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let place = place(new_parent, new_name);
        self.answer(
            self.operations.link(self.caller(request), ino.0, place),
            reply,
        );
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.answer(self.operations.open(), reply);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self
            .operations
            .read(self.caller(request), ino.0, offset, size);
        self.answer(read, reply);
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = WriteRequest {
            ino: ino.0,
            offset,
            data,
            origin: if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
                Origin::Pages
            } else {
                Origin::Call
            },
            privileges: if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                Privileges::Kill
            } else {
                Privileges::Keep
            },
        };
        self.answer(self.operations.write(self.caller(request), write), reply);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.answer(self.operations.flush(), reply);
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.answer(self.operations.release(), reply);
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer(self.operations.fsync(self.caller(request), ino.0), reply);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.answer(self.operations.opendir(), reply);
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let listed = self
            .operations
            .readdir(self.caller(request), ino.0, offset, reply);
        self.send(listed, replies::directory);
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let listed = self
            .operations
            .readdir(self.caller(request), ino.0, offset, reply);
        self.send(listed, replies::directory);
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.answer(self.operations.releasedir(), reply);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer(self.operations.fsyncdir(self.caller(request), ino.0), reply);
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.send(self.operations.statfs(), move |it| {
            replies::statfs(reply, &it);
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let set = SetxattrRequest {
            ino: ino.0,
            name: name.as_bytes(),
            value,
            flags,
        };
        let set = self.operations.setxattr(self.caller(request), set);
        self.answer(set, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let name = name.as_bytes();
        let found = self
            .operations
            .getxattr(self.caller(request), ino.0, name, size);
        self.answer(found, reply);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let found = self.operations.listxattr(self.caller(request), ino.0, size);
        self.answer(found, reply);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes();
        let removed = self
            .operations
            .removexattr(self.caller(request), ino.0, name);
        self.answer(removed, reply);
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        self.answer(self.operations.access(), reply);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.answer(self.operations.create(), reply);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let fallocate = FallocateRequest {
            ino: ino.0,
            offset,
            len,
            mode,
        };
        let allocated = self.operations.fallocate(self.caller(request), fallocate);
        self.answer(allocated, reply);
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self
            .operations
            .lseek(self.caller(request), ino.0, offset, whence);
        self.answer(found, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        to: INodeNo,
        _to_handle: FileHandle,
        to_offset: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copy = CopyRequest {
            from: ino.0,
            offset,
            to: to.0,
            at: to_offset,
            len,
        };
        let copied = self.operations.copy_file_range(self.caller(request), copy);
        self.answer(copied, reply);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_len: u32,
        reply: ReplyIoctl,
    ) {
        self.answer(self.operations.ioctl(), reply);
    }

    fn poll(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        self.answer(self.operations.poll(), reply);
    }
}
