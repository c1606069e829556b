//! Telling the kernel what it must not keep.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use fuser::{INodeNo, Notifier};
use lfsfs_vfs::KernelCache;
use tracing::debug;

/// A name that no directory has: a slash cannot be in one.
const NO_NAME: &str = "/";
/// Where the kernel means attributes alone.
const ATTRIBUTES: i64 = -1;
/// A length that means "to the end".
const TO_THE_END: i64 = 0;

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

impl MountedKernel {
    /// Drops pages of a file, and waits for those that are being read.
    pub(crate) fn drop_pages(&self, ino: u64, range: Range<u64>) {
        let at = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
        let len = at(range.end.saturating_sub(range.start));
        note(
            self.notifier
                .inval_inode(INodeNo(ino), at(range.start), len),
        );
    }

    /// Has the kernel keep pages of a file that it has not asked for.
    pub(crate) fn store_pages(&self, ino: u64, offset: u64, bytes: &[u8]) {
        note(self.notifier.store(INodeNo(ino), offset, bytes));
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
        // A program that lists the directory puts what it read into the cache under its lock, after our
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
