//! Moving names, with every case that POSIX and Linux tell apart.

use lfsfs_overlay::{EntryName, Operation};
use lfsfs_types::Name;
use lfsfs_types::limits::PATH_LEN_MAX;

use crate::error::{Interrupted, VfsError};
use crate::inode::InodeTable;
use crate::merged::{MergedDir, Object, name_of};
use crate::writable::namespace::{Renamed, place};
use crate::writable::plan::Plan;
use crate::writable::request::RenameMode;
use crate::writable::{Known, Vfs, depth};

/// What a rename is about.
struct Move<'a> {
    from: MergedDir<'a>,
    to: MergedDir<'a>,
    mode: RenameMode,
    source: Object<'a>,
    target: Option<Object<'a>>,
}

impl Vfs {
    /// Moves a name. Costs the same whatever is below it.
    pub async fn rename(
        &self,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<(), VfsError> {
        let (name, new_name) = (name_of(name)?, name_of(new_name)?);
        self.change_names(|plan, known| {
            let from = plan.merged.directory(parent)?;
            let to = plan.merged.directory(new_parent)?;
            let source = plan.merged.find_known(&from, &name)?;
            let target = plan.merged.find(&to, &new_name)?;
            let moved = Move {
                from,
                to,
                mode,
                source,
                target,
            };
            if moved.check(plan, known)? == Verdict::Nothing {
                return Ok(Renamed::default());
            }
            let names = [(parent, &name), (new_parent, &new_name)];
            let longest = moved.check_paths(plan, known, names)?;
            plan.copy_up_ino(parent)?;
            plan.copy_up_ino(new_parent)?;
            let (from, to) = (place(parent, &name), place(new_parent, &new_name));
            Ok(Renamed {
                longest,
                ..moved.plan(plan, from, to)
            })
        })
        .await
        .map(drop)
    }
}

/// Whether there is anything to do.
#[derive(PartialEq, Eq)]
enum Verdict {
    Go,
    /// Both names stand for the same object: POSIX wants nothing to happen.
    Nothing,
}

impl Move<'_> {
    /// Checks in the order in which Linux does, so that the same error wins.
    fn check(&self, plan: &Plan<'_, '_>, known: &Known) -> Result<Verdict, Interrupted> {
        match (self.mode, &self.target) {
            (RenameMode::NoReplace, Some(_)) => return Err(VfsError::Exists.into()),
            (RenameMode::Exchange, None) => return Err(VfsError::NotFound.into()),
            _ => {}
        }
        self.check_loops(plan.merged.base().inodes(), known)?;
        let Some(target) = &self.target else {
            if self.to.is_removed() {
                return Err(VfsError::NotFound.into());
            }
            return Ok(Verdict::Go);
        };
        if target.ino() == self.source.ino() {
            return Ok(Verdict::Nothing);
        }
        if self.mode == RenameMode::Exchange {
            return Ok(Verdict::Go);
        }
        match (self.source.is_directory(), target.is_directory()) {
            (true, false) => Err(VfsError::NotDirectory.into()),
            (false, true) => Err(VfsError::IsDirectory.into()),
            (true, true) if !plan.merged.is_empty(target)? => Err(VfsError::NotEmpty.into()),
            _ => Ok(Verdict::Go),
        }
    }

    /// Fails if a directory would get into itself.
    fn check_loops(&self, inodes: &InodeTable, known: &Known) -> Result<(), VfsError> {
        let above = |object: &Object<'_>, dir: &MergedDir<'_>| {
            object.is_directory() && known.is_within(inodes, dir.ino, object.ino())
        };
        if above(&self.source, &self.to) {
            return Err(VfsError::Invalid);
        }
        match &self.target {
            Some(target) if above(target, &self.from) => Err(match self.mode {
                RenameMode::Exchange => VfsError::Invalid,
                _ => VfsError::NotEmpty,
            }),
            _ => Ok(()),
        }
    }

    /// Fails if a path would get too long. Returns how long those of what moves are at most.
    fn check_paths(
        &self,
        plan: &Plan<'_, '_>,
        known: &Known,
        names: [(u64, &Name); 2],
    ) -> Result<usize, Interrupted> {
        let [from, to] = names.map(|(dir, name)| depth::check(plan, known, dir, name));
        let (from, to) = (from.unwrap_or(PATH_LEN_MAX), to?);
        let mut longest = to;
        if self.source.is_directory() {
            longest = depth::check_move(&plan.merged, known, &self.source, from, to)?;
        }
        let other = self.target.as_ref().filter(|it| it.is_directory());
        if let (RenameMode::Exchange, Some(other)) = (self.mode, other) {
            let other = depth::check_move(&plan.merged, known, other, to, from)?;
            longest = longest.max(other);
        }
        Ok(longest)
    }

    fn plan(&self, plan: &mut Plan<'_, '_>, from: EntryName, to: EntryName) -> Renamed {
        let ino = plan.copy_up(&self.source);
        let other = self.target.as_ref().map(|target| plan.copy_up(target));
        let time = plan.time;
        let mut renamed = Renamed::default();
        if self.source.is_directory() {
            renamed.moved.push((ino, to.clone()));
        }
        match (self.mode, other) {
            (RenameMode::Exchange, Some(other)) => {
                if self.target.as_ref().is_some_and(Object::is_directory) {
                    renamed.moved.push((other, from.clone()));
                }
                plan.push(Operation::Exchange {
                    first: from,
                    first_ino: ino,
                    second: to,
                    second_ino: other,
                    time,
                });
            }
            _ => {
                renamed.lost = other;
                plan.push(Operation::Rename {
                    from,
                    to,
                    ino,
                    replaced: other,
                    time,
                });
            }
        }
        renamed
    }
}
