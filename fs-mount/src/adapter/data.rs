//! Requests about the bytes of files and links.

use std::sync::Arc;

use bytes::Bytes;
use fuser::{Errno, ReplyData, ReplyEmpty, ReplyLseek, ReplyWrite, Request, WriteFlags};
use lfsfs_vfs::{Allocation, ModeEffect, Privileges, Sought, Vfs, VfsError, Written};
use tracing::debug;

use super::attributes::privileges_of;
use super::{Asked, Writeback, failed, reply_empty};
use crate::counters::Opcode;
use crate::cut::{Origin, PageSender, Span, settle};
use crate::kernel_cache::Kept;

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
        // A kernel that gathers writes keeps the times of files itself.
        let keeps_times = origin == Origin::Pages && self.config.writeback == Writeback::Kernel;
        self.serve(Opcode::Write, || {
            let vfs = Arc::clone(&self.vfs);
            let writing = self.writes.begin(span);
            let write = async move |vfs: Arc<Vfs>, data: &[u8]| match keeps_times {
                true => vfs.write_gathered(ino, offset, data, privileges).await,
                false => vfs.write(ino, offset, data, privileges).await,
            };
            if writing.is_some()
                && let Some(written) = self.at_once(write(Arc::clone(&vfs), data))
            {
                return reply_written(&self.kept, ino, reply, written);
            }
            let data = data.to_vec();
            let (writes, kept) = (Arc::clone(&self.writes), Arc::clone(&self.kept));
            let write = async move {
                let writing = match writing {
                    Some(writing) => writing,
                    None => writes.begin_later(span).await,
                };
                (writing, write(vfs, &data).await)
            };
            self.in_task(write, move |(writing, written)| {
                reply_written(&kept, ino, reply, written);
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
        let kept = Arc::clone(&self.kept);
        self.answer(
            Opcode::Fallocate,
            reply,
            move |vfs| async move {
                vfs.fallocate(ino, offset, len, allocation, privileges)
                    .await
            },
            move |reply, allocated| {
                let allocated = allocated.map(|mode| drop_mode(&kept, ino, mode));
                reply_empty(Opcode::Fallocate, ino, reply, allocated);
            },
        );
    }

    /// Finds data and holes. What a mapping wrote into a hole is in the kernel until that sends it, so
    /// for a file with holes it is made to send it first.
    pub(super) fn seek(&self, ino: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        if self.config.writeback == Writeback::Kernel {
            // It has data and lengths that are not here yet. It then answers itself: all is data.
            return self.serve(Opcode::Lseek, || reply.error(Errno::ENOSYS));
        }
        let Some(sought) = sought(whence) else {
            return self.serve(Opcode::Lseek, || reply.error(Errno::EINVAL));
        };
        let Ok(offset) = u64::try_from(offset) else {
            return self.serve(Opcode::Lseek, || reply.error(Errno::ENXIO));
        };
        let (vfs, writes) = (Arc::clone(&self.vfs), Arc::clone(&self.writes));
        let pages = self.pages.clone();
        let find = move |vfs: Arc<Vfs>| async move { vfs.seek(ino, offset, sought).await };
        if !vfs.has_holes(ino) {
            return self.answer(Opcode::Lseek, reply, find, move |reply, found| {
                reply_offset(ino, reply, found);
            });
        }
        self.serve(Opcode::Lseek, || {
            // Without a permit of those that wait: the kernel sends WRITE requests meanwhile, which may
            // need one.
            self.runtime.spawn(async move {
                let found = if sent(pages.as_deref(), ino).await {
                    settle(&writes).await;
                    find(vfs).await
                } else {
                    seek_without_holes(&vfs, ino, offset, sought).await
                };
                reply_offset(ino, reply, found);
            });
        });
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

fn reply_written(kept: &Kept, ino: u64, reply: ReplyWrite, written: Result<Written, VfsError>) {
    match written {
        Ok(Written { len, mode }) => {
            drop_mode(kept, ino, mode);
            reply.written(len);
        }
        Err(error) => reply.error(failed(Opcode::Write, ino, &error)),
    }
}

/// Has the kernel send the pages of a file, and returns whether that could be done.
async fn sent(pages: Option<&PageSender>, ino: u64) -> bool {
    let Some(pages) = pages else { return false };
    let sent = pages.send(ino).await;
    sent.inspect_err(|error| debug!(ino, %error, "holes are not told"))
        .is_ok()
}

/// Answers as for a file that is one run of data.
async fn seek_without_holes(
    vfs: &Vfs,
    ino: u64,
    offset: u64,
    sought: Sought,
) -> Result<u64, VfsError> {
    let size = vfs.getattr(ino).await?.size;
    match sought {
        _ if offset >= size => Err(VfsError::NoSuchOffset),
        Sought::Data => Ok(offset),
        Sought::Hole => Ok(size),
    }
}

fn reply_offset(ino: u64, reply: ReplyLseek, found: Result<u64, VfsError>) {
    match found.map(i64::try_from) {
        Ok(Ok(offset)) => reply.offset(offset),
        Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
        Err(error) => reply.error(failed(Opcode::Lseek, ino, &error)),
    }
}

/// Returns what lseek(2) looks for; `None` for what the kernel answers itself.
fn sought(whence: i32) -> Option<Sought> {
    match whence {
        libc::SEEK_DATA => Some(Sought::Data),
        libc::SEEK_HOLE => Some(Sought::Hole),
        _ => None,
    }
}

/// Has the kernel forget a mode that it must not act on any more: it asks again for size and times
/// after a change of content, but not for the mode.
fn drop_mode(kept: &Kept, ino: u64, mode: ModeEffect) {
    if mode == ModeEffect::Cleared {
        kept.drop_attributes(ino);
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
