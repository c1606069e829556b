//! Telling the kernel what it must not keep.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

use fuser::{INodeNo, Notifier};
use lfsfs_vfs::KernelCache;
use tracing::debug;

/// A name that no directory has: a slash cannot be in one.
const NO_NAME: &str = "/";
/// Where the kernel means attributes alone.
const ATTRIBUTES: i64 = -1;
/// A length that means "to the end".
const TO_THE_END: i64 = 0;

/// What the kernel keeps of inodes, for requests whose answers cannot tell it all.
#[derive(Debug, Default)]
pub(crate) struct Kept(OnceLock<Notifier>);

impl Kept {
    /// Takes the way to the kernel, which exists before the first request is served.
    pub(crate) fn connect(&self, notifier: Notifier) {
        // A session begins once, so there is no other notifier.
        let _ = self.0.set(notifier);
    }

    /// Has the kernel ask again before it uses the attributes of an inode.
    ///
    /// To be called before a request about the inode is answered: for attributes alone the kernel
    /// takes no lock that the request holds. Dropping pages would wait for the request itself.
    pub(crate) fn drop_attributes(&self, ino: u64) {
        if let Some(notifier) = self.0.get() {
            note(notifier.inval_inode(INodeNo(ino), ATTRIBUTES, TO_THE_END));
        }
    }
}

/// The kernel that serves one mount.
#[derive(Debug)]
pub(crate) struct MountedKernel {
    notifier: Notifier,
}

impl MountedKernel {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self { notifier }
    }
}

impl KernelCache for MountedKernel {
    fn drop_entry(&self, parent: u64, name: &[u8]) {
        let name = OsStr::from_bytes(name);
        note(self.notifier.inval_entry(INodeNo(parent), name));
    }

    fn drop_attributes(&self, ino: u64) {
        note(
            self.notifier
                .inval_inode(INodeNo(ino), ATTRIBUTES, TO_THE_END),
        );
    }

    fn drop_data(&self, ino: u64) {
        let ino = INodeNo(ino);
        // Whoever lists the directory puts what he read into the cache under its lock, after our
        // answer. Dropping a name takes that lock, so behind it no old answer is on its way.
        note(self.notifier.inval_entry(ino, OsStr::new(NO_NAME)));
        note(self.notifier.inval_inode(ino, 0, TO_THE_END));
    }
}

/// What the kernel does not know it need not drop, and a mount that is gone keeps nothing.
fn note(dropped: io::Result<()>) {
    if let Err(error) = dropped {
        debug!(%error, "the kernel drops nothing");
    }
}
