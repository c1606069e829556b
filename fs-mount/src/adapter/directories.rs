//! Requests that list directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use lfsfs_vfs::{DirEntry, Vfs, VfsError};

use super::attributes::{file_attr, file_type, without_attributes};
use super::{Asked, GENERATION, Shown, failed};
use crate::counters::Opcode;

/// A reply that takes entries.
pub(super) trait Entries: Send + 'static {
    const OPCODE: Opcode;
    /// Whether entries come with attributes and count a lookup each.
    const HAVE_ATTRIBUTES: bool;

    /// Adds an entry and says whether there was room; fuser says whether there was none.
    fn take(&mut self, entry: &DirEntry<'_>, shown: Shown) -> bool;

    fn end(self, result: Result<(), Errno>);
}

impl Entries for ReplyDirectory {
    const OPCODE: Opcode = Opcode::Readdir;
    const HAVE_ATTRIBUTES: bool = false;

    fn take(&mut self, entry: &DirEntry<'_>, _shown: Shown) -> bool {
        let (ino, kind) = (INodeNo(entry.ino), file_type(entry.kind));
        !self.add(ino, entry.offset, kind, OsStr::from_bytes(entry.name))
    }

    fn end(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(error) => self.error(error),
        }
    }
}

impl Entries for ReplyDirectoryPlus {
    const OPCODE: Opcode = Opcode::Readdirplus;
    const HAVE_ATTRIBUTES: bool = true;

    fn take(&mut self, entry: &DirEntry<'_>, shown: Shown) -> bool {
        let attr = match &entry.attr {
            Some(attr) => file_attr(attr, shown.owner),
            None => without_attributes(entry),
        };
        let name = OsStr::from_bytes(entry.name);
        let lifetime = &shown.lifetime;
        !self.add(attr.ino, entry.offset, name, lifetime, &attr, GENERATION)
    }

    fn end(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(error) => self.error(error),
        }
    }
}

impl Asked<'_> {
    /// Lists from `offset` on. Not by [`answer`](Self::answer): the reply takes the entries while
    /// the core reads, which it does only when it need not wait any more.
    pub(super) fn list<R: Entries>(&self, ino: u64, offset: u64, mut reply: R) {
        self.serve(R::OPCODE, || {
            let vfs = Arc::clone(&self.vfs);
            let shown = self.shown(ino);
            if let Some(result) = self.at_once(read(&vfs, ino, offset, &mut reply, shown)) {
                return finish(ino, reply, result);
            }
            let read = async move {
                let result = read(&vfs, ino, offset, &mut reply, shown).await;
                (reply, result)
            };
            self.in_task(read, move |(reply, result)| finish(ino, reply, result));
        });
    }
}

async fn read<R: Entries>(
    vfs: &Vfs,
    ino: u64,
    offset: u64,
    reply: &mut R,
    shown: Shown,
) -> Result<(), VfsError> {
    let mut sink = |entry: DirEntry<'_>| reply.take(&entry, shown);
    vfs.readdir(ino, offset, R::HAVE_ATTRIBUTES, &mut sink)
        .await
}

fn finish<R: Entries>(ino: u64, reply: R, result: Result<(), VfsError>) {
    reply.end(result.map_err(|error| failed(R::OPCODE, ino, &error)));
}
