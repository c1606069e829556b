//! The thin layer between fuser and the file system core.
//!
//! Each request is unpacked, counted and answered: at once where the answer is in memory, else by
//! a task that owns the reply. This module decides what the kernel may keep, and nothing else: no
//! policy, no caching and no network of its own.
//!
//! The kernel may keep everything for ever, because a version never changes: names (also those
//! that do not exist), attributes, link targets, listings and pages. OPEN, OPENDIR and FLUSH are
//! answered ENOSYS, which the kernel takes as "never ask again, it succeeds".
//!
//! A panic in a handler drops its reply, which fuser answers with EIO; the mount lives on.

mod attributes;

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fuser::{
    AccessFlags, Errno, FileHandle, Filesystem, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyXattr, Request,
};
use lfsfs_vfs::{Attr, DirEntry, Entry, Statfs, Vfs, VfsError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

pub(crate) use self::attributes::Owner;
use self::attributes::{absent, file_attr, file_type, without_attributes};
use crate::counters::{Counters, Opcode};
use crate::errno;

/// As good as for ever, and far from overflowing the kernel's arithmetic.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);
/// Node numbers are never used again for something else.
const GENERATION: Generation = Generation(0);
/// The largest read or write in one request.
pub(crate) const REQUEST_BYTES_MAX: u32 = 1024 * 1024;
/// Readahead and other background reads in flight; the kernel's own default is 12.
const BACKGROUND_REQUESTS_MAX: u16 = 128;
/// Requests that wait for network or disk at the same time.
const WAITING_MAX: usize = 512;

/// Whether extended attributes are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Xattrs {
    /// They are, and each look at one is a request: the kernel does not keep them.
    #[default]
    Served,
    /// The mount says once that it has none.
    Absent,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AdapterConfig {
    /// Whom they belong to.
    pub(crate) owner: Owner,
    /// Whether they have extended attributes.
    pub(crate) xattrs: Xattrs,
}

/// Serves a version through fuser.
#[derive(Debug)]
pub(crate) struct Adapter {
    vfs: Arc<Vfs>,
    config: AdapterConfig,
    counters: Arc<Counters>,
    runtime: Handle,
    waiting: Arc<Semaphore>,
}

impl Adapter {
    /// Serves `vfs`; what must wait does so on `runtime`.
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        config: AdapterConfig,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> Self {
        Self {
            vfs,
            config,
            counters,
            runtime,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Counts a request and runs its handler. A panic ends there: the reply went with it.
    fn serve(&self, opcode: Opcode, handler: impl FnOnce()) {
        self.counters.add(opcode);
        if catch_unwind(AssertUnwindSafe(handler)).is_err() {
            warn!(?opcode, "a handler panicked; its caller got EIO");
        }
    }

    /// Runs what must wait. The kernel bounds how many requests are out; the permits bound how
    /// many of them ask the network at once.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let waiting = Arc::clone(&self.waiting);
        self.runtime.spawn(async move {
            // Only a closed semaphore gives no permit, and nobody closes this one.
            let _permit = waiting.acquire_owned().await;
            work.await;
        });
    }
}

/// The core has logged what went wrong with network and disk; here it becomes a number.
fn failed(what: &'static str, ino: u64, error: &VfsError) -> Errno {
    debug!(what, ino, %error, "request failed");
    errno::of(error)
}

fn reply_entry(parent: u64, found: Result<Entry, VfsError>, owner: Owner, reply: ReplyEntry) {
    match found {
        Ok(entry) => reply.entry(&FOR_EVER, &file_attr(&entry.attr, owner), GENERATION),
        // An error would be asked again each time; node 0 is kept like a name.
        Err(VfsError::NotFound) => reply.entry(&FOR_EVER, &absent(), GENERATION),
        Err(error) => reply.error(failed("lookup", parent, &error)),
    }
}

fn reply_attr(ino: u64, found: Result<Attr, VfsError>, owner: Owner, reply: ReplyAttr) {
    match found {
        Ok(attr) => reply.attr(&FOR_EVER, &file_attr(&attr, owner)),
        Err(error) => reply.error(failed("getattr", ino, &error)),
    }
}

fn reply_data(what: &'static str, ino: u64, found: Result<Bytes, VfsError>, reply: ReplyData) {
    match found {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(failed(what, ino, &error)),
    }
}

/// Size 0 asks for the size alone.
fn reply_xattr(ino: u64, size: u32, found: Result<Bytes, VfsError>, reply: ReplyXattr) {
    match found.map(|bytes| (u32::try_from(bytes.len()), bytes)) {
        Ok((Ok(len), _)) if size == 0 => reply.size(len),
        Ok((Ok(len), bytes)) if len <= size => reply.data(&bytes),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(error) => reply.error(failed("getxattr", ino, &error)),
    }
}

/// Adds to a reply to READDIRPLUS and says whether there was room; fuser says whether there was none.
fn add_plus(reply: &mut ReplyDirectoryPlus, entry: &DirEntry<'_>, owner: Owner) -> bool {
    let attr = match &entry.attr {
        Some(attr) => file_attr(attr, owner),
        None => without_attributes(entry),
    };
    let name = OsStr::from_bytes(entry.name);
    !reply.add(attr.ino, entry.offset, name, &FOR_EVER, &attr, GENERATION)
}

fn add(reply: &mut ReplyDirectory, entry: &DirEntry<'_>) -> bool {
    let name = OsStr::from_bytes(entry.name);
    !reply.add(
        INodeNo(entry.ino),
        entry.offset,
        file_type(entry.kind),
        name,
    )
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Never ATOMIC_O_TRUNC, POSIX_LOCKS or FLOCK_LOCKS: without OPEN nobody could serve them.
        // Nor READDIRPLUS_AUTO: it sent as many requests in a walk, and a listing that is asked for
        // once and kept for ever had better bring its attributes.
        let needed = InitFlags::FUSE_NO_OPEN_SUPPORT | InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        let wanted = needed
            | InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        config.add_capabilities(wanted).map_err(|missing| {
            let text = format!("this kernel's FUSE lacks {missing:?}; Linux 5.1 has it");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        let refused = |limit| io::Error::other(format!("fuser allows {limit} only"));
        config
            .set_max_background(BACKGROUND_REQUESTS_MAX)
            .map_err(refused)?;
        let refused = |limit| io::Error::other(format!("fuser allows {limit} only"));
        config.set_max_write(REQUEST_BYTES_MAX).map_err(refused)?;
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(Opcode::Lookup, || {
            let (parent, owner) = (parent.0, self.config.owner);
            if let Some(found) = self.vfs.try_lookup(parent, name.as_bytes()) {
                return reply_entry(parent, found, owner, reply);
            }
            let (vfs, name) = (Arc::clone(&self.vfs), name.to_owned());
            self.spawn(async move {
                let found = vfs.lookup(parent, name.as_bytes()).await;
                reply_entry(parent, found, owner, reply);
            });
        });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.serve(Opcode::Forget, || self.vfs.forget(ino.0, nlookup));
    }

    fn getattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        self.serve(Opcode::Getattr, || {
            let (ino, owner) = (ino.0, self.config.owner);
            if let Some(found) = self.vfs.try_getattr(ino) {
                return reply_attr(ino, found, owner, reply);
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move { reply_attr(ino, vfs.getattr(ino).await, owner, reply) });
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        self.serve(Opcode::Readlink, || {
            let ino = ino.0;
            if let Some(found) = self.vfs.try_readlink(ino) {
                return reply_data("readlink", ino, found, reply);
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move { reply_data("readlink", ino, vfs.readlink(ino).await, reply) });
        });
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve(Opcode::Open, || reply.error(Errno::ENOSYS));
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(Opcode::Read, || {
            let ino = ino.0;
            if let Some(found) = self.vfs.try_read(ino, offset, size) {
                return reply_data("read", ino, found, reply);
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move {
                reply_data("read", ino, vfs.read(ino, offset, size).await, reply);
            });
        });
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.serve(Opcode::Flush, || reply.error(Errno::ENOSYS));
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
        self.serve(Opcode::Release, || reply.ok());
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // ENOSYS is success for fsync too, and is not asked again: nothing here can be lost.
        self.serve(Opcode::Fsync, || reply.error(Errno::ENOSYS));
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve(Opcode::Opendir, || reply.error(Errno::ENOSYS));
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve(Opcode::Readdir, || {
            let ino = ino.0;
            let mut sink = |entry: DirEntry<'_>| add(&mut reply, &entry);
            match self.vfs.try_readdir(ino, offset, false, &mut sink) {
                Some(Ok(())) => return reply.ok(),
                Some(Err(error)) => return reply.error(failed("readdir", ino, &error)),
                None => {}
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move {
                let mut sink = |entry: DirEntry<'_>| add(&mut reply, &entry);
                match vfs.readdir(ino, offset, false, &mut sink).await {
                    Ok(()) => reply.ok(),
                    Err(error) => reply.error(failed("readdir", ino, &error)),
                }
            });
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve(Opcode::Readdirplus, || {
            let (ino, owner) = (ino.0, self.config.owner);
            let mut sink = |entry: DirEntry<'_>| add_plus(&mut reply, &entry, owner);
            match self.vfs.try_readdir(ino, offset, true, &mut sink) {
                Some(Ok(())) => return reply.ok(),
                Some(Err(error)) => return reply.error(failed("readdirplus", ino, &error)),
                None => {}
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move {
                let mut sink = |entry: DirEntry<'_>| add_plus(&mut reply, &entry, owner);
                match vfs.readdir(ino, offset, true, &mut sink).await {
                    Ok(()) => reply.ok(),
                    Err(error) => reply.error(failed("readdirplus", ino, &error)),
                }
            });
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.serve(Opcode::Releasedir, || reply.ok());
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(Opcode::Fsyncdir, || reply.error(Errno::ENOSYS));
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.serve(Opcode::Statfs, || {
            let Statfs {
                blocks,
                blocks_free,
                files,
                files_free,
                block_len,
                name_len_max,
            } = self.vfs.statfs();
            reply.statfs(
                blocks,
                blocks_free,
                blocks_free,
                files,
                files_free,
                block_len,
                name_len_max,
                block_len,
            );
        });
    }

    fn getxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.serve(Opcode::Getxattr, || {
            let ino = ino.0;
            if self.config.xattrs == Xattrs::Absent {
                return reply.error(Errno::ENOSYS);
            }
            if let Some(found) = self.vfs.try_getxattr(ino, name.as_bytes()) {
                return reply_xattr(ino, size, found, reply);
            }
            let (vfs, name) = (Arc::clone(&self.vfs), name.to_owned());
            self.spawn(async move {
                reply_xattr(ino, size, vfs.getxattr(ino, name.as_bytes()).await, reply);
            });
        });
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(Opcode::Listxattr, || {
            let ino = ino.0;
            if self.config.xattrs == Xattrs::Absent {
                return reply.error(Errno::ENOSYS);
            }
            if let Some(found) = self.vfs.try_listxattr(ino) {
                return reply_xattr(ino, size, found, reply);
            }
            let vfs = Arc::clone(&self.vfs);
            self.spawn(async move {
                reply_xattr(ino, size, vfs.listxattr(ino).await, reply);
            });
        });
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // Asked only without default_permissions, by a user who mounted for himself alone.
        self.serve(Opcode::Access, || reply.error(Errno::ENOSYS));
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        // The kernel then answers itself: everything is data.
        self.serve(Opcode::Lseek, || reply.error(Errno::ENOSYS));
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
        self.serve(Opcode::Ioctl, || reply.error(Errno::ENOSYS));
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
        // The kernel then answers itself: always ready, as for any file.
        self.serve(Opcode::Poll, || reply.error(Errno::ENOSYS));
    }
}
