//! READDIR and READDIRPLUS.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_vfs::{Attr, DirEntry, FileKind};
use rustix::io::Errno;

use super::{Caller, Operations, Reply, Request, failed};
use crate::counters::Opcode;

/// What entries of a directory are put into: the buffer of a reply.
pub trait DirectorySink: Send + 'static {
    /// Whether entries come with attributes and count a lookup each (READDIRPLUS).
    const HAVE_ATTRIBUTES: bool;

    /// Adds an entry. Returns false if there is no room for it.
    fn add(&mut self, entry: &ListedEntry<'_>) -> bool;
}

/// An entry of a directory as the kernel sees it.
#[derive(Debug, Clone, Copy)]
pub struct ListedEntry<'a> {
    /// The node.
    pub ino: u64,
    /// Where the kernel goes on behind it.
    pub offset: u64,
    /// What it is.
    pub kind: FileKind,
    /// Its name.
    pub name: &'a [u8],
    /// Its attributes, if the sink wants them; never those of `.` and `..`. One lookup is counted.
    pub attr: Option<Attr>,
    /// How long the kernel may keep it.
    pub lifetime: Duration,
}

/// A sink with the entries that it took.
#[derive(Debug)]
pub struct Listed<S> {
    /// The sink.
    pub sink: S,
    /// Whether the directory could be read.
    pub result: Result<(), Errno>,
}

impl Operations {
    /// Lists a directory from `offset` on, until the sink is full.
    pub fn readdir<S: DirectorySink>(
        &self,
        caller: Caller,
        ino: u64,
        offset: u64,
        mut sink: S,
    ) -> Reply<Listed<S>> {
        let opcode = if S::HAVE_ATTRIBUTES {
            Opcode::Readdirplus
        } else {
            Opcode::Readdir
        };
        let request = Request::new(opcode, ino, caller);
        let (vfs, shown) = (Arc::clone(&self.vfs), self.shown(ino));
        let list = async move {
            let mut add = |entry: DirEntry<'_>| {
                sink.add(&ListedEntry {
                    ino: entry.ino,
                    offset: entry.offset,
                    kind: entry.kind,
                    name: entry.name,
                    attr: entry.attr.map(|attr| shown.attr(attr)),
                    lifetime: shown.lifetime,
                })
            };
            let read = vfs.readdir(ino, offset, S::HAVE_ATTRIBUTES, &mut add).await;
            let result = read.map_err(|error| failed(request, &error));
            Listed { sink, result }
        };
        self.serve(opcode, || Reply::begin(caller, list))
    }
}
