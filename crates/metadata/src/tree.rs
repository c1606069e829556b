//! The listings of a version, or of a directory of it with all that lies below, one after the other.
//!
//! A directory comes before those below it, and these come in the order of their names: the order in which most
//! programs go through a tree. So the directory that came last is a cursor: all that came before it follows from where
//! it lies, and nothing else has to be remembered. [`TreeWalk`] holds one level for each directory above, with the
//! ids of the directories that are still to come there, and few of these in all: it reads names again instead.
//!
//! Between two versions only directories with another listing come, in the order of their ids: they are found from
//! the names that changed alone.
//!
//! A walk holds no version. It may rest as long as its caller likes, and fails when the version has expired meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use lfsfs_types::{DirId, Name, ProjectId, Record, VersionId, VersionNumber};

use crate::changed::try_each_changed;
use crate::error::{MetadataError, Result};
use crate::exact::ExactVersion;
use crate::metadata::Metadata;
use crate::view::{DEPTH_MAX, View};

/// Entries of one part.
const PART_ENTRIES_MAX: usize = 1024;
/// Ids of directories to come that all levels hold together, as a rule.
const HELD_MAX: usize = 65_536;
/// Directories that differ that are looked for at once.
const DIFFERING_HELD: usize = 65_536;

/// Which listings are wanted.
#[derive(Debug, Clone)]
pub struct TreeParams {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub version: VersionNumber,
    /// Both versions, as far as the caller knows their random ids.
    pub exact: Vec<ExactVersion>,
    /// The directory to begin with.
    pub top: DirId,
    /// The last directory that the caller has.
    pub after: Option<DirId>,
    /// A version of which the caller has all listings: the walk tells only what differs.
    pub since: Option<VersionNumber>,
}

/// Some entries of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePart {
    /// The directory.
    pub dir: DirId,
    /// In the order of their names, over all parts of the directory, which follow each other.
    pub entries: Vec<(Name, Record)>,
    /// As that of [`Listing`](crate::Listing).
    pub listing_version: VersionId,
    /// Whether another part of the directory follows.
    pub more: bool,
}

/// How far the listings of a tree were told.
#[derive(Debug)]
pub struct TreeWalk {
    params: TreeParams,
    /// The directory of which a part was told that is not the last.
    current: Option<Current>,
    order: Order,
}

#[derive(Debug)]
struct Current {
    dir: DirId,
    listing_version: VersionId,
    /// The last name that was told.
    after: Option<Name>,
}

#[derive(Debug)]
enum Order {
    /// From the top down, with the directories whose listings were told and that may have others below to come.
    Down(Vec<Level>),
    /// By the ids of directories.
    Differing {
        since: VersionNumber,
        found: VecDeque<DirId>,
        after: DirId,
        is_last: bool,
    },
}

/// A directory whose listing was told.
#[derive(Debug)]
struct Level {
    dir: DirId,
    /// Directories in it that are to come.
    below: VecDeque<DirId>,
    /// Names up to this one were looked at.
    after: Option<Name>,
    /// Whether there may be directories behind that name.
    more: bool,
}

impl Metadata {
    /// Begins to tell listings.
    ///
    /// It fails for a version or a top that is not there, and for a cursor that the walk does not come by.
    pub fn begin_tree(&self, params: TreeParams) -> Result<TreeWalk> {
        let _reading = self.reading();
        let view = self.tree_view(&params)?;
        view.live_directory(params.top)?;
        let order = match params.since {
            Some(since) => {
                self.view(params.project, since)?;
                Order::Differing {
                    since,
                    found: VecDeque::new(),
                    after: params.after.unwrap_or(DirId::ABOVE_ROOT),
                    is_last: false,
                }
            }
            None => match params.after {
                Some(after) => Order::Down(levels_to(view, params.top, after)?),
                None => Order::Down(Vec::new()),
            },
        };
        let listing_version = view.live_directory(params.top)?.listing_id;
        let is_new = params.since.is_none() && params.after.is_none();
        let top = Current {
            dir: params.top,
            listing_version,
            after: None,
        };
        Ok(TreeWalk {
            current: is_new.then_some(top),
            params,
            order,
        })
    }

    /// Returns the next part; none at the end.
    pub fn continue_tree(&self, walk: &mut TreeWalk) -> Result<Option<TreePart>> {
        let _reading = self.reading();
        let view = self.tree_view(&walk.params)?;
        if walk.current.is_none() {
            let next = match &mut walk.order {
                Order::Down(levels) => next_down(view, levels)?,
                Order::Differing { .. } => self.next_differing(view, walk)?,
            };
            let Some(dir) = next else {
                return Ok(None);
            };
            walk.current = Some(Current {
                dir,
                listing_version: view.live_directory(dir)?.listing_id,
                after: None,
            });
        }
        walk.part(view)
    }

    fn tree_view(&self, params: &TreeParams) -> Result<View<'_>> {
        self.expect_all_exact(params.project, params.exact.iter().copied())?;
        self.view(params.project, params.version)
    }

    /// Returns the next directory with another listing.
    fn next_differing(&self, new: View<'_>, walk: &mut TreeWalk) -> Result<Option<DirId>> {
        let Order::Differing {
            since,
            found,
            after,
            is_last,
        } = &mut walk.order
        else {
            return Ok(None);
        };
        while found.is_empty() && !*is_last {
            let old = self.view(walk.params.project, *since)?;
            let some = differing(old, new, walk.params.top, *after)?;
            *is_last = some.len() < DIFFERING_HELD;
            *after = some.last().copied().unwrap_or(*after);
            for dir in some {
                if differs(old, new, walk.params.top, dir)? {
                    found.push_back(dir);
                }
            }
        }
        Ok(found.pop_front())
    }
}

