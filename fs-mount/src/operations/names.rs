//! Requests about names in directories: LOOKUP, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_vfs::{Attr, Entry, NewMode, Owner, RenameMode, SpecialFile, VfsError};
use rustix::io::Errno;

use super::attributes::permissions;
use super::{Answer, Caller, Operations, Request, Shown};
use crate::counters::Opcode;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The node of the directory.
    pub parent: u64,
    /// The name.
    pub name: &'a [u8],
}

/// The mode that a new object is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedMode {
    /// As mknod(2) takes it, with the kind of file.
    pub mode: u32,
    /// What the process takes away from it, where the kernel has not done that.
    pub umask: u32,
}

impl From<u32> for RequestedMode {
    /// The kernel has taken away what it must.
    fn from(mode: u32) -> Self {
        Self { mode, umask: 0 }
    }
}

impl From<RequestedMode> for NewMode {
    fn from(requested: RequestedMode) -> Self {
        Self {
            bits: permissions(requested.mode),
            umask: permissions(requested.umask),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryFound {
    /// The attributes; one lookup is counted. `None`: there is no such entry. The kernel keeps that
    /// like a name, where it would ask again after an error each time.
    pub attr: Option<Attr>,
    /// How long the kernel may keep it.
    pub lifetime: Duration,
}

impl Operations {
    /// Finds a name.
    pub fn lookup(&self, caller: Caller, place: Place<'_>) -> Answer<EntryFound> {
        let (vfs, shown) = (Arc::clone(&self.vfs), self.shown(place.parent));
        let (parent, name) = (place.parent, place.name.to_vec());
        self.ask(place.request(Opcode::Lookup, caller), async move {
            match vfs.lookup(parent, &name).await {
                Err(VfsError::NotFound) => Ok(shown.absent()),
                found => Ok(shown.entry(found?)),
            }
        })
    }

    /// Makes what is no directory and no link: regular files too, since CREATE is not served.
    pub fn mknod(
        &self,
        caller: Caller,
        place: Place<'_>,
        mode: impl Into<RequestedMode>,
        rdev: u32,
    ) -> Answer<EntryFound> {
        let mode = mode.into();
        let Some(kind) = special_file(mode.mode, rdev) else {
            return self.refuse(Opcode::Mknod, Errno::INVAL);
        };
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        let owner = owner_of(caller);
        self.make(place.request(Opcode::Mknod, caller), async move {
            vfs.mknod(parent, &name, kind, mode, owner).await
        })
    }

    /// Makes a directory.
    pub fn mkdir(
        &self,
        caller: Caller,
        place: Place<'_>,
        mode: impl Into<RequestedMode>,
    ) -> Answer<EntryFound> {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        let (mode, owner) = (mode.into(), owner_of(caller));
        self.make(place.request(Opcode::Mkdir, caller), async move {
            vfs.mkdir(parent, &name, mode, owner).await
        })
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, caller: Caller, place: Place<'_>, target: &[u8]) -> Answer<EntryFound> {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        let (target, owner) = (target.to_vec(), owner_of(caller));
        self.make(place.request(Opcode::Symlink, caller), async move {
            vfs.symlink(parent, &name, &target, owner).await
        })
    }

    /// Gives a file another name.
    pub fn link(&self, caller: Caller, ino: u64, place: Place<'_>) -> Answer<EntryFound> {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        self.make(place.request(Opcode::Link, caller), async move {
            vfs.link(ino, parent, &name).await
        })
    }

    /// Takes a name away from what is no directory.
    pub fn unlink(&self, caller: Caller, place: Place<'_>) -> Answer<()> {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        self.ask(place.request(Opcode::Unlink, caller), async move {
            vfs.unlink(parent, &name).await
        })
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, caller: Caller, place: Place<'_>) -> Answer<()> {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), place.parent, place.name.to_vec());
        self.ask(place.request(Opcode::Rmdir, caller), async move {
            vfs.rmdir(parent, &name).await
        })
    }

    /// Moves a name. `flags` are those of renameat2(2).
    pub fn rename(&self, caller: Caller, from: Place<'_>, to: Place<'_>, flags: u32) -> Answer<()> {
        let Some(mode) = rename_mode(flags) else {
            return self.refuse(Opcode::Rename, Errno::INVAL);
        };
        let vfs = Arc::clone(&self.vfs);
        let (parent, name) = (from.parent, from.name.to_vec());
        let (new_parent, new_name) = (to.parent, to.name.to_vec());
        self.ask(from.request(Opcode::Rename, caller), async move {
            vfs.rename(parent, &name, new_parent, &new_name, mode).await
        })
    }

    fn make(
        &self,
        request: Request,
        call: impl Future<Output = Result<Entry, VfsError>> + Send + 'static,
    ) -> Answer<EntryFound> {
        let shown = self.shown(request.ino);
        self.ask(request, async move { Ok(shown.entry(call.await?)) })
    }
}

impl Place<'_> {
    fn request(&self, opcode: Opcode, caller: Caller) -> Request {
        Request::new(opcode, self.parent, caller)
    }
}

impl Shown {
    fn entry(self, entry: Entry) -> EntryFound {
        EntryFound {
            attr: Some(self.attr(entry.attr)),
            lifetime: self.lifetime,
        }
    }

    fn absent(self) -> EntryFound {
        EntryFound {
            attr: None,
            lifetime: self.lifetime,
        }
    }
}

/// Returns the owner of a new object: the caller who makes it.
fn owner_of(caller: Caller) -> Owner {
    Owner {
        uid: caller.uid,
        gid: caller.gid,
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

/// Returns what a rename does about an entry in its way; `None` for flags that are not known here.
fn rename_mode(flags: u32) -> Option<RenameMode> {
    match flags {
        0 => Some(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Some(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Some(RenameMode::Exchange),
        _ => None,
    }
}
