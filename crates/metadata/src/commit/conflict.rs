//! What two sides changed since a base, and where that conflicts: the rules, and nothing else.
//!
//! *Mine* is what a commit staged, *theirs* is what versions published since its base. Both are
//! compared by directory and name, and by states without times. A change of times alone never
//! conflicts; what both made alike is left out. The rest conflicts if
//!
//! - (a) both changed an entry,
//! - (b) both moved or removed one directory, to different ends,
//! - (c) one changed an entry in or below a directory that the other moved, removed, replaced or
//!   gave another mode or owner,
//! - (d) both changed a name or the state of one hard link.
//!
//! All names of a hard link have one record, so what becomes of a link that both sides touched
//! without a conflict is decided once, for all its names: [`super::merge`].
//!
//! Nothing is written here. [`super::rebase`] goes over the changes and acts on the verdicts.

use std::collections::{HashMap, HashSet};

use lfsfs_types::{Aspect, DirId, LinkId, Name, ObjectPath, Record, Timestamp};

use super::Change;
use super::links::{has, live_names, names_of};
use super::plan::Planner;
use super::staging::LinkedName;
use crate::error::Result;
use crate::side::join;
use crate::view::View;

/// How far one state of a name is from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// They are the same.
    None,
    /// Times differ, or one knows the flat hash of the same bytes.
    Times,
    /// Something differs that counts.
    State,
}

impl Step {
    pub(super) fn of(before: Option<&Record>, after: Option<&Record>) -> Self {
        let (before, after) = match (before, after) {
            (None, None) => return Self::None,
            (Some(before), Some(after)) => (before, after),
            _ => return Self::State,
        };
        let differences = before.differences(after);
        // The number of names counts as state: all names of a link have one record, and a side that
        // made or removed a name of it must meet one that did so too. Times and the hash are merged.
        if differences.has_any(&Aspect::STATE) || differences.has_any(&Aspect::LINK) {
            Self::State
        } else if differences.is_empty() {
            Self::None
        } else {
            Self::Times
        }
    }
}

/// What one side did, apart from names.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// Directories that are not at their place in the base any more.
    left: HashSet<DirId>,
    /// Those, and directories with another mode or owner.
    changed: HashSet<DirId>,
    /// The links of which a name changed.
    links: HashMap<LinkId, Step>,
}

impl Footprint {
    /// Notes what a side made of one name.
    pub(super) fn note(&mut self, before: Option<&Record>, after: Option<&Record>) {
        let step = Step::of(before, after);
        if step == Step::None {
            return;
        }
        for link in links(before, after) {
            let known = self.links.entry(link).or_insert(step);
            *known = step.max(*known);
        }
        let Some((dir, before)) = before.and_then(|before| Some((before.dir()?, before))) else {
            return;
        };
        match after.filter(|after| after.dir() == Some(dir)) {
            Some(after) => {
                // Only these decide what a user may do below the directory. Its times change with each
                // entry, and attributes of its own are in the way of no change below it.
                let differences = before.differences(after);
                if differences.has_any(&[Aspect::Mode, Aspect::Owner]) {
                    self.changed.insert(dir);
                }
            }
            None => {
                self.left.insert(dir);
                self.changed.insert(dir);
            }
        }
    }

    /// Returns true if the side changed more than the times of a link.
    pub(super) fn changed_link(&self, link: LinkId) -> bool {
        self.links.get(&link) == Some(&Step::State)
    }

    /// Returns true if the side changed anything of a link.
    pub(super) fn touched_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }
}

/// Returns the links that a name had before or has after.
fn links<'r>(
    before: Option<&'r Record>,
    after: Option<&'r Record>,
) -> impl Iterator<Item = LinkId> + use<'r> {
    let of = |record: Option<&Record>| record.and_then(|record| record.link).map(|link| link.id);
    let (before, after) = (of(before), of(after));
    before
        .into_iter()
        .chain(after.filter(|after| before != Some(*after)))
}

/// What becomes of one of my changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made as it is.
    Make,
    /// It is left out.
    LeaveOut,
    /// It is made with these times, and this hash if there is one.
    Times(Merged),
    /// It is one of the names of a link that both sides touched: see [`super::merge`].
    OfLink,
    /// The directory that it makes is the one that they made there.
    Unite(DirId),
    /// It conflicts.
    Conflict,
}

