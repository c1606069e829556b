//! Requests about names in directories: found, made, linked, moved, removed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use fuser::{Errno, RenameFlags, ReplyEmpty, ReplyEntry, Request};
use lfsfs_vfs::{Entry, Owner, RenameMode, SpecialFile, VfsError};

use super::attributes::{absent, file_attr, permissions};
use super::{Asked, GENERATION, Shown, failed, reply_empty};
use crate::counters::Opcode;

/// A name of a directory's entry, as a request has it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    parent: u64,
    name: Bytes,
}

impl Place {
    pub(super) fn new(parent: u64, name: &OsStr) -> Self {
        Self {
            parent,
            name: Bytes::copy_from_slice(name.as_bytes()),
        }
    }
}

impl Asked<'_> {
    pub(super) fn find(&self, place: &Place, reply: ReplyEntry) {
        let (call, parent) = (place.clone(), place.parent);
        let shown = self.shown(parent);
        self.answer(
            Opcode::Lookup,
            reply,
            move |vfs| {
                let Place { parent, name } = call.clone();
                async move { vfs.lookup(parent, &name).await }
            },
            move |reply, found| shown.found(parent, reply, found),
        );
    }

    /// Makes what is not a directory and not a link; regular files too, since CREATE is not served.
    pub(super) fn make_node(
        &self,
        request: &Request,
        place: Place,
        mode: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(kind) = special_file(mode, rdev) else {
            return self.serve(Opcode::Mknod, || reply.error(Errno::EINVAL));
        };
        let (owner, parent) = (maker(request), place.parent);
        let shown = self.shown(parent);
        self.answer(
            Opcode::Mknod,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                let mode = permissions(mode);
                async move { vfs.mknod(parent, &name, kind, mode, owner).await }
            },
            move |reply, made| shown.made(Opcode::Mknod, parent, reply, made),
        );
    }

    pub(super) fn make_directory(
        &self,
        request: &Request,
        place: Place,
        mode: u32,
        reply: ReplyEntry,
    ) {
        let (owner, parent) = (maker(request), place.parent);
        let shown = self.shown(parent);
        self.answer(
            Opcode::Mkdir,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                let mode = permissions(mode);
                async move { vfs.mkdir(parent, &name, mode, owner).await }
            },
            move |reply, made| shown.made(Opcode::Mkdir, parent, reply, made),
        );
    }

    pub(super) fn make_symlink(
        &self,
        request: &Request,
        place: Place,
        target: &OsStr,
        reply: ReplyEntry,
    ) {
        let (owner, parent) = (maker(request), place.parent);
        let shown = self.shown(parent);
        let target = Bytes::copy_from_slice(target.as_bytes());
        self.answer(
            Opcode::Symlink,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                let target = target.clone();
                async move { vfs.symlink(parent, &name, &target, owner).await }
            },
            move |reply, made| shown.made(Opcode::Symlink, parent, reply, made),
        );
    }

    pub(super) fn link_to(&self, ino: u64, place: Place, reply: ReplyEntry) {
        let parent = place.parent;
        let shown = self.shown(parent);
        self.answer(
            Opcode::Link,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                async move { vfs.link(ino, parent, &name).await }
            },
            move |reply, made| shown.made(Opcode::Link, parent, reply, made),
        );
    }

    pub(super) fn remove_file(&self, place: Place, reply: ReplyEmpty) {
        let parent = place.parent;
        self.answer(
            Opcode::Unlink,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                async move { vfs.unlink(parent, &name).await }
            },
            move |reply, removed| reply_empty(Opcode::Unlink, parent, reply, removed),
        );
    }

    pub(super) fn remove_directory(&self, place: Place, reply: ReplyEmpty) {
        let parent = place.parent;
        self.answer(
            Opcode::Rmdir,
            reply,
            move |vfs| {
                let Place { parent, name } = place.clone();
                async move { vfs.rmdir(parent, &name).await }
            },
            move |reply, removed| reply_empty(Opcode::Rmdir, parent, reply, removed),
        );
    }

    pub(super) fn move_name(&self, from: Place, to: Place, flags: RenameFlags, reply: ReplyEmpty) {
        let Some(mode) = rename_mode(flags) else {
            return self.serve(Opcode::Rename, || reply.error(Errno::EINVAL));
        };
        let parent = from.parent;
        self.answer(
            Opcode::Rename,
            reply,
            move |vfs| {
                let (from, to) = (from.clone(), to.clone());
                async move {
                    vfs.rename(from.parent, &from.name, to.parent, &to.name, mode)
                        .await
                }
            },
            move |reply, moved| reply_empty(Opcode::Rename, parent, reply, moved),
        );
    }

    pub(super) fn forget_lookups(&self, ino: u64, nlookup: u64) {
        self.serve(Opcode::Forget, || self.vfs.forget(ino, nlookup));
    }
}

impl Shown {
    /// Answers a lookup. An error would be asked again each time; node 0 is kept like a name.
    fn found(self, parent: u64, reply: ReplyEntry, found: Result<Entry, VfsError>) {
        match found {
            Err(VfsError::NotFound) => reply.entry(&self.lifetime, &absent(), GENERATION),
            found => self.made(Opcode::Lookup, parent, reply, found),
        }
    }

    fn made(self, opcode: Opcode, parent: u64, reply: ReplyEntry, made: Result<Entry, VfsError>) {
        match made {
            Ok(entry) => {
                let attr = file_attr(&entry.attr, self.owner);
                reply.entry(&self.lifetime, &attr, GENERATION);
            }
            Err(error) => reply.error(failed(opcode, parent, &error)),
        }
    }
}

/// Returns whom a new object belongs to: whoever makes it.
fn maker(request: &Request) -> Owner {
    Owner {
        uid: request.uid(),
        gid: request.gid(),
    }
}

fn special_file(mode: u32, rdev: u32) -> Option<SpecialFile> {
    match mode & libc::S_IFMT {
        libc::S_IFREG | 0 => Some(SpecialFile::File),
        libc::S_IFIFO => Some(SpecialFile::Fifo),
        libc::S_IFSOCK => Some(SpecialFile::Socket),
        libc::S_IFBLK => Some(SpecialFile::BlockDevice(rdev)),
        libc::S_IFCHR => Some(SpecialFile::CharDevice(rdev)),
        _ => None,
    }
}

/// Returns what a rename does about an entry in its way; `None` for flags that nobody knows here.
fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    if flags.is_empty() {
        Some(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Some(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Some(RenameMode::Exchange)
    } else {
        None
    }
}
