//! The thin layer between fuser and the file system core.
//!
//! Each request is unpacked, counted and answered: at once where all it needs is in memory, else by
//! a task that owns the reply. This module decides what the kernel may keep, and nothing else: no
//! policy, no caching and no network of its own.
//!
//! The kernel may keep everything for ever: names (also those that do not exist), attributes, link
//! targets, listings and pages. What a version shows never changes, and every change of a writable
//! mount comes through this kernel, which drops by itself what a change makes stale. OPEN, OPENDIR,
//! FLUSH and CREATE are answered ENOSYS: the kernel takes that as "never ask again", opens without
//! us, and makes files with MKNOD, so that nobody keeps handles.
//!
//! A panic in a handler drops its reply, which fuser answers with EIO; the mount lives on.

mod attributes;
mod data;
mod directories;
mod filesystem;
mod names;
mod xattrs;

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fuser::{Errno, Generation, InitFlags, KernelConfig, ReplyEmpty, Request};
use lfsfs_common::request::{RequestId, carried};
use lfsfs_vfs::{Vfs, VfsError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, info_span, warn};

pub(crate) use self::attributes::ShownOwner;
use crate::caller::Caller;
use crate::counters::{Counters, Opcode};
use crate::cut::{PageSender, Writes};
use crate::errno;
use crate::kernel_cache::Kept;
use crate::options::Access;

/// As good as for ever, and far from overflowing the kernel's arithmetic.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);
/// Node numbers are never used again for something else.
pub(crate) const GENERATION: Generation = Generation(0);
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

/// Who gathers small writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Writeback {
    /// Nobody: each is here before it is acknowledged, and so survives this process.
    #[default]
    Never,
    /// The kernel: faster, but what was not synced dies with this process.
    Kernel,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AdapterConfig {
    /// Whether anything can be changed.
    pub(crate) access: Access,
    /// Whom they belong to.
    pub(crate) owner: ShownOwner,
    /// Whether they have extended attributes.
    pub(crate) xattrs: Xattrs,
    /// Who gathers small writes.
    pub(crate) writeback: Writeback,
}

/// Serves a version through fuser.
#[derive(Debug)]
pub(crate) struct Adapter {
    vfs: Arc<Vfs>,
    config: AdapterConfig,
    counters: Arc<Counters>,
    writes: Arc<Writes>,
    /// `None` where the kernel cannot be made to send the pages of one file.
    pages: Option<Arc<PageSender>>,
    kept: Arc<Kept>,
    runtime: Handle,
    waiting: Arc<Semaphore>,
}

/// How a reply shows what it tells: settled before the core is asked, because what was found while
/// a switch began must not be kept longer than the switch lasts.
#[derive(Debug, Clone, Copy)]
struct Shown {
    owner: ShownOwner,
    lifetime: Duration,
}