/// The parts of a record in which both sides may differ without a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merged {
    mtime: Timestamp,
    ctime: Timestamp,
    sha256: Option<lfsfs_types::Sha256>,
}

impl Merged {
    /// Takes the side that changed each time; of two changed times the later one.
    pub(super) fn of(before: &Record, mine: &Record, theirs: &Record) -> Self {
        let later = |time: fn(&Record) -> Timestamp| {
            let (before, mine, theirs) = (time(before), time(mine), time(theirs));
            match (mine == before, theirs == before) {
                (true, _) => theirs,
                (_, true) => mine,
                _ => mine.max(theirs),
            }
        };
        Self {
            mtime: later(|record| record.mtime),
            ctime: later(|record| record.ctime),
            sha256: mine.sha256.or(theirs.sha256),
        }
    }

    pub(super) fn apply_to(self, record: Record) -> Record {
        Record {
            mtime: self.mtime,
            ctime: self.ctime,
            sha256: self.sha256,
            ..record
        }
    }
}

/// What becomes of one of their changes, which are published already.
#[derive(Debug)]
pub(super) enum TheirVerdict {
    /// It stays.
    Keep,
    /// It conflicts with what I did to these directories, or to a link.
    Conflict(Vec<DirId>),
}

/// Both sides, as far as the rules need them.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    pub(super) base: View<'a>,
    pub(super) head: View<'a>,
    pub(super) mine: Footprint,
    pub(super) theirs: Footprint,
    /// Directories that both made at one place: theirs by mine, as staged.
    pub(super) united: HashMap<DirId, DirId>,
    /// The same, mine by theirs.
    pub(super) united_with: HashMap<DirId, DirId>,
}

