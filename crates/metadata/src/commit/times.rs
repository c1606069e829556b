//! Commits that ignore times: what differs in its times alone keeps those that it has.

use std::collections::HashSet;

use lfsfs_types::Record;

use super::Change;
use super::plan::{Difference, Planner};
use crate::error::Result;

impl Planner<'_> {
    /// Returns how much two states of one name differ, as far as it matters to this commit.
    pub(super) fn difference(&self, old: Option<&Record>, new: Option<&Record>) -> Difference {
        match Difference::of(old, new) {
            Difference::Times if self.ignores_times => Difference::None,
            difference => difference,
        }
    }

    /// Drops the new times of directories in which no entry changes, where such times are ignored. What is
    /// staged is what the version changes, but for these.
    pub(super) fn drop_times_alone(&mut self) -> Result<()> {
        if self.times_alone.is_empty() {
            return Ok(());
        }
        let of_times_alone = |planner: &Self, change: &Change| {
            let dir = change.state.as_ref().and_then(Record::dir);
            dir.is_some_and(|dir| planner.times_alone.contains(&planner.plan.dir(dir)))
        };
        let mut changed = HashSet::new();
        for change in self.staging.all() {
            let change = change?;
            if !of_times_alone(self, &change) {
                changed.insert(self.plan.dir(change.dir));
            }
        }
        for change in self.staging.all() {
            let change = change?;
            if !of_times_alone(self, &change) {
                continue;
            }
            let dir = change.state.as_ref().and_then(Record::dir);
            if dir.is_some_and(|dir| changed.contains(&self.plan.dir(dir))) {
                self.plan.touched.insert(self.plan.dir(change.dir));
            } else {
                self.edits.drop_change(change.dir, change.name.as_ref())?;
            }
        }
        self.edits.finish()
    }
}
