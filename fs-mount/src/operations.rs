//! The operations of a mount, whatever carries them: a request in, a reply value out.
//!
//! A transport reads requests, calls the method of each, and sends the reply: `fuse.rs` for the
//! kernel, and one in memory for tests. Decided here, once for all transports: how long the kernel
//! may keep a reply, which requests are answered ENOSYS, what a read-only mount refuses, error
//! numbers, counts, spans, and what must wait. No policy, no caching and no network of its own.
//!
//! The kernel may keep everything for ever: names (also those that do not exist), attributes, link
//! targets, listings and pages. What a version shows never changes, and every change of a writable
//! mount comes through this kernel, which drops by itself what a change makes stale. OPEN, OPENDIR,
//! FLUSH and CREATE are answered ENOSYS: the kernel takes that as "never ask again", opens files
//! without asking, and makes them with MKNOD, so that no program has handles.

mod attributes;
mod caller;
mod data;
mod directories;
mod errno;
mod names;
mod reply;
mod xattrs;

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lfsfs_common::request::RequestId;
use lfsfs_common::tasks::Spawner;
use lfsfs_vfs::{AccessLists, Attr, KernelCache, Statfs, Vfs, VfsError};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tracing::{debug, debug_span, warn};

pub use self::attributes::{Attributes, ShownOwner};
pub use self::caller::Caller;
pub use self::data::{CopyRequest, FallocateRequest, WriteRequest};
pub use self::directories::{DirectorySink, Listed, ListedEntry};
pub use self::names::{EntryFound, Place, RequestedMode};
pub use self::reply::{Answer, Pending, Reply};
pub use self::xattrs::{SetxattrRequest, XattrFound};
use crate::counters::{Counters, Opcode};
use crate::cut::{PageSource, Writes};
use crate::options::Access;

/// As good as for ever, and far from overflowing the kernel's arithmetic.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// Whether extended attributes are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Xattrs {
    /// They are, and each look at one is a request: the kernel does not keep them.
    #[default]
    Served,
    /// The mount says once that it has none.
    Absent,
}

/// Which side gathers small writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writeback {
    /// None: each write is here before it is acknowledged, and so survives this process.
    #[default]
    Never,
    /// The kernel: faster, but what was not synced dies with this process.
    Kernel,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationsConfig {
    /// Whether anything can be changed.
    pub access: Access,
    /// The owner that objects seem to have.
    pub owner: ShownOwner,
    /// Whether they have extended attributes.
    pub xattrs: Xattrs,
    /// Which side gathers small writes.
    pub writeback: Writeback,
}

/// The operations of one mount: a handle, cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations {
    vfs: Arc<Vfs>,
    config: OperationsConfig,
    counters: Arc<Counters>,
    writes: Arc<Writes>,
    /// `None` where the kernel cannot be made to send the pages of one file.
    pages: Option<Arc<dyn PageSource>>,
    /// What the kernel keeps; set once, before the first request.
    kernel: Arc<OnceLock<Arc<dyn KernelCache>>>,
    runtime: Handle,
    tasks: Spawner,
}

/// How a reply shows what it tells: settled before the core is asked, because what was found while
/// a switch began must not be kept longer than the switch lasts.
#[derive(Debug, Clone, Copy)]
struct Shown {
    owner: ShownOwner,
    access_lists: AccessLists,
    lifetime: Duration,
}

/// One request: what it is, the node that it is about, and the caller who waits for the reply.
#[derive(Debug, Clone, Copy)]
struct Request {
    opcode: Opcode,
    ino: u64,
    caller: Caller,
}

impl Request {
    fn new(opcode: Opcode, ino: u64, caller: Caller) -> Self {
        Self {
            opcode,
            ino,
            caller,
        }
    }
}

impl Operations {
    /// Serves `vfs`. What must wait runs on `runtime`; `pages` makes the kernel send the pages of a
    /// file, where that can be done.
    #[must_use]
    pub fn new(
        vfs: Arc<Vfs>,
        config: OperationsConfig,
        pages: Option<Arc<dyn PageSource>>,
        runtime: Handle,
    ) -> Self {
        Self {
            tasks: vfs.tasks().spawner().clone(),
            vfs,
            config,
            counters: Arc::default(),
            writes: Arc::default(),
            pages,
            kernel: Arc::default(),
            runtime,
        }
    }

    /// Takes the way to what the kernel keeps, before the first request is served.
    pub fn connect(&self, kernel: Arc<dyn KernelCache>) {
        // A session begins once, so there is no other kernel.
        let _ = self.kernel.set(kernel);
    }

