//! The transport that carries requests of the kernel: fuser's types become those of
//! [`operations`](crate::operations), and reply values become fuser's replies. Nothing is decided here.
//!
//! A reply that is dropped unsent is answered EIO by fuser: so it is for a handler that panicked and for
//! a caller that was killed.

mod attributes;
mod filesystem;
mod replies;

use std::io;
use std::sync::Arc;

use fuser::{InitFlags, KernelConfig, Request};

use lfsfs_vfs::AccessLists;

use crate::limits::REQUEST_BYTES_MAX;
use crate::operations::{Caller, Operations, Reply, RequestedMode, Writeback};
use crate::serving::Serving;

/// Readahead and other background reads in flight; the kernel's own default is 12.
const BACKGROUND_REQUESTS_MAX: u16 = 128;

/// Serves the operations of a mount through fuser.
#[derive(Debug)]
pub(crate) struct FuseTransport {
    operations: Arc<Operations>,
    serving: Arc<Serving>,
}

impl FuseTransport {
    pub(crate) fn new(operations: Arc<Operations>, serving: Arc<Serving>) -> Self {
        Self {
            operations,
            serving,
        }
    }

    /// Returns the program that waits for the answer.
    fn caller(&self, request: &Request) -> Caller {
        self.serving.note(request.pid());
        Caller {
            pid: request.pid(),
            uid: request.uid(),
            gid: request.gid(),
        }
    }

    /// Returns the mode of a new object. The kernel tells the umask also where it has applied it.
    fn requested_mode(&self, mode: u32, umask: u32) -> RequestedMode {
        match self.operations.access_lists() {
            AccessLists::Kept => mode.into(),
            AccessLists::Enforced => RequestedMode { mode, umask },
        }
    }

    /// Sends a reply: here if it is ready, else from a task.
    fn send<T: Send + 'static>(&self, reply: Reply<T>, send: impl FnOnce(T) + Send + 'static) {
        match reply {
            Reply::Ready(value) => send(value),
            Reply::Pending(pending) => self.operations.spawn(async move {
                if let Some(value) = pending.value().await {
                    send(value);
                }
            }),
            Reply::Lost => {}
        }
    }

    /// Agrees with the kernel on what it does by itself.
    fn set_up(&self, config: &mut KernelConfig) -> io::Result<()> {
        // Never ATOMIC_O_TRUNC, POSIX_LOCKS or FLOCK_LOCKS: without OPEN they could not be served.
        // Nor AUTO_INVAL_DATA: all changes come through this kernel. Nor READDIRPLUS_AUTO: it sent as many requests in a walk, and a listing
        // that is asked for once and kept for ever had better bring its attributes.
        let mut wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        if self.operations.is_writable() {
            // Kernels without it take setuid and setgid away by requests of their own. With it they
            // go on using the old mode, so a request that clears them has it dropped.
            wanted |= InitFlags::FUSE_HANDLE_KILLPRIV_V2 & config.capabilities();
        }
        if self.operations.access_lists() == AccessLists::Enforced {
            // A default list decides instead of the umask, so the kernel must not apply that before.
            wanted |= InitFlags::FUSE_POSIX_ACL | InitFlags::FUSE_DONT_MASK;
        }
        if self.operations.config().writeback == Writeback::Kernel {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        config.add_capabilities(wanted).map_err(|missing| {
            let text = format!("this kernel's FUSE lacks {missing:?}; Linux 5.1 has it");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        set_limits(config)
    }
}

/// Sets how much the kernel may ask for at once, in any session.
pub(crate) fn set_limits(config: &mut KernelConfig) -> io::Result<()> {
    let refused = |limit| io::Error::other(format!("fuser allows {limit} only"));
    config
        .set_max_background(BACKGROUND_REQUESTS_MAX)
        .map_err(refused)?;
    let refused = |limit| io::Error::other(format!("fuser allows {limit} only"));
    config.set_max_write(REQUEST_BYTES_MAX).map_err(refused)?;
    Ok(())
}
