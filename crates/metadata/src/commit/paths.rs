//! How long the paths of a version are.
//!
//! What a commit names has a path that is measured with it. Paths below a directory that it moves
//! get longer without being named: as long as the longest path of the version before leaves room
//! for what the move adds, that is only estimated; beyond, everything below is looked at. So the
//! longest path of a version is an upper bound, and a client need not ask before it moves a
//! directory.

use lfsfs_types::DirId;
use lfsfs_types::limits::PATH_LEN_MAX;

use super::plan::{Planner, below};
use crate::error::{Refusal, Result};

/// A longer estimate is replaced by a look, so that many moves do not make the bound useless.
const ESTIMATE_MAX: usize = PATH_LEN_MAX / 2;

impl Planner<'_> {
    /// Checks that no path gets too long, and returns the length that none is above. `before` is that
    /// of the version at hand, if it was counted.
    pub(super) fn longest_path(&mut self, before: Option<u32>) -> Result<u32> {
        let mut longest = self.longest_staged;
        match before {
            None => longest = longest.max(self.longest_below(DirId::ROOT)?),
            Some(before) => {
                let before = before as usize;
                longest = longest.max(before);
                let mut moved: Vec<_> = self.plan.moved.iter().copied().collect();
                moved.sort_unstable();
                for dir in moved {
                    longest = longest.max(self.longest_moved(dir, before)?);
                }
            }
        }
        Ok(u32::try_from(longest.min(PATH_LEN_MAX)).unwrap_or(u32::MAX))
    }

    /// Returns how long paths below a moved directory are at most.
    fn longest_moved(&mut self, dir: DirId, before: usize) -> Result<usize> {
        let (from, to) = (self.len_in_base(dir)?, self.path_len(dir)?);
        match to.checked_sub(from) {
            None | Some(0) => Ok(to),
            Some(growth) if before + growth <= ESTIMATE_MAX => Ok(before + growth),
            Some(_) => self.longest_below(dir),
        }
    }

    /// Returns the length of the path that a directory has in the version at hand.
    fn len_in_base(&self, dir: DirId) -> Result<usize> {
        let (mut at, mut len) = (dir, 0);
        while at != DirId::ROOT && len <= PATH_LEN_MAX {
            let Some((above, name)) = self.base.live_directory(at)?.place else {
                break;
            };
            len += usize::from(len > 0) + name.map_or(0, |name| name.as_bytes().len());
            at = above;
        }
        Ok(len)
    }

    /// Measures what lies below a directory and stays there, also under names that the commit changes:
    /// one of a hard link may have been staged since changes were measured, and a directory may only get
    /// other attributes.
    fn longest_below(&mut self, dir: DirId) -> Result<usize> {
        let mut longest = 0;
        let mut open = vec![dir];
        while let Some(dir) = open.pop() {
            let len = self.path_len(dir)?;
            let is_touched = self.plan.touched.contains(&dir);
            self.for_each_entry(dir, |planner, name, record| {
                let staged = if is_touched {
                    planner.staged(dir, Some(name))?
                } else {
                    None
                };
                let now = match staged {
                    Some(row) => row.state.map(|state| planner.plan.record(state)),
                    None => Some(record.clone()),
                };
                let Some(now) = now else { return Ok(()) };
                let len = below(len, name.as_bytes().len());
                if len > PATH_LEN_MAX {
                    return Err(Refusal::PathTooLong { len }.at(dir, Some(name.clone())));
                }
                longest = longest.max(len);
                // Another directory has moved there, and is measured by itself, or is new.
                open.extend(now.dir().filter(|now| record.dir() == Some(*now)));
                Ok(())
            })?;
        }
        Ok(longest)
    }
}
