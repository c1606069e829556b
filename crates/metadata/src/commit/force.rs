//! Forcing: changes that conflict are made on the newest version as changes of plain paths.
//!
//! My path decides where a change goes: directories missing on the way are made, and what is in the
//! way of one is replaced. A removed directory keeps the entries that the other side made or
//! changed, and stays if there are any. A renamed directory that conflicts is removed at its old
//! path and made anew at the new one; other renames stay renames. A file loses its link id if the
//! other side changed more than the times of that link, or if a name of it stays that I removed or
//! changed elsewhere. How many other names a file has is no change of a name.
//!
//! The outcome is staged in a session of its own and planned like any other changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Kind, Link, LinkId, Name, Record};

use super::Change;
use super::conflict::{Merged, Sides, Step};
use super::links::{has, live_names};
use super::plan::Planner;
use super::rebase::{Comparison, for_each_from_above};
use super::staging::{LinkedName, Staging, StagingEdits};
use crate::error::{Refusal, Result};
use crate::view::View;

/// Stages my changes once more, as changes of the newest version. Returns the id under which each
/// directory of mine is staged now.
pub(super) fn stage<'a>(
    planner: &Planner<'a>,
    comparison: &Comparison<'a>,
    to: Staging<'a>,
) -> Result<BTreeMap<DirId, DirId>> {
    let mut force = Force {
        planner,
        sides: &comparison.sides,
        contested: comparison.contested.clone(),
        mine: HashMap::new(),
        outcome: HashMap::from([
            (DirId::ROOT, DirId::ROOT),
            (DirId::ABOVE_ROOT, DirId::ABOVE_ROOT),
        ]),
        next: DirId::SESSION_FIRST,
        staged: to,
        edits: StagingEdits::new(to),
    };
    force.learn_places()?;
    // What I made may come to the names of what I removed, so it is staged after that.
    for_each_from_above(planner, comparison.sides.head, |change| {
        force.take_away(&change)
    })?;
    force.edits.finish()?;
    for_each_from_above(planner, comparison.sides.head, |change| force.make(&change))?;
    force.edits.finish()?;
    force.give_up_links(to)?;
    force.edits.finish()?;
    let made = planner.plan.directory_ids().iter();
    let staged = made.filter_map(|(dir, real)| Some((*dir, *force.outcome.get(real)?)));
    Ok(staged.collect())
}

/// Where a directory is after my changes, and its record.
#[derive(Debug, Clone)]
struct MyPlace {
    dir: DirId,
    name: Option<Name>,
    record: Record,
}

/// Changes on their way to the newest version. Directories of mine go by their planned ids.
struct Force<'p, 'a> {
    planner: &'p Planner<'a>,
    sides: &'p Sides<'a>,
    /// Directories of which a rename cannot stay one.
    contested: HashSet<DirId>,
    /// The directories that my changes name.
    mine: HashMap<DirId, MyPlace>,
    /// What stands for a directory of mine in the newest version: what is at its path there, or an
    /// id that the outcome makes.
    outcome: HashMap<DirId, DirId>,
    next: DirId,
    /// The outcome, as far as it is written.
    staged: Staging<'a>,
    edits: StagingEdits<'a>,
}

impl Force<'_, '_> {
    /// Notes where the directories that I made, moved or changed are, and which renames cannot stay
    /// renames: because something is left where they go to, or because the other side did the same and
    /// moved what is above.
    fn learn_places(&mut self) -> Result<()> {
        for change in self.planner.staging.all() {
            let change = change?;
            let Some(record) = change.state else { continue };
            let record = self.planner.plan.record(record);
            let Some(dir) = record.dir() else { continue };
            let before = self.planner.old_state(change.dir, change.name.as_ref())?;
            let replaced = before.as_ref().and_then(Record::dir);
            let is_left = replaced.is_some_and(|replaced| self.contested.contains(&replaced));
            let (planner, into) = (self.planner, change.dir);
            let is_apart = self.moves(dir) && self.sides.moved_with_above(planner, dir, into)?;
            if is_left || is_apart {
                self.contested.insert(dir);
            }
            let place = MyPlace {
                dir: self.planner.plan.dir(change.dir),
                name: change.name,
                record,
            };
            self.mine.insert(dir, place);
        }
        Ok(())
    }

    fn moves(&self, dir: DirId) -> bool {
        self.planner.plan.moved.contains(&dir)
    }

    /// Returns true if a directory keeps its identity at another place.
    fn keeps_rename(&self, dir: DirId) -> bool {
        self.moves(dir) && !self.contested.contains(&dir)
    }

    /// Returns true if a directory is, or lies in, one that is made anew at another place.
    fn is_made_anew(&self, dir: DirId) -> Result<bool> {
        let mut at = dir;
        while at != DirId::ABOVE_ROOT && !self.keeps_rename(at) {
            if self.moves(at) {
                return Ok(true);
            }
            at = self.place_of(at)?.dir;
        }
        Ok(false)
    }