impl Sides<'_> {
    /// Returns the id that a directory of mine has in the newest version.
    pub(super) fn dir(&self, planner: &Planner<'_>, dir: DirId) -> DirId {
        let united = self.united.get(&dir).copied();
        united.unwrap_or_else(|| planner.plan.dir(dir))
    }

    /// Returns what a name is in a version; what I made is in none.
    pub(super) fn state(
        &self,
        planner: &Planner<'_>,
        view: View<'_>,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<Option<Record>> {
        if planner.plan.is_fresh(dir) {
            return Ok(None);
        }
        view.state(dir, name)
    }

    pub(super) fn judge_mine(&self, planner: &Planner<'_>, change: &Change) -> Result<Verdict> {
        let (dir, name) = (self.dir(planner, change.dir), change.name.as_ref());
        let before = self.state(planner, self.base, dir, name)?;
        let theirs = self.state(planner, self.head, dir, name)?;
        let mine = change
            .state
            .clone()
            .map(|record| planner.plan.record(record));
        if self.ends_differ(planner, before.as_ref(), mine.as_ref(), theirs.as_ref())? {
            return Ok(Verdict::Conflict);
        }
        let step = Step::of(before.as_ref(), mine.as_ref());
        let their_step = Step::of(before.as_ref(), theirs.as_ref());
        let mut links = links(before.as_ref(), mine.as_ref());
        let link_conflicts = links.any(|link| self.theirs.changed_link(link));
        let of_link = mine.as_ref().and_then(|record| record.link);
        Ok(match (step, their_step) {
            // The record and the link are as they were before, or the step would be larger.
            (Step::None | Step::Times, _)
                if of_link.is_some_and(|link| self.theirs.touched_link(link.id)) =>
            {
                Verdict::OfLink
            }
            (Step::None, _) | (Step::Times, Step::State) => Verdict::LeaveOut,
            // All names of a link get the same.
            (Step::Times, _) if of_link.is_some() => Verdict::Make,
            (Step::Times, _) => match (&before, &mine, &theirs) {
                (Some(before), Some(mine), Some(theirs)) => {
                    Verdict::Times(Merged::of(before, mine, theirs))
                }
                _ => Verdict::LeaveOut,
            },
            (Step::State, Step::State) => {
                self.judge_both(planner, mine.as_ref(), theirs.as_ref())?
            }
            (Step::State, _) if link_conflicts => Verdict::Conflict,
            (Step::State, _) => {
                let above = self.above_mine(planner, change.dir, &self.theirs.changed)?;
                if above.is_empty() {
                    Verdict::Make
                } else {
                    Verdict::Conflict
                }
            }
        })
    }

    /// Judges an entry that both sides changed.
    fn judge_both(
        &self,
        planner: &Planner<'_>,
        mine: Option<&Record>,
        theirs: Option<&Record>,
    ) -> Result<Verdict> {
        if Step::of(mine, theirs) != Step::State {
            return Ok(Verdict::LeaveOut);
        }
        let (Some(mine), Some(theirs)) = (mine, theirs) else {
            return Ok(Verdict::Conflict);
        };
        let (Some(my_dir), Some(their_dir)) = (mine.dir(), theirs.dir()) else {
            return Ok(Verdict::Conflict);
        };
        let new = planner.plan.is_fresh(my_dir) && self.base.directory(their_dir)?.is_none();
        // Both are directories; that they have two ids is what is to be united.
        let differences = mine.differences(theirs);
        if new && !differences.has_any(&[Aspect::Mode, Aspect::Owner, Aspect::Xattrs]) {
            Ok(Verdict::Unite(their_dir))
        } else {
            Ok(Verdict::Conflict)
        }
    }

    /// Returns true if both moved or removed a directory, to different ends.
    fn ends_differ(
        &self,
        planner: &Planner<'_>,
        before: Option<&Record>,
        mine: Option<&Record>,
        theirs: Option<&Record>,
    ) -> Result<bool> {
        let dir = |record: Option<&Record>| record.and_then(Record::dir);
        let (before, mine, theirs) = (dir(before), dir(mine), dir(theirs));
        if before == mine {
            return Ok(false);
        }
        let removed = before.filter(|dir| planner.plan.removed.contains(dir));
        if let Some(removed) = removed.filter(|dir| self.theirs.left.contains(dir))
            && self.head.directory(removed)?.is_some()
        {
            return Ok(true);
        }
        Ok(mine.is_some_and(|dir| self.theirs.left.contains(&dir)) && mine != theirs)
    }

    /// Returns true if the other side moved a directory, too, and what it lies in after my changes. Even
    /// if that is where I moved it to, its path is another one.
    pub(super) fn moved_with_above(
        &self,
        planner: &Planner<'_>,
        moved: DirId,
        into: DirId,
    ) -> Result<bool> {
        let left = &self.theirs.left;
        Ok(left.contains(&moved) && !self.above_mine(planner, into, left)?.is_empty())
    }

    /// Returns what all names of a link get that both sides touched without a conflict, `mine` being the
    /// record that I gave it; `None` where theirs stays as it is.
    ///
    /// Of a side that changed nothing but times the times count, unless the other one changed the state.
    pub(super) fn merged_link(
        &self,
        planner: &Planner<'_>,
        mine: &Record,
        link: LinkId,
    ) -> Result<Option<Record>> {
        let both = self.mine.changed_link(link) && self.theirs.changed_link(link);
        let Some((before, theirs)) = self.link_before(planner, link)?.filter(|_| !both) else {
            return Ok(None);
        };
        let kept = if self.mine.changed_link(link) {
            mine
        } else {
            &theirs
        };
        if kept.same_state(&before) {
            let merged = Merged::of(&before, mine, &theirs);
            return Ok(Some(merged.apply_to(kept.clone())));
        }
        Ok(self.mine.changed_link(link).then(|| mine.clone()))
    }

    /// Returns the record of a link in the base and in the newest version, if that has it.
    fn link_before(&self, planner: &Planner<'_>, link: LinkId) -> Result<Option<(Record, Record)>> {
        let with_link = |record: Option<Record>| record.filter(|record| has(record, link));
        let mut theirs = None;
        for named in live_names(self.head, link) {
            let (dir, name) = named?;
            theirs = with_link(self.head.state(dir, name.as_ref())?);
            let before = with_link(self.base.state(dir, name.as_ref())?);
            if let (Some(before), Some(theirs)) = (before, &theirs) {
                return Ok(Some((before, theirs.clone())));
            }
        }
        // They moved every name; mine are still those of the base.
        let Some(theirs) = theirs else {
            return Ok(None);
        };
        for named in names_of(planner, link) {
            let (LinkedName { dir, name, .. }, _) = named?;
            if let Some(before) = with_link(planner.old_state(dir, name.as_ref())?) {
                return Ok(Some((before, theirs)));
            }
        }
        Ok(None)
    }

    pub(super) fn judge_theirs(
        &self,
        planner: &Planner<'_>,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<TheirVerdict> {
        let before = self.base.state(dir, name)?;
        let theirs = self.head.state(dir, name)?;
        let step = Step::of(before.as_ref(), theirs.as_ref());
        let mine = self.mine_at(planner, dir, name)?;
        let mut links = links(before.as_ref(), theirs.as_ref());
        let link = links.find(|link| self.mine.changed_link(*link));
        match (step, &mine) {
            (Step::None | Step::Times, _) => return Ok(TheirVerdict::Keep),
            (Step::State, Some((united, mine))) => {
                if *united || Step::of(mine.as_ref(), theirs.as_ref()) != Step::State {
                    return Ok(TheirVerdict::Keep);
                }
            }
            (Step::State, None) => {}
        }
        let above = self.above_theirs(dir)?;
        Ok(match (above.is_empty(), link) {
            (true, None) => TheirVerdict::Keep,
            _ => TheirVerdict::Conflict(above),
        })
    }

    /// Returns what I made of a name of theirs, and whether that is a directory of both.
    fn mine_at(
        &self,
        planner: &Planner<'_>,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<Option<(bool, Option<Record>)>> {
        let row = match self.united_with.get(&dir) {
            Some(mine) => planner.staging.get(*mine, name)?,
            None => planner.staged(dir, name)?,
        };
        Ok(row.map(|row| {
            let dir = row.state.as_ref().and_then(Record::dir);
            let united = dir.is_some_and(|dir| self.united.contains_key(&dir));
            (united, row.state.map(|record| planner.plan.record(record)))
        }))
    }

    /// Returns those of `changed` in or below which a directory of mine lies in the base; for one
    /// that I made, the directory that it is made in.
    fn above_mine(
        &self,
        planner: &Planner<'_>,
        dir: DirId,
        changed: &HashSet<DirId>,
    ) -> Result<Vec<DirId>> {
        let mut dir = dir;
        while planner.plan.is_fresh(planner.plan.dir(dir)) {
            let Some((above, _)) = planner.placed.get(&dir) else {
                return Ok(Vec::new());
            };
            dir = *above;
        }
        self.above(planner.plan.dir(dir), changed)
    }

    /// Returns those of the directories that I changed in or below which a directory of theirs lies
    /// in the base; for one that they made, the directory that it is made in.
    fn above_theirs(&self, dir: DirId) -> Result<Vec<DirId>> {
        let mut dir = dir;
        while dir != DirId::ABOVE_ROOT && self.base.directory(dir)?.is_none() {
            match self.head.directory(dir)?.and_then(|row| row.place) {
                Some((above, _)) => dir = above,
                None => return Ok(Vec::new()),
            }
        }
        self.above(dir, &self.mine.changed)
    }

    fn above(&self, dir: DirId, changed: &HashSet<DirId>) -> Result<Vec<DirId>> {
        let mut found = Vec::new();
        let mut dir = dir;
        while !changed.is_empty() && dir != DirId::ABOVE_ROOT {
            if changed.contains(&dir) {
                found.push(dir);
            }
            let row = self.base.live_directory(dir)?;
            let Some((above, _)) = row.place else { break };
            dir = above;
        }
        Ok(found)
    }

    /// Returns the path of an entry in the newest version, or in the base if only that has its
    /// directory; for one in a directory that I made, the path of the directory it is made in.
    pub(super) fn path(
        &self,
        planner: &Planner<'_>,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<ObjectPath> {
        let (mut at, mut name) = (dir, name);
        while planner.plan.is_fresh(self.dir(planner, at)) {
            let Some((above, _)) = planner.placed.get(&at) else {
                break;
            };
            (at, name) = (*above, None);
        }
        if at == DirId::ABOVE_ROOT {
            return Ok(ObjectPath::ROOT);
        }
        let real = self.dir(planner, at);
        let path = match self.head.path_of(real)? {
            Some(path) => path,
            None => self.base.path_of(real)?.unwrap_or(ObjectPath::ROOT),
        };
        match name {
            None => Ok(path),
            // Where both sides together make it too long, the directory says enough.
            Some(name) => Ok(join(&path, name).unwrap_or(path)),
        }
    }
}