impl Adapter {
    /// Serves `vfs`; what must wait does so on `runtime`.
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        config: AdapterConfig,
        counters: Arc<Counters>,
        (writes, pages): (Arc<Writes>, Option<PageSender>),
        runtime: Handle,
    ) -> Self {
        Self {
            vfs,
            config,
            counters,
            writes,
            pages: pages.map(Arc::new),
            kept: Arc::default(),
            runtime,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Returns what must be connected to the kernel before the first request is served.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// Counts a request and runs its handler. A panic ends there: the reply went with it.
    fn serve(&self, opcode: Opcode, handler: impl FnOnce()) {
        self.counters.add(opcode);
        let id = RequestId::next();
        let _span = info_span!("fuse", ?opcode, request = %id).entered();
        if catch_unwind(AssertUnwindSafe(|| id.within(handler))).is_err() {
            warn!("a handler panicked; its caller got EIO");
        }
    }

    /// Returns what a call brings if it need not wait.
    fn at_once<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let _runtime = self.runtime.enter();
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// Returns how replies show what they tell of a directory or of its entries. The kernel may
    /// keep it, but not while a switch to another version drains the directory.
    fn shown(&self, directory: u64) -> Shown {
        Shown {
            owner: self.config.owner,
            lifetime: match self.vfs.may_keep(directory) {
                true => FOR_EVER,
                false => Duration::ZERO,
            },
        }
    }

    /// Returns a request on its way to its answer.
    fn asked(&self, request: &Request) -> Asked<'_> {
        Asked {
            adapter: self,
            caller: Caller(request.pid()),
        }
    }

    fn is_writable(&self) -> bool {
        self.config.access == Access::ReadWrite
    }

    /// Agrees with the kernel on what it does without us.
    fn set_up(&self, config: &mut KernelConfig) -> io::Result<()> {
        // Never ATOMIC_O_TRUNC, POSIX_LOCKS or FLOCK_LOCKS: without OPEN nobody could serve them.
        // Nor AUTO_INVAL_DATA: all changes come through this kernel. Nor DONT_MASK: it applies the
        // umask itself. Nor READDIRPLUS_AUTO: it sent as many requests in a walk, and a listing
        // that is asked for once and kept for ever had better bring its attributes.
        let mut wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        if self.is_writable() {
            // Kernels without it take setuid and setgid away by requests of their own. With it they
            // go on using the old mode, so a request that clears them has it dropped.
            wanted |= InitFlags::FUSE_HANDLE_KILLPRIV_V2 & config.capabilities();
        }
        if self.config.writeback == Writeback::Kernel {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
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
}

/// One request: what serves it, and who waits for the answer.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    adapter: &'a Adapter,
    caller: Caller,
}

impl Deref for Asked<'_> {
    type Target = Adapter;

    fn deref(&self) -> &Adapter {
        self.adapter
    }
}

impl Asked<'_> {
    /// Serves a request by a call of the core, which is begun anew in a task if it must wait: the
    /// core says that a call that waits has changed nothing yet.
    fn answer<R, T, F>(
        &self,
        opcode: Opcode,
        reply: R,
        call: impl Fn(Arc<Vfs>) -> F,
        respond: impl FnOnce(R, Result<T, VfsError>) + Send + 'static,
    ) where
        R: Send + 'static,
        T: Send + 'static,
        F: Future<Output = Result<T, VfsError>> + Send + 'static,
    {
        self.serve(opcode, || {
            let begin = || call(Arc::clone(&self.vfs));
            match self.at_once(begin()) {
                Some(result) => respond(reply, result),
                None => self.in_task(begin(), |result| respond(reply, result)),
            }
        });
    }

    /// Runs what must wait. The kernel bounds how many requests are out; the permits bound how
    /// many of them ask the network at once.
    ///
    /// A caller that was killed waits no longer: its request is dropped, the reply with it, and fuser
    /// answers the dropped reply, for which the kernel keeps the caller.
    fn in_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        respond: impl FnOnce(T) + Send + 'static,
    ) {
        let waiting = Arc::clone(&self.waiting);
        let caller = self.caller;
        self.runtime.spawn(carried(async move {
            let work = async move {
                // Only a closed semaphore gives no permit, and nobody closes this one.
                let _permit = waiting.acquire_owned().await;
                respond(work.await);
            };
            tokio::select! {
                () = work => {}
                () = caller.killed() => debug!(?caller, "the caller of a request was killed"),
            }
        }));
    }
}

fn reply_empty(opcode: Opcode, ino: u64, reply: ReplyEmpty, result: Result<(), VfsError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(failed(opcode, ino, &error)),
    }
}

/// The core has logged what went wrong with network and cache; here it becomes a number.
fn failed(opcode: Opcode, ino: u64, error: &VfsError) -> Errno {
    match error {
        VfsError::Overlay { source } => {
            let error: &dyn std::error::Error = &**source;
            warn!(?opcode, ino, error, "the overlay failed");
        }
        error => debug!(?opcode, ino, %error, "request failed"),
    }
    errno::of(error)
}
