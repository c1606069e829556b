//! One arm for each operation.

use std::sync::Arc;

use lfsfs_types::Timestamp;

use crate::error::ApplyError;
use crate::extent::Location;
use crate::inode::{BaseObject, Inode};
use crate::operation::Operation;
use crate::state::State;
use crate::state::content::Stamp;

impl State {
    /// Applies an operation; on an error the state is half changed and must be thrown away.
    #[expect(
        clippy::too_many_lines,
        reason = "one whole match: a new operation does not compile without its arm"
    )]
    pub(crate) fn change(
        &mut self,
        operation: &Operation,
        data: Option<(Location, u64)>,
    ) -> Result<(), ApplyError> {
        self.generation += 1;
        if carries_data(operation) != data.is_some() {
            return Err(ApplyError::Data);
        }
        use Operation as O;
        match operation {
            O::CopyUp { ino, base } => self.copy_up(*ino, base),
            O::Create {
                place,
                ino,
                node,
                creation,
            } => self.create(place, *ino, node, *creation),
            O::Write {
                ino,
                offset,
                time,
                mode,
            } => {
                let (location, len) = data.ok_or(ApplyError::Data)?;
                self.write(*ino, *offset, location, len, stamp(*time, *mode))
            }
            O::Move { ino, offset, from } => {
                let (to, len) = data.ok_or(ApplyError::Data)?;
                self.move_extent(*ino, *offset, *from, to, len)
            }
            O::Uploaded { ino, content } => self.uploaded(*ino, *content),
            O::Truncate {
                ino,
                size,
                time,
                mode,
            } => self.truncate(*ino, *size, stamp(*time, *mode)),
            O::SetAttributes {
                ino,
                attributes,
                time,
            } => self.set_attributes(*ino, attributes, *time),
            O::SetAccessTime { ino, atime, time } => self.set_access_time(*ino, *atime, *time),
            O::Link { ino, place, time } => self.link(*ino, place, *time),
            O::Unlink { place, ino, time } => self.unlink(place, *ino, *time),
            O::Rmdir { place, ino, time } => self.rmdir(place, *ino, *time),
            O::Rename {
                from,
                to,
                ino,
                replaced,
                time,
            } => self.rename(from, to, *ino, *replaced, *time),
            O::Exchange {
                first,
                first_ino,
                second,
                second_ino,
                time,
            } => self.exchange(first, *first_ino, second, *second_ino, *time),
            O::SetXattr {
                ino,
                name,
                value,
                time,
            } => self.set_xattr(*ino, name, value, *time),
            O::RemoveXattr { ino, name, time } => self.remove_xattr(*ino, name, *time),
            O::Fallocate {
                ino,
                offset,
                len,
                size,
                time,
                mode,
            } => self.fallocate(*ino, *offset, *len, *size, stamp(*time, *mode)),
            O::Share {
                from,
                ino,
                at,
                time,
                mode,
            } => self.share(*from, (*ino, *at), stamp(*time, *mode)),
            O::ShareContent {
                content,
                from,
                at,
                time,
                mode,
            } => self.share_content(content, *from, *at, stamp(*time, *mode)),
            O::Own { ino, offset } => {
                let (location, len) = data.ok_or(ApplyError::Data)?;
                self.own(*ino, *offset, location, len)
            }
            O::Repoint {
                ino,
                offset,
                from,
                to,
            } => self.repoint(*ino, *offset, *from, *to),
            O::Forget { ino } => self.forget(*ino),
            O::DiscardAll {} => self.discard_all(),
            O::Discard {
                entries,
                revealed,
                inodes,
            } => self.discard(entries, revealed, inodes),
            O::Seal { commit } => self.seal(*commit),
            O::Mapped { ino, base } => self.mapped(*ino, base),
            O::Committed {
                commit,
                base,
                directories,
            } => self.committed(*commit, *base, directories),
            O::Aborted { commit } => self.aborted(*commit),
            O::Draft { commit } => self.draft(*commit),
            O::LeaveOut { commit, names } => self.leave_out(*commit, names),
            O::Begin { commit } => self.begin(*commit),
            O::SwitchKeeping {
                base,
                names,
                directories,
            } => self.switch_keeping(*base, names, directories),
            O::Switch { base } => self.switch(*base),
            O::Reopen {} => {
                self.reopen();
                Ok(())
            }
        }
    }

    fn copy_up(&mut self, ino: u64, base: &Arc<BaseObject>) -> Result<(), ApplyError> {
        self.check_free(ino)?;
        if let Some(ino) = self.copy_of(&base.key()) {
            return Err(ApplyError::CopiedUpAlready { ino });
        }
        let inode = Inode::of_base(base.clone(), self.generation);
        self.insert(ino, inode);
        self.clean.insert_mut(ino);
        Ok(())
    }

    pub(super) fn check_free(&self, ino: u64) -> Result<(), ApplyError> {
        if self.inode(ino).is_some() {
            return Err(ApplyError::InodeExists { ino });
        }
        Ok(())
    }

    /// Drops an inode without names, or one that does not differ from the base.
    fn forget(&mut self, ino: u64) -> Result<(), ApplyError> {
        self.check_forget(ino)?;
        self.remove(ino);
        Ok(())
    }

    pub(super) fn check_forget(&self, ino: u64) -> Result<(), ApplyError> {
        self.known(ino)?;
        if self.dirty.contains(&ino) {
            return Err(ApplyError::InodeInUse { ino });
        }
        Ok(())
    }

    /// Drops what only the process before this one needed.
    pub(crate) fn reopen(&mut self) {
        let orphans: Vec<_> = self.orphans().collect();
        for ino in orphans {
            self.remove(ino);
        }
    }
}

fn stamp(time: Timestamp, mode: Option<u32>) -> Stamp {
    Stamp { time, mode }
}

/// Returns true for the operations whose log record carries bytes of a file.
pub(crate) fn carries_data(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Write { .. } | Operation::Move { .. } | Operation::Own { .. }
    )
}
