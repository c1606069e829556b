//! Requests about extended attributes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use fuser::{Errno, ReplyEmpty, ReplyXattr};
use lfsfs_vfs::{VfsError, XattrMode};

use super::{Asked, Xattrs, failed, reply_empty};
use crate::counters::Opcode;

/// The user who may read `trusted.*`.
const ROOT: u32 = 0;

impl Asked<'_> {
    pub(super) fn xattr(&self, ino: u64, name: &OsStr, size: u32, reply: ReplyXattr) {
        if self.has_no_xattrs() {
            return self.serve(Opcode::Getxattr, || reply.error(Errno::ENOSYS));
        }
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.answer(
            Opcode::Getxattr,
            reply,
            move |vfs| {
                let name = name.clone();
                async move { vfs.getxattr(ino, &name).await }
            },
            move |reply, value| reply_xattr(Opcode::Getxattr, (ino, size), reply, value),
        );
    }

    /// Root alone sees the names that root alone can read; the kernel does not see to that.
    pub(super) fn list_xattrs(&self, ino: u64, size: u32, caller: u32, reply: ReplyXattr) {
        if self.has_no_xattrs() {
            return self.serve(Opcode::Listxattr, || reply.error(Errno::ENOSYS));
        }
        self.answer(
            Opcode::Listxattr,
            reply,
            move |vfs| async move {
                let names = vfs.listxattr(ino).await?;
                Ok(match caller {
                    ROOT => names,
                    _ => without_trusted(&names),
                })
            },
            move |reply, names| reply_xattr(Opcode::Listxattr, (ino, size), reply, names),
        );
    }

    pub(super) fn set_xattr(
        &self,
        ino: u64,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        reply: ReplyEmpty,
    ) {
        let mode = match self.has_no_xattrs() {
            true => Err(Errno::ENOSYS),
            false => xattr_mode(flags).ok_or(Errno::EINVAL),
        };
        let mode = match mode {
            Ok(mode) => mode,
            Err(error) => return self.serve(Opcode::Setxattr, || reply.error(error)),
        };
        let name = Bytes::copy_from_slice(name.as_bytes());
        let value = Bytes::copy_from_slice(value);
        self.answer(
            Opcode::Setxattr,
            reply,
            move |vfs| {
                let (name, value) = (name.clone(), value.clone());
                async move { vfs.setxattr(ino, &name, &value, mode).await }
            },
            move |reply, set| reply_empty(Opcode::Setxattr, ino, reply, set),
        );
    }

    pub(super) fn remove_xattr(&self, ino: u64, name: &OsStr, reply: ReplyEmpty) {
        if self.has_no_xattrs() {
            return self.serve(Opcode::Removexattr, || reply.error(Errno::ENOSYS));
        }
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.answer(
            Opcode::Removexattr,
            reply,
            move |vfs| {
                let name = name.clone();
                async move { vfs.removexattr(ino, &name).await }
            },
            move |reply, removed| reply_empty(Opcode::Removexattr, ino, reply, removed),
        );
    }

    /// The kernel takes ENOSYS as "never ask again".
    fn has_no_xattrs(&self) -> bool {
        self.config.xattrs == Xattrs::Absent
    }
}

/// Returns the names, each with a NUL behind it, without those that only root can read.
fn without_trusted(names: &[u8]) -> Bytes {
    let names = names.split_inclusive(|byte| *byte == 0);
    let shown = names.filter(|name| !name.starts_with(b"trusted."));
    shown.flatten().copied().collect()
}

/// Answers with a value, or with its size alone, which size 0 asks for.
fn reply_xattr(
    opcode: Opcode,
    (ino, size): (u64, u32),
    reply: ReplyXattr,
    found: Result<Bytes, VfsError>,
) {
    match found.map(|bytes| (u32::try_from(bytes.len()), bytes)) {
        Ok((Ok(len), _)) if size == 0 => reply.size(len),
        Ok((Ok(len), bytes)) if len <= size => reply.data(&bytes),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(error) => reply.error(failed(opcode, ino, &error)),
    }
}

/// Returns what setxattr(2) wants of an attribute that is there; `None` for flags that nobody knows.
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
}
