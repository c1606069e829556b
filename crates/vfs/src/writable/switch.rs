//! Going to another version while the mount is in use.

use crate::inode::Searched;
use crate::writable::WritableVfs;

/// What a switch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchReport {
    /// Names whose object, or whose times, differ between the two versions.
    pub changed: u64,
    /// Names that the kernel was told to drop.
    pub entries: u64,
    /// Objects that the kernel keeps and whose attributes it was told to drop.
    pub attributes: u64,
    /// Directories whose listing the kernel was told to drop.
    pub directories: u64,
}

impl WritableVfs {
    /// Returns false while entries of this directory are being drained: a reply about one must then
    /// have the lifetime 0, for entry and attributes alike.
    ///
    /// To be asked before the call that the reply answers, not after it: what was found out before
    /// the drain began is safe, because the kernel drops an entry only when it has the replies to
    /// all requests for the directory that it sent before.
    #[must_use]
    pub fn may_keep(&self, parent: u64) -> bool {
        if !self.drain.is_active() {
            return true;
        }
        let moment = self.moment();
        let upper = moment.upper(parent).and_then(|it| it.1.directory()?.base);
        let dir = upper.or_else(|| match moment.base().inodes().directory(parent) {
            Ok(Searched::Directory(directory)) => Some(directory.dir),
            _ => None,
        });
        dir.is_none_or(|dir| !self.drain.covers(dir))
    }
}
