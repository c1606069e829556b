//! GETATTR and SETATTR.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_vfs::{Attr, Privileges, SetAttr};

use super::{Answer, Caller, Operations, Request};
use crate::counters::Opcode;

/// The owner that all objects of a mount seem to have, where the user chose one. What is recorded is
/// another thing: the caller who makes an object owns it, and chown changes that unseen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShownOwner {
    /// The owner shown instead of the recorded one.
    pub uid: Option<u32>,
    /// The group shown instead of the recorded one.
    pub gid: Option<u32>,
}

/// Attributes as the kernel sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The attributes.
    pub attr: Attr,
    /// How long the kernel may keep them.
    pub lifetime: Duration,
}

impl Operations {
    /// Returns the attributes of a node.
    pub fn getattr(&self, caller: Caller, ino: u64) -> Answer<Attributes> {
        let request = Request::new(Opcode::Getattr, ino, caller);
        let (shown, vfs) = (self.shown(ino), Arc::clone(&self.vfs));
        self.ask(request, async move {
            let attr = shown.attr(vfs.getattr(ino).await?);
            let lifetime = shown.lifetime;
            Ok(Attributes { attr, lifetime })
        })
    }

    /// Sets attributes. What becomes of setuid and setgid with a new length follows from the caller.
    pub fn setattr(&self, caller: Caller, ino: u64, new: SetAttr) -> Answer<Attributes> {
        let request = Request::new(Opcode::Setattr, ino, caller);
        let new = SetAttr {
            privileges: privileges_of(caller),
            ..new
        };
        let (shown, vfs) = (self.shown(ino), Arc::clone(&self.vfs));
        self.ask(request, async move {
            let attr = shown.attr(vfs.setattr(ino, new).await?);
            let lifetime = shown.lifetime;
            Ok(Attributes { attr, lifetime })
        })
    }
}

/// Returns what becomes of setuid and setgid when the caller changes a file's length. The kernel
/// says it in a flag that fuser 0.18 does not pass on; it sets it for a caller without CAP_FSETID.
pub(super) fn privileges_of(caller: Caller) -> Privileges {
    if caller.uid == 0 {
        Privileges::Keep
    } else {
        Privileges::Kill
    }
}

/// Returns the permission bits of a mode; setuid, setgid and sticky are among them.
pub(super) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or_default()
}
