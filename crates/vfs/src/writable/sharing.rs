//! Bytes that files have in common: a range that is copied is not read and not written.
//!
//! A file then has a part of what the log has for another one, or of a content of the version. A content is
//! there as long as the version is the base; once another version is, the files that still have a part of it
//! get bytes of their own.

use std::sync::MutexGuard;

use lfsfs_overlay::{
    Base, Extent, ExtentSource, FileData, FileRange, Operation, SharedContent, State,
};
use lfsfs_types::Kind;

use crate::error::{Interrupted, VfsError};
use crate::merged::Object;
use crate::overlay_file::read_shared;
use crate::writable::Vfs;
use crate::writable::attributes::plan_privileges;
use crate::writable::plan::{Plan, check_range};
use crate::writable::request::{ModeEffect, Privileges};

/// Most bytes of one call: the answer to a kernel has 32 bits.
const LEN_MAX: u64 = 1 << 30;
/// Most parts that one call makes. Writers wait meanwhile.
const PARTS_MAX: usize = 4096;
/// Bytes of a content that are in memory while they become a file's own.
const OWN_LEN: u64 = 4 << 20;

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    /// The file that has it.
    pub from: u64,
    /// Where it begins there.
    pub offset: u64,
    /// The file that gets it.
    pub to: u64,
    /// Where it begins there.
    pub at: u64,
    /// How many bytes.
    pub len: u64,
    /// What becomes of setuid and setgid.
    pub privileges: Privileges,
}

/// What a copy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Bytes that were copied: fewer than asked for at the end of the file, and of a long range.
    pub len: u64,
    /// What became of the mode.
    pub mode: ModeEffect,
}

impl Vfs {
    /// Copies a range of a file, or a part of it, by having both files share it. As of one moment: what is
    /// written to one of them later is not in the other.
    pub async fn copy_range(&self, copy: CopyRange) -> Result<Copied, VfsError> {
        self.change(|plan| plan_copy(plan, copy)).await
    }

    /// Gives files bytes of their own that have a part of a content of an earlier base: no version may have
    /// that any more. To be called from a timer; it looks when the base is another one.
    pub async fn own_shared(&self) -> Result<(), VfsError> {
        let Some(overlay) = self.stack.overlay() else {
            return Ok(());
        };
        loop {
            let view = self.stack.view();
            let base = view.state().base();
            if *self.lock_owned() == Some(base) {
                return Ok(());
            }
            let earlier = of_earlier_bases(view.state());
            if earlier.is_empty() {
                *self.lock_owned() = Some(base);
                return Ok(());
            }
            for (ino, mut offset, mut extent) in earlier {
                while let ExtentSource::Content(shared, from) = &extent.source {
                    let len = extent.len.min(OWN_LEN);
                    let bytes = read_shared(view.base(), shared, *from..from + len).await?;
                    overlay.own(ino, offset, &extent, &bytes)?;
                    let Some(rest) = extent.tail(len) else { break };
                    (offset, extent) = (offset + len, rest);
                }
            }
        }
    }

    fn lock_owned(&self) -> MutexGuard<'_, Option<Base>> {
        self.owned.lock().expect("no holder of this lock panics")
    }
}

/// Returns the extents, by inode and offset, with parts of contents that the base need not have any more.
fn of_earlier_bases(state: &State) -> Vec<(u64, u64, Extent)> {
    let base = state.base();
    let files = state
        .inodes()
        .filter_map(|(ino, it)| Some((ino, it.file()?)));
    let extents = files.flat_map(|(ino, file)| {
        let shared = file.shared();
        shared.map(move |(offset, extent)| (ino, offset, extent))
    });
    extents
        .filter(|(_, _, extent)| {
            matches!(&extent.source, ExtentSource::Content(shared, _) if shared.base != base)
        })
        .map(|(ino, offset, extent)| (ino, offset, extent.clone()))
        .collect()
}

fn plan_copy(plan: &mut Plan<'_, '_>, copy: CopyRange) -> Result<Copied, Interrupted> {
    let source = plan.merged.object(copy.from)?;
    let target = plan.merged.object(copy.to)?;
    source.expect_file()?;
    target.expect_file()?;
    let (time, at) = (plan.time, copy.at);
    let len = len_of(&source, copy.offset, copy.len);
    check_range(at, len)?;
    if len == 0 {
        let mode = ModeEffect::Kept;
        return Ok(Copied { len, mode });
    }
    plan.copy_up(&target);
    let mode = plan_privileges(plan, &target, copy.privileges);
    let range = |ino| FileRange {
        ino,
        offset: copy.offset,
        len,
    };
    let operation = match &source {
        Object::Upper { ino, .. } => Operation::Share {
            from: range(*ino),
            ino: copy.to,
            at,
            time,
            mode,
        },
        Object::Base(found) => {
            let Kind::File { size, content } = found.object.record.kind else {
                return Err(VfsError::Invalid.into());
            };
            let base = plan.merged.state.base();
            Operation::ShareContent {
                content: SharedContent {
                    content,
                    size,
                    base,
                },
                from: range(copy.to),
                at,
                time,
                mode,
            }
        }
    };
    plan.push(operation);
    let mode = ModeEffect::of(mode);
    Ok(Copied { len, mode })
}

/// Returns how many bytes of a range one call copies.
fn len_of(source: &Object<'_>, offset: u64, len: u64) -> u64 {
    let len = len.min(LEN_MAX);
    let len = len.min(source.attr().size.saturating_sub(offset));
    match source {
        Object::Upper { inode, .. } => inode.file().map_or(0, |it| parts_len(it, offset, len)),
        Object::Base(_) => len,
    }
}

/// Returns the length of a range, or of as many parts of it as one call may make.
fn parts_len(file: &FileData, offset: u64, len: u64) -> u64 {
    let (mut at, end) = (offset, offset + len);
    for _ in 0..PARTS_MAX {
        match file.piece_at(at).filter(|_| at < end) {
            Some(piece) => at = (at + piece.len).min(end),
            None => break,
        }
    }
    at - offset
}
