//! Requests about the bytes of files and links.

use std::sync::Arc;

use bytes::Bytes;
use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite, Request, WriteFlags};
use lfsfs_vfs::{Allocation, Privileges, VfsError};

use super::attributes::privileges_of;
use super::{Asked, failed, reply_empty};
use crate::counters::Opcode;
use crate::cut::{Origin, Span};

impl Asked<'_> {
    pub(super) fn read_link(&self, ino: u64, reply: ReplyData) {
        self.answer(
            Opcode::Readlink,
            reply,
            move |vfs| async move { vfs.readlink(ino).await },
            move |reply, target| reply_data(Opcode::Readlink, ino, reply, target),
        );
    }

    pub(super) fn read_file(&self, ino: u64, offset: u64, size: u32, reply: ReplyData) {
        self.answer(
            Opcode::Read,
            reply,
            move |vfs| async move { vfs.read(ino, offset, size).await },
            move |reply, bytes| reply_data(Opcode::Read, ino, reply, bytes),
        );
    }

    /// Not by [`answer`](Self::answer): only a write that waits needs bytes of its own.
    pub(super) fn write_file(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        reply: ReplyWrite,
    ) {
        let privileges = match flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            true => Privileges::Kill,
            false => Privileges::Keep,
        };
        let origin = match flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            true => Origin::Pages,
            false => Origin::Call,
        };
        let span = Span {
            ino,
            offset,
            len: data.len(),
            origin,
        };
        self.serve(Opcode::Write, || {
            let vfs = Arc::clone(&self.vfs);
            let writing = self.writes.begin(span);
            if writing.is_some()
                && let Some(written) = self.at_once(vfs.write(ino, offset, data, privileges))
            {
                return reply_written(ino, reply, written);
            }
            let data = data.to_vec();
            let writes = Arc::clone(&self.writes);
            let write = async move {
                let writing = match writing {
                    Some(writing) => writing,
                    None => writes.begin_later(span).await,
                };
                (writing, vfs.write(ino, offset, &data, privileges).await)
            };
            self.in_task(write, move |(writing, written)| {
                reply_written(ino, reply, written);
                drop(writing);
            });
        });
    }

    pub(super) fn allocate(
        &self,
        request: &Request,
        ino: u64,
        (offset, len): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(allocation) = allocation(mode) else {
            return self.serve(Opcode::Fallocate, || reply.error(Errno::EOPNOTSUPP));
        };
        let privileges = privileges_of(request);
        self.answer(
            Opcode::Fallocate,
            reply,
            move |vfs| async move {
                vfs.fallocate(ino, offset, len, allocation, privileges)
                    .await
            },
            move |reply, allocated| reply_empty(Opcode::Fallocate, ino, reply, allocated),
        );
    }

    /// Makes durable what was acknowledged. It waits for the disk, so never where requests are
    /// received.
    pub(super) fn sync(&self, opcode: Opcode, ino: u64, reply: ReplyEmpty) {
        self.serve(opcode, || {
            if !self.is_writable() {
                // Success too, and not asked again: nothing here can be lost.
                return reply.error(Errno::ENOSYS);
            }
            let vfs = Arc::clone(&self.vfs);
            let writes = Arc::clone(&self.writes);
            let sync = async move {
                writes.pass_fsync(ino).await;
                vfs.fsync(ino).await
            };
            self.in_task(sync, move |synced| reply_empty(opcode, ino, reply, synced));
        });
    }
}

fn reply_data(opcode: Opcode, ino: u64, reply: ReplyData, found: Result<Bytes, VfsError>) {
    match found {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(failed(opcode, ino, &error)),
    }
}

fn reply_written(ino: u64, reply: ReplyWrite, written: Result<u32, VfsError>) {
    match written {
        Ok(len) => reply.written(len),
        Err(error) => reply.error(failed(Opcode::Write, ino, &error)),
    }
}

/// Returns what a mode of fallocate(2) asks for; `None` for what no file here can do.
fn allocation(mode: i32) -> Option<Allocation> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO_KEEPING: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Some(Allocation::Extend),
        libc::FALLOC_FL_KEEP_SIZE => Some(Allocation::KeepSize),
        PUNCH => Some(Allocation::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Some(Allocation::ZeroRange),
        ZERO_KEEPING => Some(Allocation::ZeroRangeKeepSize),
        _ => None,
    }
}
