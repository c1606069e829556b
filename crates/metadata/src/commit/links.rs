//! Hard links of a commit: all names of one link carry the same record afterwards.
//!
//! The names of a link are those staged with it and those of the base that stay as they are. They
//! are read link by link, so a link may have any number of names. The index knows the names that are
//! live, so the base must be the newest version here.

use lfsfs_meta_store::{KeyRange, MetaStoreExt as _};
use lfsfs_types::{DirId, Link, LinkId, Name, Record};

use super::plan::{Difference, Planner};
use super::staging::LinkedName;
use crate::error::{Place, Refusal, Result};
use crate::keys;
use crate::metadata::SCAN_PAGE;

/// Checks every link that a change names, and drops the changes of those in which nothing changes
/// but ctime.
pub(super) fn check(planner: &mut Planner<'_>) -> Result<()> {
    let staging = planner.staging;
    let mut last = None;
    for staged in staging.linked_names() {
        let link = staged?.link;
        if last.replace(link) == Some(link) {
            continue;
        }
        if keep_changes(planner, link)? {
            check_names(planner, link)?;
        }
    }
    Ok(())
}

/// Decides whether the changes of a link's names make rows: all of them do as soon as one does.
fn keep_changes(planner: &mut Planner<'_>, link: LinkId) -> Result<bool> {
    let mut makes_rows = false;
    for named in names_of(planner, link) {
        let (named, record) = named?;
        let old = planner.old_state(named.dir, named.name.as_ref())?;
        let new = planner.plan.record(record);
        makes_rows |= Difference::of(old.as_ref(), Some(&new)) == Difference::Row;
    }
    let staging = planner.staging;
    for staged in staging.linked_names_of(link) {
        let LinkedName { dir, name, .. } = staged?;
        let row = staging.get(dir, name.as_ref())?;
        let named = row.and_then(|row| row.state);
        if !named.is_some_and(|record| has(&record, link)) {
            continue;
        }
        if makes_rows {
            planner.plan.touched.insert(planner.plan.dir(dir));
        } else {
            planner.edits.drop_change(dir, name.as_ref())?;
        }
    }
    Ok(makes_rows)
}

/// Returns the staged names that have the link, with their records.
fn names_of<'p>(
    planner: &'p Planner<'_>,
    link: LinkId,
) -> impl Iterator<Item = Result<(LinkedName, Record)>> + use<'p> {
    let staging = planner.staging;
    staging.linked_names_of(link).filter_map(move |staged| {
        let staged = match staged {
            Ok(staged) => staged,
            Err(error) => return Some(Err(error)),
        };
        // A later change of the same name may have another link or none.
        let row = staging.get(staged.dir, staged.name.as_ref()).transpose()?;
        row.map(|row| row.state.filter(|record| has(record, link)))
            .transpose()
            .map(|record| record.map(|record| (staged, record)))
    })
}

fn has(record: &Record, link: LinkId) -> bool {
    record.link.is_some_and(|found| found.id == link)
}

/// Checks that all names of a link have one record, and that it counts them.
fn check_names(planner: &Planner<'_>, link: LinkId) -> Result<()> {
    let mut agreed: Option<(Record, Place)> = None;
    let mut names = 0_u64;
    let mut agree = |dir: DirId, name: Option<Name>, record: Record| {
        names += 1;
        match &agreed {
            None => agreed = Some((record, Place { dir, name })),
            Some((agreed, _)) if *agreed == record => {}
            Some(_) => return Err(Refusal::UnequalLink { link }.at(dir, name)),
        }
        Ok(())
    };
    for named in names_of(planner, link) {
        let (named, record) = named?;
        agree(named.dir, named.name, record)?;
    }
    let mut known = link.is_session() || planner.gives_back_links();
    for named in base_names(planner, link) {
        let (dir, name) = named?;
        known = true;
        if let Some(record) = unchanged(planner, dir, name.as_ref())? {
            agree(dir, name, record)?;
        }
    }
    let Some((record, Place { dir, name })) = agreed else {
        return Ok(());
    };
    if !known {
        return Err(Refusal::UnknownLink { link }.at(dir, name));
    }
    match record.link {
        Some(Link { nlink, .. }) if u64::from(nlink) < names => {
            Err(Refusal::LinkCount { link, names, nlink }.at(dir, name))
        }
        _ => Ok(()),
    }
}

/// Returns the names that a link has in the base.
fn base_names<'p>(
    planner: &'p Planner<'_>,
    link: LinkId,
) -> impl Iterator<Item = Result<(DirId, Option<Name>)>> + use<'p> {
    let prefix = keys::links_of(planner.base.project, link);
    let rows = planner
        .base
        .store
        .scan_all(KeyRange::prefix(&prefix), SCAN_PAGE);
    rows.map(|row| {
        let (_, _, dir, name) = keys::decode_link(&row?.0)?;
        Ok((dir, name))
    })
}

/// Returns the record of a base name that no change names.
fn unchanged(planner: &Planner<'_>, dir: DirId, name: Option<&Name>) -> Result<Option<Record>> {
    if planner.staged(dir, name)?.is_some() {
        return Ok(None);
    }
    planner.base.state(dir, name)
}
