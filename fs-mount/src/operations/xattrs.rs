//! GETXATTR, LISTXATTR, SETXATTR and REMOVEXATTR.

use std::sync::Arc;

use bytes::Bytes;
use lfsfs_types::{ACCESS_LIST, DEFAULT_LIST};
use lfsfs_vfs::{AccessLists, ListSetter, VfsError, XattrMode};
use rustix::io::Errno;

use super::{Answer, Caller, Operations, Reply, Request, Xattrs, failed};
use crate::counters::Opcode;

/// The user who may read `trusted.*`.
const ROOT: u32 = 0;

/// The value of an attribute, or the names of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrFound {
    /// The caller asked for the length only.
    Len(u32),
    /// The bytes.
    Bytes(Bytes),
}

/// What a SETXATTR request asks for.
#[derive(Debug, Clone, Copy)]
pub struct SetxattrRequest<'a> {
    /// The node.
    pub ino: u64,
    /// The name of the attribute.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// The flags of setxattr(2).
    pub flags: i32,
}

impl Operations {
    /// Returns a value of at most `size` bytes; its length alone for `size` 0.
    pub fn getxattr(&self, caller: Caller, ino: u64, name: &[u8], size: u32) -> Answer<XattrFound> {
        let vfs = Arc::clone(&self.vfs);
        let name = name.to_vec();
        let get = async move { vfs.getxattr(ino, &name).await };
        let request = Request::new(Opcode::Getxattr, ino, caller);
        self.ask_sized(request, size, get)
    }

    /// Returns the names, each with a NUL behind it, as [`getxattr`](Self::getxattr) returns a value.
    /// Root alone sees the names that root alone can read; the kernel does not see to that.
    pub fn listxattr(&self, caller: Caller, ino: u64, size: u32) -> Answer<XattrFound> {
        let vfs = Arc::clone(&self.vfs);
        let list = async move {
            let names = vfs.listxattr(ino).await?;
            if caller.uid == ROOT {
                return Ok(names);
            }
            Ok(without_trusted(&names))
        };
        let request = Request::new(Opcode::Listxattr, ino, caller);
        self.ask_sized(request, size, list)
    }

    /// Sets an attribute.
    pub fn setxattr(&self, caller: Caller, set: SetxattrRequest<'_>) -> Answer<()> {
        if self.has_no_xattrs() {
            return self.left_to_kernel(Opcode::Setxattr);
        }
        let Some(mode) = xattr_mode(set.flags) else {
            return self.refuse(Opcode::Setxattr, Errno::INVAL);
        };
        let ino = set.ino;
        let request = Request::new(Opcode::Setxattr, ino, caller);
        let vfs = Arc::clone(&self.vfs);
        let (name, value) = (set.name.to_vec(), set.value.to_vec());
        if self.enforces(&name) {
            let setter = setter_of(caller);
            return self.ask(request, async move {
                vfs.set_list(ino, &name, &value, setter).await
            });
        }
        self.ask(request, async move {
            vfs.setxattr(ino, &name, &value, mode).await
        })
    }

    /// Removes an attribute.
    pub fn removexattr(&self, caller: Caller, ino: u64, name: &[u8]) -> Answer<()> {
        if self.has_no_xattrs() {
            return self.left_to_kernel(Opcode::Removexattr);
        }
        let request = Request::new(Opcode::Removexattr, ino, caller);
        let (vfs, name) = (Arc::clone(&self.vfs), name.to_vec());
        self.ask(request, async move { vfs.removexattr(ino, &name).await })
    }

    fn ask_sized(
        &self,
        request: Request,
        size: u32,
        call: impl Future<Output = Result<Bytes, VfsError>> + Send + 'static,
    ) -> Answer<XattrFound> {
        if self.has_no_xattrs() {
            return self.left_to_kernel(request.opcode);
        }
        let answer = async move {
            let bytes = call.await.map_err(|error| failed(request, &error))?;
            sized(bytes, size)
        };
        self.serve(request.opcode, || Reply::begin(request.caller, answer))
    }

    fn enforces(&self, name: &[u8]) -> bool {
        let is_list = name == ACCESS_LIST || name == DEFAULT_LIST;
        is_list && self.access_lists() == AccessLists::Enforced
    }

    /// The kernel takes ENOSYS as "never ask again".
    fn has_no_xattrs(&self) -> bool {
        self.config.xattrs == Xattrs::Absent
    }
}

/// Returns who sets an access list. The kernel says in a flag that fuser 0.18 does not pass on whether setgid
/// goes; what it goes by are all groups of the caller, of which a request tells the first.
fn setter_of(caller: Caller) -> ListSetter {
    ListSetter {
        is_privileged: caller.uid == ROOT,
        gid: caller.gid,
    }
}

/// Returns the names, each with a NUL behind it, without those that only root can read.
fn without_trusted(names: &[u8]) -> Bytes {
    let names = names.split_inclusive(|byte| *byte == 0);
    let shown = names.filter(|name| !name.starts_with(b"trusted."));
    shown.flatten().copied().collect()
}

fn sized(bytes: Bytes, size: u32) -> Result<XattrFound, Errno> {
    match u32::try_from(bytes.len()) {
        Ok(len) if size == 0 => Ok(XattrFound::Len(len)),
        Ok(len) if len <= size => Ok(XattrFound::Bytes(bytes)),
        Ok(_) | Err(_) => Err(Errno::RANGE),
    }
}

/// Returns what setxattr(2) wants of an attribute that is there; `None` for flags that are not known here.
fn xattr_mode(flags: i32) -> Option<XattrMode> {
    match flags {
        0 => Some(XattrMode::Set),
        libc::XATTR_CREATE => Some(XattrMode::Create),
        libc::XATTR_REPLACE => Some(XattrMode::Replace),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_root_are_left_out_of_a_list() {
        let names = b"security.a\0trusted.b\0trusted\0user.trusted.c\0";
        let shown = without_trusted(names);
        assert_eq!(&shown[..], b"security.a\0trusted\0user.trusted.c\0");
        assert!(without_trusted(b"").is_empty());
    }

    #[test]
    fn a_value_comes_where_it_fits_and_its_length_where_that_was_asked_for() {
        let value = Bytes::from_static(b"abc");
        assert_eq!(sized(value.clone(), 0), Ok(XattrFound::Len(3)));
        assert_eq!(sized(value.clone(), 2), Err(Errno::RANGE));
        assert_eq!(sized(value.clone(), 3), Ok(XattrFound::Bytes(value)));
    }
}
