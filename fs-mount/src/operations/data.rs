//! Requests about the bytes of files and links: READ, WRITE, READLINK, FALLOCATE, LSEEK, FSYNC.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_vfs::{Allocation, CopyRange, ModeEffect, Privileges, Sought, Vfs, VfsError, Written};
use rustix::io::Errno;
use tracing::debug;

use super::attributes::privileges_of;
use super::reply::at_once;
use super::{Answer, Caller, Operations, Reply, Request, Writeback, failed};
use crate::counters::Opcode;
use crate::cut::{Origin, PageSource, Span, settle};

/// What a WRITE request brings.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    /// The node.
    pub ino: u64,
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub data: &'a [u8],
    /// Where they come from.
    pub origin: Origin,
    /// What becomes of setuid and setgid.
    pub privileges: Privileges,
}

/// What a FALLOCATE request asks for.
#[derive(Debug, Clone, Copy)]
pub struct FallocateRequest {
    /// The node.
    pub ino: u64,
    /// Where the range begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// The mode of fallocate(2).
    pub mode: i32,
}

/// What a COPY_FILE_RANGE request asks for.
#[derive(Debug, Clone, Copy)]
pub struct CopyRequest {
    /// The node that has the bytes.
    pub from: u64,
    /// Where they begin there.
    pub offset: u64,
    /// The node that gets them.
    pub to: u64,
    /// Where they begin there.
    pub at: u64,
    /// How many there are.
    pub len: u64,
}

impl Operations {
    /// Returns where a symbolic link points.
    pub fn readlink(&self, caller: Caller, ino: u64) -> Answer<Bytes> {
        let request = Request::new(Opcode::Readlink, ino, caller);
        let vfs = Arc::clone(&self.vfs);
        self.ask(request, async move { vfs.readlink(ino).await })
    }

    /// Returns bytes of a file: fewer than `size` only at its end.
    pub fn read(&self, caller: Caller, ino: u64, offset: u64, size: u32) -> Answer<Bytes> {
        let request = Request::new(Opcode::Read, ino, caller);
        let vfs = Arc::clone(&self.vfs);
        self.ask(request, async move { vfs.read(ino, offset, size).await })
    }

    /// Writes into a file, and returns how many bytes were written: all of them.
    pub fn write(&self, caller: Caller, write: WriteRequest<'_>) -> Answer<u32> {
        // Not by `ask`: only a write that waits needs bytes of its own, and begins anew with them. A
        // call of the core that waits has changed nothing yet.
        let request = Request::new(Opcode::Write, write.ino, caller);
        self.serve(request.opcode, || {
            let span = write.span();
            let writing = self.writes.begin(span);
            if writing.is_some() {
                let call = self.written(request, write);
                if let Some(written) = at_once(pin!(call)) {
                    return Reply::Ready(written);
                }
            }
            let data = write.data.to_vec();
            let this = self.clone();
            Reply::later(caller, async move {
                let _writing = match writing {
                    Some(writing) => writing,
                    None => this.writes.begin_later(span).await,
                };
                let data = &data[..];
                this.written(request, WriteRequest { data, ..write }).await
            })
        })
    }

    async fn written(&self, request: Request, write: WriteRequest<'_>) -> Result<u32, Errno> {
        let WriteRequest {
            ino,
            offset,
            data,
            origin,
            privileges,
        } = write;
        // A kernel that gathers writes keeps the times of files itself.
        let keeps_times = origin == Origin::Pages && self.config.writeback == Writeback::Kernel;
        let written = if keeps_times {
            self.vfs.write_gathered(ino, offset, data, privileges).await
        } else {
            self.vfs.write(ino, offset, data, privileges).await
        };
        let Written { len, mode } = written.map_err(|error| failed(request, &error))?;
        self.drop_mode(ino, mode);
        Ok(len)
    }

    /// Lengthens a file or makes a range of it zeros.
    pub fn fallocate(&self, caller: Caller, fallocate: FallocateRequest) -> Answer<()> {
        let FallocateRequest {
            ino,
            offset,
            len,
            mode,
        } = fallocate;
        let Some(allocation) = allocation(mode) else {
            return self.refuse(Opcode::Fallocate, Errno::OPNOTSUPP);
        };
        let request = Request::new(Opcode::Fallocate, ino, caller);
        let privileges = privileges_of(caller);
        let this = self.clone();
        self.ask(request, async move {
            let allocated = this.vfs.fallocate(ino, offset, len, allocation, privileges);
            this.drop_mode(ino, allocated.await?);
            Ok(())
        })
    }