    /// Returns the counts of requests.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Runs what must wait in a task that ends with the mount, from any thread.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _runtime = self.runtime.enter();
        // The mount tracks the task.
        drop(self.tasks.spawn(work));
    }

    /// Returns the WRITE requests that are being served.
    pub(crate) fn writes(&self) -> &Arc<Writes> {
        &self.writes
    }

    /// Returns how objects are shown.
    #[must_use]
    pub fn config(&self) -> &OperationsConfig {
        &self.config
    }

    /// Returns whether the kernel enforces access lists.
    #[must_use]
    pub fn access_lists(&self) -> AccessLists {
        self.vfs.access_lists()
    }

    /// Returns true if anything can be changed.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.config.access == Access::ReadWrite
    }

    /// Returns the size of the file system.
    pub fn statfs(&self) -> Reply<Statfs> {
        self.serve(Opcode::Statfs, || Reply::Ready(self.vfs.statfs()))
    }

    /// The kernel opens files by itself from the first answer on.
    pub fn open(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Open)
    }

    /// The kernel opens directories by itself from the first answer on.
    pub fn opendir(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Opendir)
    }

    /// The kernel makes files by MKNOD, and opens them by itself, from the first answer on.
    pub fn create(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Create)
    }

    /// The kernel tells of no closed descriptor from the first answer on.
    pub fn flush(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Flush)
    }

    /// The kernel checks permissions by itself. It asks only without `default_permissions`: in the
    /// mount of a user that no other user may enter.
    pub fn access(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Access)
    }

    /// There is no ioctl.
    pub fn ioctl(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Ioctl)
    }

    /// The kernel answers by itself: a file is always ready.
    pub fn poll(&self) -> Answer<Infallible> {
        self.left_to_kernel(Opcode::Poll)
    }

    /// Nothing is open here that could be released.
    pub fn release(&self) -> Answer<()> {
        self.serve(Opcode::Release, || Reply::Ready(Ok(())))
    }

    /// Nothing is open here that could be released.
    pub fn releasedir(&self) -> Answer<()> {
        self.serve(Opcode::Releasedir, || Reply::Ready(Ok(())))
    }

    /// Takes back lookups of a node. The kernel waits for no reply.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let forgotten = self.serve(Opcode::Forget, || {
            self.vfs.forget(ino, lookups);
            Reply::Ready(())
        });
        drop(forgotten);
    }

    fn left_to_kernel<T>(&self, opcode: Opcode) -> Answer<T> {
        self.refuse(opcode, Errno::NOSYS)
    }

    fn refuse<T>(&self, opcode: Opcode, error: Errno) -> Answer<T> {
        self.serve(opcode, || Reply::Ready(Err(error)))
    }

    /// Serves a request by a call of the core.
    fn ask<T: Send + 'static>(
        &self,
        request: Request,
        call: impl Future<Output = Result<T, VfsError>> + Send + 'static,
    ) -> Answer<T> {
        let answer = async move { call.await.map_err(|error| failed(request, &error)) };
        self.serve(request.opcode, || Reply::begin(request.caller, answer))
    }

    /// Counts a request and runs its handler. A panic ends here, and the reply is lost.
    fn serve<T>(&self, opcode: Opcode, handler: impl FnOnce() -> Reply<T>) -> Reply<T> {
        self.counters.add(opcode);
        let id = RequestId::next();
        // Not of a higher level: a span costs as much as the rest of a short request.
        let _span = debug_span!("fuse", ?opcode, request = %id).entered();
        let _runtime = self.runtime.enter();
        catch_unwind(AssertUnwindSafe(|| id.within(handler))).unwrap_or_else(|_| {
            warn!(?opcode, request = %id, "a handler panicked; its caller gets EIO");
            Reply::Lost
        })
    }

    /// Returns how replies show what they tell of a directory or of its entries. The kernel may
    /// keep it, but not while a switch to another version drains the directory.
    fn shown(&self, directory: u64) -> Shown {
        let may_keep = self.vfs.may_keep(directory);
        Shown {
            owner: self.config.owner,
            access_lists: self.vfs.access_lists(),
            lifetime: if may_keep { FOR_EVER } else { Duration::ZERO },
        }
    }
}

impl Shown {
    fn attr(self, attr: Attr) -> Attr {
        Attr {
            uid: self.owner.uid.unwrap_or(attr.uid),
            gid: self.owner.gid.unwrap_or(attr.gid),
            mode: match self.access_lists {
                AccessLists::Kept => attr.mode,
                AccessLists::Enforced => attr.recorded_mode,
            },
            ..attr
        }
    }
}

/// Returns the error number of a call of the core that failed. The core has logged what went wrong with
/// network and cache.
fn failed(request: Request, error: &VfsError) -> Errno {
    let Request { opcode, ino, .. } = request;
    match error {
        VfsError::Overlay { source } => {
            let error: &dyn std::error::Error = &**source;
            warn!(?opcode, ino, error, "the overlay failed");
        }
        error => debug!(?opcode, ino, %error, "request failed"),
    }
    errno::of(error)
}

#[cfg(test)]
mod tests {
    use lfsfs_types::Timestamp;
    use lfsfs_vfs::FileKind;

    use super::*;

    #[test]
    fn a_chosen_owner_replaces_the_recorded_one() {
        let attr = Attr {
            ino: 7,
            size: 1,
            blocks: 1,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            kind: FileKind::File,
            mode: 0o4755,
            recorded_mode: 0o4775,
            lists_mark: 0,
            nlink: 1,
            uid: 1,
            gid: 2,
            rdev: 0,
            blksize: 4096,
        };
        let shown = Shown {
            owner: ShownOwner {
                uid: Some(9),
                gid: None,
            },
            access_lists: AccessLists::Kept,
            lifetime: FOR_EVER,
        };
        assert_eq!(shown.attr(attr), Attr { uid: 9, ..attr });
        let shown = Shown {
            access_lists: AccessLists::Enforced,
            ..shown
        };
        assert_eq!(shown.attr(attr).mode, 0o4775, "the kernel checks the list");
    }
}