    /// Returns where a directory is after my changes.
    fn place_of(&self, dir: DirId) -> Result<MyPlace> {
        if let Some(place) = self.mine.get(&dir) {
            return Ok(place.clone());
        }
        let base = self.sides.base;
        let (parent, name) = base
            .live_directory(dir)?
            .place
            .unwrap_or((DirId::ABOVE_ROOT, None));
        let record = base.state(parent, name.as_ref())?;
        let unknown = || Refusal::UnknownDirectory { dir }.at(dir, None);
        Ok(MyPlace {
            dir: parent,
            name,
            record: record.ok_or_else(unknown)?,
        })
    }

    /// Returns what the newest version has at a name, as far as my renames leave it there. Of what I
    /// removed a directory can stand for one of mine, anything else is gone.
    fn there(&self, dir: DirId, name: Option<&Name>) -> Result<Option<Record>> {
        if dir.is_session() {
            return Ok(None);
        }
        let Some(found) = self.sides.head.state(dir, name)? else {
            return Ok(None);
        };
        let is_gone = match found.dir() {
            Some(found) => self.keeps_rename(found),
            None => self.is_taken_away(dir, name)?,
        };
        Ok((!is_gone).then_some(found))
    }

    fn is_taken_away(&self, dir: DirId, name: Option<&Name>) -> Result<bool> {
        let row = self.staged.get(dir, name)?;
        Ok(row.is_some_and(|row| row.state.is_none()))
    }

    /// Returns the directory that stands for one of mine; what is missing on the way is made.
    fn stand_in(&mut self, dir: DirId) -> Result<DirId> {
        let mut missing = Vec::new();
        let mut at = dir;
        let mut stand_in = loop {
            if let Some(found) = self.outcome.get(&at) {
                break *found;
            }
            if self.keeps_rename(at) {
                break at;
            }
            let place = self.place_of(at)?;
            let above = place.dir;
            missing.push((at, place));
            at = above;
        };
        while let Some((dir, place)) = missing.pop() {
            let found = self.there(stand_in, place.name.as_ref())?;
            let found = found.as_ref().and_then(Record::dir);
            let below = match found {
                Some(found) => found,
                None => self.make_directory(stand_in, place)?,
            };
            self.outcome.insert(dir, below);
            stand_in = below;
        }
        Ok(stand_in)
    }

    fn make_directory(&mut self, dir: DirId, place: MyPlace) -> Result<DirId> {
        let made = self.next;
        self.next.0 += 1;
        let record = of_directory(place.record, made);
        self.put(dir, place.name.as_ref(), Some(record))?;
        Ok(made)
    }

    /// Returns the directory that stands for one of mine, if there is one already.
    fn stand_in_if_there(&self, dir: DirId) -> Result<Option<DirId>> {
        let mut names = Vec::new();
        let mut at = dir;
        let mut stand_in = loop {
            if let Some(found) = self.outcome.get(&at) {
                break *found;
            }
            if self.keeps_rename(at) {
                break at;
            }
            let place = self.place_of(at)?;
            names.push(place.name);
            at = place.dir;
        };
        while let Some(name) = names.pop() {
            let found = self.there(stand_in, name.as_ref())?;
            match found.as_ref().and_then(Record::dir) {
                Some(found) => stand_in = found,
                None => return Ok(None),
            }
        }
        Ok(Some(stand_in))
    }

    fn put(&mut self, dir: DirId, name: Option<&Name>, state: Option<Record>) -> Result<()> {
        self.edits.set(&Change {
            dir,
            name: name.cloned(),
            state,
        })
    }

    /// Returns the directory of one of my changes. What goes with a removed directory is decided where
    /// that is removed.
    fn dir_of(&self, change: &Change) -> Option<DirId> {
        let dir = self.planner.plan.dir(change.dir);
        (!self.planner.plan.removed.contains(&dir)).then_some(dir)
    }

    /// Removes what is not at a name any more after one of my changes. A file is replaced by what comes
    /// to its name.
    fn take_away(&mut self, change: &Change) -> Result<()> {
        let name = change.name.as_ref();
        let before = self.planner.old_state(change.dir, name)?;
        let (Some(dir), Some(before)) = (self.dir_of(change), before) else {
            return Ok(());
        };
        let mine = change.state.clone();
        let mine = mine.map(|record| self.planner.plan.record(record));
        let stays = match mine {
            None => false,
            Some(mine) => mine.dir().is_none() || mine.dir() == before.dir(),
        };
        if stays {
            Ok(())
        } else {
            self.remove(dir, name, &before)
        }
    }

