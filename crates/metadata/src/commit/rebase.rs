//! Rebasing: changes that were made on an older version become changes of the newest one.
//!
//! The changes are planned on their base already. Here they are compared with what other versions
//! changed since, which is read from their change rows, by the rules of [`super::conflict`]. It
//! costs what both sides changed, and holds numbers for directories and links and the conflicts.
//! Nothing staged is changed before it is known that there is no conflict.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use lfsfs_types::limits::CONFLICTS_TOLD_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, Record};

use super::Change;
use super::conflict::{Footprint, Sides, TheirVerdict, Verdict};
use super::merge::merge_links;
use super::plan::Planner;
use super::staging::StagingEdits;
use crate::ahead::PAGE;
use crate::changed::for_each_changed;
use crate::error::Result;
use crate::view::View;

/// What was found by comparing the sides.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    pub(super) sides: Sides<'a>,
    pub(super) conflicts: Conflicts,
    /// Directories that I moved, removed or changed, and of which something conflicts.
    pub(super) contested: HashSet<DirId>,
}

/// The paths that conflict: how many, and the first of them. Of the others a hash is kept, so that
/// each counts once.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    first: BTreeSet<ObjectPath>,
    seen: HashSet<u64>,
}

impl Conflicts {
    fn insert(&mut self, path: ObjectPath) {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        if self.seen.insert(hasher.finish()) {
            self.first.insert(path);
            if self.first.len() > CONFLICTS_TOLD_MAX {
                self.first.pop_last();
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn into_paths(self) -> Vec<ObjectPath> {
        self.first.into_iter().collect()
    }
}

/// Compares what is staged, planned on its base, with what the newest version has instead.
pub(super) fn compare<'a>(planner: &Planner<'a>, head: View<'a>) -> Result<Comparison<'a>> {
    let sides = Sides {
        base: planner.base,
        head,
        mine: my_footprint(planner)?,
        theirs: their_footprint(planner, head)?,
        united: HashMap::new(),
        united_with: HashMap::new(),
    };
    let mut comparison = Comparison {
        sides,
        conflicts: Conflicts::default(),
        contested: HashSet::new(),
    };
    for_each_from_above(planner, head, |change| {
        comparison.look_at_mine(planner, &change)
    })?;
    comparison.look_at_theirs(planner)?;
    Ok(comparison)
}

/// Makes what is staged fit the newest version. There must be no conflict.
pub(super) fn apply<'a>(planner: &mut Planner<'a>, comparison: Comparison<'a>) -> Result<()> {
    let sides = comparison.sides;
    let mut edits = StagingEdits::new(planner.staging);
    for_each_from_above(planner, sides.head, |change| {
        match sides.judge_mine(planner, &change)? {
            Verdict::Make | Verdict::OfLink | Verdict::Conflict => Ok(()),
            Verdict::LeaveOut | Verdict::Unite(_) => {
                edits.drop_change(change.dir, change.name.as_ref())
            }
            Verdict::Times(merged) => edits.set(&Change {
                state: change.state.map(|record| merged.apply_to(record)),
                ..change
            }),
        }
    })?;
    edits.finish()?;
    for (mine, theirs) in &sides.united {
        planner.plan.unite(*mine, *theirs);
        planner.made_again.insert(*theirs, *mine);
    }
    merge_links(planner, &sides)?;
    planner.move_to(sides.head)
}

fn my_footprint(planner: &Planner<'_>) -> Result<Footprint> {
    let mut footprint = Footprint::default();
    for page in planner.staging.pages() {
        let page = page?;
        planner.read_ahead(&[planner.base], &page)?;
        for change in page {
            let before = planner.old_state(change.dir, change.name.as_ref())?;
            let after = change.state.map(|record| planner.plan.record(record));
            footprint.note(before.as_ref(), after.as_ref());
        }
    }
    Ok(footprint)
}

fn their_footprint(planner: &Planner<'_>, head: View<'_>) -> Result<Footprint> {
    let base = planner.base;
    let mut footprint = Footprint::default();
    for_each_of_theirs(planner, head, |dir, name| {
        let before = base.state(dir, name)?;
        let after = head.state(dir, name)?;
        footprint.note(before.as_ref(), after.as_ref());
        Ok(())
    })?;
    Ok(footprint)
}

/// Calls `each` for all that others changed since the base, what it was and is read ahead.
fn for_each_of_theirs(
    planner: &Planner<'_>,
    head: View<'_>,
    mut each: impl FnMut(DirId, Option<&Name>) -> Result<()>,
) -> Result<()> {
    let mut page = Vec::new();
    let mut look = |page: &mut Vec<Change>| {
        planner.read_ahead(&[planner.base, head], page)?;
        page.drain(..)
            .try_for_each(|it| each(it.dir, it.name.as_ref()))
    };
    for_each_changed(planner.base, head, |dir, name| {
        let state = None;
        page.push(Change { dir, name, state });
        if page.len() < PAGE {
            return Ok(());
        }
        look(&mut page)
    })?;
    look(&mut page)
}

/// Calls `each` for all that is staged, for what makes a directory before what is in it. What it was in the
/// base and is in `head` is read ahead.
pub(super) fn for_each_from_above(
    planner: &Planner<'_>,
    head: View<'_>,
    mut each: impl FnMut(Change) -> Result<()>,
) -> Result<()> {
    let staging = planner.staging;
    // What makes a directory again may have been left out, because the directory is the same.
    let mut found: Vec<DirId> = planner.made_again.values().copied().collect();
    let mut seen: HashSet<DirId> = found.iter().copied().collect();
    let mut look_at = |change: Change, found: &mut Vec<DirId>| {
        let dir = change.state.as_ref().and_then(Record::dir);
        found.extend(dir.filter(|dir| dir.is_session() && seen.insert(*dir)));
        each(change)
    };
    let views = [planner.base, head];
    for page in staging.pages_in_base_directories() {
        let page = page?;
        planner.read_ahead(&views, &page)?;
        for change in page {
            look_at(change, &mut found)?;
        }
    }
    while let Some(dir) = found.pop() {
        for page in staging.pages_in_directory(dir) {
            let page = page?;
            planner.read_ahead(&views, &page)?;
            for change in page {
                look_at(change, &mut found)?;
            }
        }
    }
    Ok(())
}

impl Comparison<'_> {
    fn look_at_mine(&mut self, planner: &Planner<'_>, change: &Change) -> Result<()> {
        match self.sides.judge_mine(planner, change)? {
            Verdict::Make | Verdict::LeaveOut | Verdict::Times(_) | Verdict::OfLink => {}
            Verdict::Unite(theirs) => {
                if let Some(mine) = change.state.as_ref().and_then(Record::dir) {
                    self.sides.united.insert(mine, theirs);
                    self.sides.united_with.insert(theirs, mine);
                }
            }
            Verdict::Conflict => {
                let path = self.sides.path(planner, change.dir, change.name.as_ref())?;
                self.conflicts.insert(path);
                let before = planner.old_state(change.dir, change.name.as_ref())?;
                let mine = change.state.as_ref().and_then(Record::dir);
                self.contested.extend(
                    before
                        .as_ref()
                        .and_then(Record::dir)
                        .into_iter()
                        .chain(mine),
                );
            }
        }
        Ok(())
    }

    fn look_at_theirs(&mut self, planner: &Planner<'_>) -> Result<()> {
        for_each_of_theirs(planner, self.sides.head, |dir, name| {
            match self.sides.judge_theirs(planner, dir, name)? {
                TheirVerdict::Keep => {}
                TheirVerdict::Conflict(contested) => {
                    let path = self.sides.path(planner, dir, name)?;
                    self.conflicts.insert(path);
                    self.contested.extend(contested);
                }
            }
            Ok(())
        })
    }
}