impl TreeWalk {
    /// Reads the next part of the current directory.
    fn part(&mut self, view: View<'_>) -> Result<Option<TreePart>> {
        let Some(current) = self.current.take() else {
            return Ok(None);
        };
        let (entries, more) =
            view.entries(current.dir, current.after.as_ref(), PART_ENTRIES_MAX)?;
        if let Order::Down(levels) = &mut self.order {
            if current.after.is_none() {
                levels.push(Level::new(current.dir));
            }
            note_below(levels, current.after.as_ref(), &entries, more);
        }
        let part = TreePart {
            dir: current.dir,
            entries,
            listing_version: current.listing_version,
            more,
        };
        if more {
            self.current = Some(Current {
                after: part.entries.last().map(|(name, _)| name.clone()),
                ..current
            });
        }
        Ok(Some(part))
    }
}

impl Level {
    /// Returns a directory into whose entries nothing was looked yet.
    fn new(dir: DirId) -> Self {
        Self {
            dir,
            below: VecDeque::new(),
            after: None,
            more: true,
        }
    }

    /// Takes the directories among the next entries.
    fn take(&mut self, entries: &[(Name, Record)], more: bool) {
        let dirs = entries.iter().filter_map(|(_, record)| record.dir());
        self.below.extend(dirs);
        if let Some((name, _)) = entries.last() {
            self.after = Some(name.clone());
        }
        self.more = more;
    }
}

/// Notes the directories among entries of the lowest level, unless too many are held, or others before them are not.
fn note_below(levels: &mut [Level], after: Option<&Name>, entries: &[(Name, Record)], more: bool) {
    let held: usize = levels.iter().map(|level| level.below.len()).sum();
    let Some(level) = levels.last_mut() else {
        return;
    };
    if level.after.as_ref() != after || held >= HELD_MAX {
        return;
    }
    level.take(entries, more);
}

/// Returns the directory that comes next, going up from the lowest level.
fn next_down(view: View<'_>, levels: &mut Vec<Level>) -> Result<Option<DirId>> {
    while let Some(level) = levels.last_mut() {
        if let Some(dir) = level.below.pop_front() {
            return Ok(Some(dir));
        }
        if !level.more {
            levels.pop();
            continue;
        }
        let (entries, more) = view.entries(level.dir, level.after.as_ref(), PART_ENTRIES_MAX)?;
        level.take(&entries, more);
    }
    Ok(None)
}

/// Returns the levels as they are when the listing of `after` was told.
fn levels_to(view: View<'_>, top: DirId, after: DirId) -> Result<Vec<Level>> {
    let wrong = || MetadataError::WrongCursor {
        dir: after,
        top,
        version: view.version,
    };
    let mut levels = vec![Level::new(after)];
    let mut dir = after;
    while dir != top {
        let row = view.directory(dir)?.ok_or_else(wrong)?;
        let Some((parent, Some(name))) = row.place else {
            return Err(wrong());
        };
        if levels.len() >= DEPTH_MAX {
            return Err(wrong());
        }
        levels.push(Level {
            after: Some(name),
            ..Level::new(parent)
        });
        dir = parent;
    }
    levels.reverse();
    Ok(levels)
}

/// Returns directories behind `after` of which a name changed, and those that are changed names themselves: the first
/// ones by their ids.
fn differing(old: View<'_>, new: View<'_>, top: DirId, after: DirId) -> Result<BTreeSet<DirId>> {
    let mut found = BTreeSet::new();
    let mut note = |dir: DirId| {
        // What lies above the root is no directory. The walk tells the top where it became another one, too.
        if dir > after && dir != DirId::ABOVE_ROOT {
            found.insert(dir);
            if found.len() > DIFFERING_HELD {
                found.pop_last();
            }
        }
    };
    let (low, high) = if old.version <= new.version {
        (old, new)
    } else {
        (new, old)
    };
    let _ = try_each_changed(low, high, |dir, name| {
        note(dir);
        // A new directory that is empty has no changed names.
        if let Some(record) = new.state(dir, name.as_ref())?
            && let Some(below) = record.dir()
        {
            note(below);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    note(top);
    Ok(found)
}

/// Returns true if a version has a directory, below `top`, with another listing than the one before.
fn differs(old: View<'_>, new: View<'_>, top: DirId, dir: DirId) -> Result<bool> {
    let Some(row) = new.directory(dir)? else {
        return Ok(false);
    };
    let before = old.directory(dir)?;
    if before.is_some_and(|before| before.listing_id == row.listing_id) {
        return Ok(false);
    }
    is_below(new, top, dir)
}

/// Returns true for a directory and those below it.
fn is_below(view: View<'_>, top: DirId, dir: DirId) -> Result<bool> {
    let mut dir = dir;
    for _ in 0..DEPTH_MAX {
        if dir == top || top == DirId::ROOT {
            return Ok(true);
        }
        match view.directory(dir)?.and_then(|row| row.place) {
            Some((parent, Some(_))) => dir = parent,
            _ => return Ok(false),
        }
    }
    Ok(false)
}