    /// Makes one of my changes after which something is at a name.
    fn make(&mut self, change: &Change) -> Result<()> {
        let (Some(dir), Some(mine)) = (self.dir_of(change), &change.state) else {
            return Ok(());
        };
        let name = change.name.as_ref();
        let before = self.planner.old_state(change.dir, name)?;
        match self.planner.plan.record(mine.clone()).dir() {
            Some(made) => self.make_as_directory(dir, name, before, made),
            None => self.make_other(dir, name, before, mine),
        }
    }

    fn remove(&mut self, dir: DirId, name: Option<&Name>, before: &Record) -> Result<()> {
        // The old place of what is made anew is emptied as a whole.
        if self.is_made_anew(dir)? {
            return Ok(());
        }
        let Some(at) = self.stand_in_if_there(dir)? else {
            return Ok(());
        };
        let found = if at.is_session() {
            None
        } else {
            self.sides.head.state(at, name)?
        };
        match (before.dir(), found.as_ref().and_then(Record::dir)) {
            (_, None) if found.is_none() => Ok(()),
            (_, None) => self.put(at, name, None),
            (Some(mine), Some(theirs)) if mine == theirs => {
                let owned = found.is_some_and(|found| found.same_state(before));
                if self.keeps_rename(mine) || (self.empty(mine)? && owned) {
                    self.put(at, name, None)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Removes what a directory had in the base and still has, and returns true if nothing is left.
    fn empty(&mut self, dir: DirId) -> Result<bool> {
        struct Below {
            above: Option<(usize, Name)>,
            dir: DirId,
            keeps: bool,
        }
        let mut found = vec![Below {
            above: None,
            dir,
            keeps: false,
        }];
        let mut next = 0;
        while let Some(dir) = found.get(next).map(|below| below.dir) {
            let mut keeps = false;
            let mut below = Vec::new();
            let (head, base) = (self.sides.head, self.sides.base);
            for_each_entry(head, dir, |name, record| {
                let before = base.state(dir, Some(&name))?;
                let same = step_of_one(before.as_ref(), &record) != Step::State;
                match record.dir() {
                    Some(moved) if self.keeps_rename(moved) => self.put(dir, Some(&name), None),
                    Some(child) if before.and_then(|before| before.dir()) == Some(child) => {
                        below.push((name, child, !same));
                        Ok(())
                    }
                    None if same => self.put(dir, Some(&name), None),
                    _ => {
                        keeps = true;
                        Ok(())
                    }
                }
            })?;
            found[next].keeps |= keeps;
            found.extend(below.into_iter().map(|(name, dir, keeps)| Below {
                above: Some((next, name)),
                dir,
                keeps,
            }));
            next += 1;
        }
        // From below to above: a directory goes if nothing in it stays.
        for at in (1..found.len()).rev() {
            let Some((above, name)) = found[at].above.clone() else {
                continue;
            };
            if found[at].keeps {
                found[above].keeps = true;
            } else {
                self.put(found[above].dir, Some(&name), None)?;
            }
        }
        Ok(!found[0].keeps)
    }

    /// Makes a change after which a directory is at a name.
    fn make_as_directory(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
        before: Option<Record>,
        made: DirId,
    ) -> Result<()> {
        let stays = before.as_ref().and_then(Record::dir) == Some(made);
        let anew = self.is_made_anew(dir)?;
        let record = self.place_of(made)?.record;
        if stays && !anew && Step::of(before.as_ref(), Some(&record)) == Step::Times {
            return self.make_times(dir, name, before.as_ref(), &record);
        }
        let at = self.stand_in(dir)?;
        let below = if self.keeps_rename(made) {
            made
        } else {
            self.stand_in(made)?
        };
        self.put(at, name, Some(of_directory(record, below)))?;
        if !self.planner.plan.is_fresh(made) && self.is_made_anew(made)? {
            self.copy_entries(made)?;
        }
        Ok(())
    }

    /// Makes a change after which something else than a directory is at a name.
    fn make_other(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
        before: Option<Record>,
        mine: &Record,
    ) -> Result<()> {
        if !self.is_made_anew(dir)? {
            match step_of_one(before.as_ref(), mine) {
                // A name of a link that was said again with others.
                Step::None => return Ok(()),
                Step::Times => return self.make_times(dir, name, before.as_ref(), mine),
                Step::State => {}
            }
        }
        let at = self.stand_in(dir)?;
        let found = self.there(at, name)?;
        if Step::of(found.as_ref(), Some(mine)) != Step::State {
            return Ok(());
        }
        let record = self.beside_theirs(mine.clone())?;
        self.put(at, name, Some(record))
    }

    /// Makes a change of times, if the other side left the rest as it was.
    fn make_times(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
        before: Option<&Record>,
        mine: &Record,
    ) -> Result<()> {
        let Some(at) = self.stand_in_if_there(dir)? else {
            return Ok(());
        };
        let found = self.there(at, name)?;
        let (Some(before), Some(found)) = (before, found) else {
            return Ok(());
        };
        if Step::of(Some(before), Some(&found)) == Step::State {
            return Ok(());
        }
        let merged = match mine.link {
            // All names of a link get the same.
            Some(_) => self.beside_theirs(mine.clone())?,
            None => Merged::of(before, mine, &found).apply_to(found),
        };
        self.put(at, name, Some(merged))
    }

    /// Makes the entries of a directory once more where it is made anew; those that I changed are
    /// changes of their own.
    fn copy_entries(&mut self, dir: DirId) -> Result<()> {
        let mut rest = vec![dir];
        while let Some(dir) = rest.pop() {
            let at = self.stand_in(dir)?;
            let (planner, base) = (self.planner, self.sides.base);
            for_each_entry(base, dir, |name, record| {
                if planner.staged(dir, Some(&name))?.is_some() {
                    return Ok(());
                }
                if let Some(below) = record.dir() {
                    let stand_in = self.stand_in(below)?;
                    rest.push(below);
                    return self.put(at, Some(&name), Some(of_directory(record, stand_in)));
                }
                let record = self.beside_theirs(record)?;
                self.put(at, Some(&name), Some(record))
            })?;
        }
        Ok(())
    }

    /// Returns a record of mine as a name of the newest version can have it: without a link that the
    /// other side changed, with its times if that is all they changed.
    fn beside_theirs(&self, record: Record) -> Result<Record> {
        let touched = |link: &Link| self.sides.theirs.touched_link(link.id);
        let Some(link) = record.link.filter(touched) else {
            return Ok(record);
        };
        if self.sides.theirs.changed_link(link.id) {
            return Ok(Record {
                link: None,
                ..record
            });
        }
        let merged = self.sides.merged_link(self.planner, &record, link.id)?;
        Ok(merged.unwrap_or(record))
    }

    /// Takes the link from my files if a name of it stays that I removed, or changed where it is not any
    /// more: what I made of the file must not get there.
    fn give_up_links(&mut self, staged: Staging<'_>) -> Result<()> {
        let mut last = None;
        for named in staged.linked_names() {
            let link = named?.link;
            if last.replace(link) == Some(link) || link.is_session() || self.agrees(staged, link)? {
                continue;
            }
            for named in staged.linked_names_of(link) {
                let LinkedName { dir, name, .. } = named?;
                let state = staged.get(dir, name.as_ref())?.and_then(|row| row.state);
                if let Some(record) = state.filter(|record| has(record, link)) {
                    let record = Record {
                        link: None,
                        ..record
                    };
                    self.put(dir, name.as_ref(), Some(record))?;
                }
            }
        }
        Ok(())
    }

    /// Returns true if all names that a link keeps are names that I left it.
    fn agrees(&self, staged: Staging<'_>, link: LinkId) -> Result<bool> {
        for named in live_names(self.sides.head, link) {
            let (dir, name) = named?;
            if self.changed(dir, name.as_ref(), link)? && staged.get(dir, name.as_ref())?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns true if I took a name from a link or changed the file under it. The outcome then has what I
    /// made, if anything, at another place.
    fn changed(&self, dir: DirId, name: Option<&Name>, link: LinkId) -> Result<bool> {
        let Some(row) = self.planner.staged(dir, name)? else {
            return Ok(false);
        };
        let Some(mine) = row.state.filter(|record| has(record, link)) else {
            return Ok(true);
        };
        let before = self.planner.old_state(dir, name)?;
        Ok(step_of_one(before.as_ref(), &mine) == Step::State)
    }
}

/// Returns how far a side changed a name, apart from how many others its file has.
fn step_of_one(before: Option<&Record>, after: &Record) -> Step {
    let same_link = |record: &&Record| {
        let link = record.link.map(|link| link.id);
        link.is_some() && link == after.link.map(|link| link.id)
    };
    match before.filter(same_link) {
        None => Step::of(before, Some(after)),
        Some(before) => {
            let counted = Record {
                link: after.link,
                ..before.clone()
            };
            Step::of(Some(&counted), Some(after))
        }
    }
}

fn of_directory(record: Record, dir: DirId) -> Record {
    Record {
        kind: Kind::Directory { dir },
        ..record
    }
}

/// Calls `each` for the entries of a directory.
fn for_each_entry(
    view: View<'_>,
    dir: DirId,
    mut each: impl FnMut(Name, Record) -> Result<()>,
) -> Result<()> {
    let mut after = None;
    loop {
        let (entries, more) = view.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
        after = entries.last().map(|(name, _)| name.clone());
        for (name, record) in entries {
            each(name, record)?;
        }
        if !more {
            return Ok(());
        }
    }
}
