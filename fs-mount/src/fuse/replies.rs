//! Reply values as fuser's replies.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use fuser::{
    Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr,
};
use lfsfs_vfs::Statfs;
use rustix::io::Errno;

use super::attributes::{absent, file_attr, file_type, without_attributes};
use crate::limits::NODE_GENERATION;
use crate::operations::{Attributes, DirectorySink, EntryFound, Listed, ListedEntry, XattrFound};

const GENERATION: Generation = Generation(NODE_GENERATION as u64);

/// A reply of fuser that takes a value or an error number.
pub(super) trait Respond<T>: Send + 'static {
    fn respond(self, answer: Result<T, Errno>);
}

fn error(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// Writes [`Respond`] for a reply: how it takes the value; all replies take an error alike.
macro_rules! respond {
    ($reply:ty, $value:ty, |$this:ident, $it:pat_param| $send:expr) => {
        impl Respond<$value> for $reply {
            fn respond(self, answer: Result<$value, Errno>) {
                let $this = self;
                match answer {
                    Ok($it) => $send,
                    Err(errno) => $this.error(error(errno)),
                }
            }
        }
    };
}

respond!(ReplyEmpty, (), |reply, ()| reply.ok());
respond!(ReplyDirectory, (), |reply, ()| reply.ok());
respond!(ReplyDirectoryPlus, (), |reply, ()| reply.ok());
respond!(ReplyData, Bytes, |reply, bytes| reply.data(&bytes));
respond!(ReplyWrite, u32, |reply, len| reply.written(len));
respond!(ReplyLseek, i64, |reply, offset| reply.offset(offset));
respond!(ReplyAttr, Attributes, |reply, it| reply
    .attr(&it.lifetime, &file_attr(&it.attr)));
respond!(ReplyXattr, XattrFound, |reply, found| match found {
    XattrFound::Len(len) => reply.size(len),
    XattrFound::Bytes(bytes) => reply.data(&bytes),
});
respond!(ReplyEntry, EntryFound, |reply, it| {
    let attr = it.attr.map_or_else(absent, |attr| file_attr(&attr));
    reply.entry(&it.lifetime, &attr, GENERATION);
});

/// Writes [`Respond`] for replies to requests that are only refused.
macro_rules! only_refused {
    ($($reply:ty),*) => {
        $(respond!($reply, Infallible, |_reply, never| match never {});)*
    };
}

only_refused!(
    ReplyOpen,
    ReplyCreate,
    ReplyIoctl,
    ReplyPoll,
    ReplyEmpty,
    ReplyWrite
);

pub(super) fn statfs(reply: ReplyStatfs, statfs: &Statfs) {
    let Statfs {
        blocks,
        blocks_free,
        files,
        files_free,
        block_len,
        name_len_max,
    } = *statfs;
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
}

impl DirectorySink for ReplyDirectory {
    const HAVE_ATTRIBUTES: bool = false;

    /// fuser says whether there was no room.
    fn add(&mut self, entry: &ListedEntry<'_>) -> bool {
        let (ino, kind) = (INodeNo(entry.ino), file_type(entry.kind));
        !Self::add(self, ino, entry.offset, kind, OsStr::from_bytes(entry.name))
    }
}

impl DirectorySink for ReplyDirectoryPlus {
    const HAVE_ATTRIBUTES: bool = true;

    /// fuser says whether there was no room.
    fn add(&mut self, entry: &ListedEntry<'_>) -> bool {
        let attr = match &entry.attr {
            Some(attr) => file_attr(attr),
            None => without_attributes(entry),
        };
        let (name, lifetime) = (OsStr::from_bytes(entry.name), &entry.lifetime);
        !Self::add(
            self,
            attr.ino,
            entry.offset,
            name,
            lifetime,
            &attr,
            GENERATION,
        )
    }
}

/// Sends a directory, whose entries are in the reply already.
pub(super) fn directory<R: Respond<()>>(listed: Listed<R>) {
    listed.sink.respond(listed.result);
}