    /// Copies bytes from file to file, and returns how many. The kernel has sent what it holds of them.
    pub fn copy_file_range(&self, caller: Caller, copy: CopyRequest) -> Answer<u32> {
        let request = Request::new(Opcode::CopyFileRange, copy.to, caller);
        let copy = CopyRange {
            from: copy.from,
            offset: copy.offset,
            to: copy.to,
            at: copy.at,
            len: copy.len,
            privileges: privileges_of(caller),
        };
        let this = self.clone();
        let copy = async move {
            match this.vfs.copy_range(copy).await {
                Ok(copied) => {
                    this.drop_mode(copy.to, copied.mode);
                    u32::try_from(copied.len).map_err(|_| Errno::FBIG)
                }
                // An open file that no version below has any more can be read: the kernel does that then.
                Err(VfsError::Stale) => Err(Errno::OPNOTSUPP),
                Err(error) => Err(failed(request, &error)),
            }
        };
        self.serve(request.opcode, || Reply::begin(caller, copy))
    }

    /// Finds data and holes; `whence` is that of lseek(2). What a mapping wrote into a hole is in the
    /// kernel until that sends it, so for a file with holes it is made to send it first.
    pub fn lseek(&self, caller: Caller, ino: u64, offset: i64, whence: i32) -> Answer<i64> {
        if self.config.writeback == Writeback::Kernel {
            // It has data and lengths that are not here yet. It then answers itself: all is data.
            return self.left_to_kernel(Opcode::Lseek);
        }
        let Some(sought) = sought(whence) else {
            return self.refuse(Opcode::Lseek, Errno::INVAL);
        };
        let Ok(offset) = u64::try_from(offset) else {
            return self.refuse(Opcode::Lseek, Errno::NXIO);
        };
        let request = Request::new(Opcode::Lseek, ino, caller);
        let this = self.clone();
        self.ask(request, async move {
            let told = this.vfs.getattr(ino).await?.blocks;
            let found = this.seek(ino, offset, sought).await;
            this.drop_estimate(ino, told).await?;
            i64::try_from(found?).map_err(|_| VfsError::FileTooLarge)
        })
    }

    async fn seek(&self, ino: u64, offset: u64, sought: Sought) -> Result<u64, VfsError> {
        if !self.vfs.has_holes(ino).await? {
            return seek_without_holes(&self.vfs, ino, offset, sought).await;
        }
        if self.is_writable() {
            // The first step is taken by a thread that receives requests, and must not wait for one.
            tokio::task::yield_now().await;
            if !sent(self.pages.as_deref(), ino).await {
                return seek_without_holes(&self.vfs, ino, offset, sought).await;
            }
            settle(&self.writes).await;
        }
        self.vfs.seek(ino, offset, sought).await
    }

    /// Has the kernel forget the blocks of a file that it was told as an estimate, if they are known now.
    async fn drop_estimate(&self, ino: u64, told: u64) -> Result<(), VfsError> {
        if let Some(kernel) = self.kernel.get()
            && self.vfs.getattr(ino).await?.blocks != told
        {
            kernel.drop_attributes(ino);
        }
        Ok(())
    }

    /// Makes a file durable, and all that was acknowledged before.
    pub fn fsync(&self, caller: Caller, ino: u64) -> Answer<()> {
        self.sync(Request::new(Opcode::Fsync, ino, caller))
    }

    /// Makes a directory durable, and all that was acknowledged before.
    pub fn fsyncdir(&self, caller: Caller, ino: u64) -> Answer<()> {
        self.sync(Request::new(Opcode::Fsyncdir, ino, caller))
    }

    /// It waits for the disk, so never where requests are received.
    fn sync(&self, request: Request) -> Answer<()> {
        if !self.is_writable() {
            // Success too, and not asked again: nothing here can be lost.
            return self.left_to_kernel(request.opcode);
        }
        let (vfs, writes) = (Arc::clone(&self.vfs), Arc::clone(&self.writes));
        let sync = async move {
            writes.pass_fsync(request.ino).await;
            let synced = vfs.fsync(request.ino).await;
            synced.map_err(|error| failed(request, &error))
        };
        self.serve(request.opcode, || Reply::later(request.caller, sync))
    }

    /// Has the kernel forget a mode that it must not act on any more: it asks again for size and times
    /// after a change of content, but not for the mode. Before the request is answered: for attributes
    /// alone the kernel takes no lock that the request holds.
    fn drop_mode(&self, ino: u64, mode: ModeEffect) {
        if let (ModeEffect::Cleared, Some(kernel)) = (mode, self.kernel.get()) {
            kernel.drop_attributes(ino);
        }
    }
}

impl WriteRequest<'_> {
    fn span(&self) -> Span {
        Span {
            ino: self.ino,
            offset: self.offset,
            len: self.data.len(),
            origin: self.origin,
        }
    }
}

/// Has the kernel send the pages of a file, and returns whether that could be done.
async fn sent(pages: Option<&dyn PageSource>, ino: u64) -> bool {
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

/// Returns what lseek(2) looks for; `None` for what the kernel answers itself.
fn sought(whence: i32) -> Option<Sought> {
    match whence {
        libc::SEEK_DATA => Some(Sought::Data),
        libc::SEEK_HOLE => Some(Sought::Hole),
        _ => None,
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
