//! Merging of hard links: what all names of a link get that both sides touched without a conflict.

use lfsfs_types::LinkId;

use super::Change;
use super::conflict::Sides;
use super::links::{has, live_names, names_of, staged_links};
use super::plan::Planner;
use super::staging::LinkedName;
use crate::error::{Refusal, Result};

/// Brings the names of each link that both sides touched to one record, on the newest version.
///
/// There is no conflict: at most one side changed more than times, or both made the same of the link.
pub(super) fn merge_links(planner: &mut Planner<'_>, sides: &Sides<'_>) -> Result<()> {
    for link in staged_links(planner.staging)? {
        if sides.theirs.touched_link(link) {
            merge_one(planner, sides, link)?;
        }
    }
    planner.edits.finish()
}

fn merge_one(planner: &mut Planner<'_>, sides: &Sides<'_>, link: LinkId) -> Result<()> {
    let Some((_, mine)) = names_of(planner, link).next().transpose()? else {
        return Ok(());
    };
    let merged = sides.merged_link(planner, &mine, link)?;
    for named in names_of(planner, link) {
        let (LinkedName { dir, name, .. }, record) = named?;
        if record != mine {
            return Err(Refusal::UnequalLink { link }.at(dir, name));
        }
        // A name of the base may be something else in the newest version.
        let real = sides.dir(planner, dir);
        let is_there = sides.mine.changed_link(link)
            || sides
                .state(planner, sides.head, real, name.as_ref())?
                .is_some_and(|record| has(&record, link));
        let state = merged.clone().filter(|_| is_there);
        match state {
            None => planner.edits.drop_change(dir, name.as_ref())?,
            state => planner.edits.set(&Change { dir, name, state })?,
        }
    }
    let Some(record) = merged else { return Ok(()) };
    for named in live_names(sides.head, link) {
        let (dir, name) = named?;
        if planner.staged(dir, name.as_ref())?.is_none() {
            let state = Some(record.clone());
            planner.edits.set(&Change { dir, name, state })?;
        }
    }
    Ok(())
}
