//! Hard links of a commit: all names of one link carry the same record afterwards, and it counts them.
//!
//! The names of a link are those staged with it and those of the base that stay as they are. They
//! are read link by link, so a link may have any number of names. The index knows the names that are
//! live, so [`check`] needs the newest version as its base.
//!
//! A client may know some names of a link only. What it states for those it knows, or for the link,
//! is true of the others too: [`spread`] stages them, as if the client had. [`super::merge`] does
//! the same for a link that others touched since the base. Names can also go without a word of the
//! client, with a directory or by force; [`check`] counts those that are left.

use std::collections::{BTreeMap, BTreeSet};

use lfsfs_meta_store::{KeyRange, MetaStoreExt as _};
use lfsfs_types::{DirId, Link, LinkId, Name, Record, VersionNumber};

use super::Change;
use super::plan::{Difference, Planner};
use super::staging::{LinkedName, Staging};
use crate::changed::for_each_changed;
use crate::error::{Refusal, Result};
use crate::keys;
use crate::metadata::SCAN_PAGE;
use crate::view::View;

/// Stages the names that the base has of each link whose record the commit states, as far as no
/// change names them. `head` is the newest version, of which the index is; names that are live no
/// more are found among the changes since the base.
pub(super) fn spread<'a>(planner: &mut Planner<'a>, head: View<'a>) -> Result<()> {
    let mut links = stated_links(planner)?;
    for (link, is_known) in &mut links {
        for named in live_names(head, *link) {
            let (dir, name) = named?;
            *is_known |= give_record(planner, *link, dir, name)?;
        }
    }
    planner.edits.finish()?;
    let base = planner.base;
    if !links.is_empty() && base.version > VersionNumber::ZERO {
        for_each_changed(base, head, |dir, name| {
            let before = base.state(dir, name.as_ref())?;
            let link = before.and_then(|record| record.link).map(|link| link.id);
            if let Some(is_known) = link.and_then(|link| links.get_mut(&link))
                && let Some(link) = link
            {
                *is_known |= give_record(planner, link, dir, name)?;
            }
            Ok(())
        })?;
        planner.edits.finish()?;
    }
    for link in links
        .into_iter()
        .filter(|(_, known)| !known)
        .map(|(link, _)| link)
    {
        if planner.staging.link_record(link)?.is_some() {
            return Err(Refusal::UnknownLink { link }.at(DirId::ABOVE_ROOT, None));
        }
    }
    Ok(())
}

/// Returns the links that the base may have and of which the commit states a record, none of them
/// known yet.
fn stated_links(planner: &Planner<'_>) -> Result<BTreeMap<LinkId, bool>> {
    let mut links = BTreeMap::new();
    for record in planner.staging.link_records() {
        links.extend(record?.link.map(|link| (link.id, false)));
    }
    for staged in planner.staging.linked_names() {
        let link = staged?.link;
        if !link.is_session() {
            links.insert(link, false);
        }
    }
    Ok(links)
}

/// Gives a name of a link the record that the commit states, unless a change names it. Returns
/// whether it is a name of the link in the base.
fn give_record(
    planner: &mut Planner<'_>,
    link: LinkId,
    dir: DirId,
    name: Option<Name>,
) -> Result<bool> {
    let before = planner.base.state(dir, name.as_ref())?;
    if !before.is_some_and(|record| has(&record, link)) {
        return Ok(false);
    }
    if planner.staged(dir, name.as_ref())?.is_none()
        && let Some(record) = stated(planner, link)?
    {
        let state = Some(record);
        let change = Change { dir, name, state };
        planner.edits.set(&change)?;
        planner.compare_one(change)?;
    }
    Ok(true)
}

/// Returns the record that the commit states for a link.
fn stated(planner: &Planner<'_>, link: LinkId) -> Result<Option<Record>> {
    if let Some(record) = planner.staging.link_record(link)? {
        return Ok(Some(record));
    }
    let named = names_of(planner, link).next().transpose()?;
    Ok(named.map(|(_, record)| record))
}

/// Lets links of the base that were made again be what they were, where times alone are ignored: those
/// that have all their names again, and no other, with a record that says the same but for the times.
pub(super) fn keep_equal(planner: &mut Planner<'_>) -> Result<()> {
    for made in staged_links(planner.staging)? {
        if made.is_session()
            && let Some(before) = link_before(planner, made)?
        {
            planner.plan.unite_link(made, before);
            for named in names_of(planner, made) {
                let (LinkedName { dir, name, .. }, _) = named?;
                planner.edits.drop_change(dir, name.as_ref())?;
            }
        }
    }
    planner.edits.finish()
}

/// Returns the link of the base that a commit made again with the same names and the same state.
fn link_before(planner: &Planner<'_>, made: LinkId) -> Result<Option<LinkId>> {
    let mut names = 0_u32;
    let mut known = None;
    for named in names_of(planner, made) {
        let (named, record) = named?;
        let old = planner.old_state(named.dir, named.name.as_ref())?;
        let Some((old, link)) = old.and_then(|old| old.link.map(|link| (old, link))) else {
            return Ok(None);
        };
        let new = Record {
            link: record.link.map(|new| Link { id: link.id, ..new }),
            ..planner.plan.record(record)
        };
        let is_equal = planner.difference(Some(&old), Some(&new)) != Difference::Row;
        if !is_equal || *known.get_or_insert(link) != link {
            return Ok(None);
        }
        names = names.saturating_add(1);
    }
    // The base has no other name of it that stays, or that the commit takes away.
    let whole = known.filter(|link| link.nlink == names);
    Ok(whole.map(|link| link.id))
}

/// Returns the links of which names are staged.
pub(super) fn staged_links(staging: Staging<'_>) -> Result<BTreeSet<LinkId>> {
    staging
        .linked_names()
        .map(|staged| Ok(staged?.link))
        .collect()
}

/// Counts the names of every link of which a change names one or takes one away, checks that all of
/// one link are the same, and drops the changes of those in which nothing changes but ctime.
pub(super) fn check(planner: &mut Planner<'_>) -> Result<()> {
    let mut links = staged_links(planner.staging)?;
    links.append(&mut planner.losing);
    for link in &links {
        count_names(planner, *link)?;
    }
    planner.edits.finish()?;
    for link in links {
        if keep_changes(planner, link)? {
            check_names(planner, link)?;
        }
    }
    Ok(())
}

/// Stages the number of names that a link has after the commit, if its record says another.
///
/// A client that states fewer names than there are contradicts itself and is refused, by
/// [`check_names`], unless others' changes or force made them more.
fn count_names(planner: &mut Planner<'_>, link: LinkId) -> Result<()> {
    let Some((counted, stated)) = number_of_names(planner, link)? else {
        return Ok(());
    };
    if counted == stated || (counted > stated && !planner.is_merged) {
        return Ok(());
    }
    let recounted = |record: Record| Record {
        link: record.link.map(|link| Link {
            nlink: counted,
            ..link
        }),
        ..record
    };
    for named in live_names(planner.base, link) {
        let (dir, name) = named?;
        if let Some(record) = unchanged(planner, dir, name.as_ref())? {
            let state = Some(recounted(record));
            planner.edits.set(&Change { dir, name, state })?;
        }
    }
    for named in names_of(planner, link) {
        let (LinkedName { dir, name, .. }, record) = named?;
        let state = Some(recounted(record));
        planner.edits.set(&Change { dir, name, state })?;
    }
    Ok(())
}

/// Returns how many names a link has after the commit, and how many one of its records says.
fn number_of_names(planner: &Planner<'_>, link: LinkId) -> Result<Option<(u32, u32)>> {
    let mut counted = 0_u32;
    let mut stated = None;
    let mut count = |record: Record| {
        counted = counted.saturating_add(1);
        stated = stated.or(record.link.map(|link| link.nlink));
    };
    for named in names_of(planner, link) {
        count(named?.1);
    }
    for named in live_names(planner.base, link) {
        let (dir, name) = named?;
        if let Some(record) = unchanged(planner, dir, name.as_ref())? {
            count(record);
        }
    }
    Ok(stated.map(|stated| (counted, stated)))
}

/// Decides whether the changes of a link's names make rows: all of them do as soon as one does. Names
/// that stay as they are make none in any case.
fn keep_changes(planner: &mut Planner<'_>, link: LinkId) -> Result<bool> {
    let mut makes_rows = false;
    for named in names_of(planner, link) {
        let (named, record) = named?;
        let difference = difference(planner, &named, record)?;
        makes_rows |= matches!(difference, Difference::Row | Difference::Times);
    }
    let staging = planner.staging;
    for staged in staging.linked_names_of(link) {
        let named = staged?;
        let Some(record) = staged_record(staging, &named)? else {
            continue;
        };
        if makes_rows && difference(planner, &named, record)? != Difference::None {
            planner.plan.touched.insert(planner.plan.dir(named.dir));
        } else {
            planner.edits.drop_change(named.dir, named.name.as_ref())?;
        }
    }
    planner.makes_version |= makes_rows;
    Ok(makes_rows)
}

/// Returns how far what is staged for a name is from what it is in the base.
fn difference(planner: &Planner<'_>, named: &LinkedName, record: Record) -> Result<Difference> {
    let old = planner.old_state(named.dir, named.name.as_ref())?;
    let new = planner.plan.record(record);
    Ok(planner.difference(old.as_ref(), Some(&new)))
}

/// Returns the staged names that have the link, with their records.
pub(super) fn names_of<'a>(
    planner: &Planner<'a>,
    link: LinkId,
) -> impl Iterator<Item = Result<(LinkedName, Record)>> + use<'a> {
    let staging = planner.staging;
    staging.linked_names_of(link).filter_map(move |staged| {
        let with_record = staged.and_then(|staged| {
            let record = staged_record(staging, &staged)?;
            Ok(record.map(|record| (staged, record)))
        });
        with_record.transpose()
    })
}

/// Returns the record that a staged name has; none if a later change gave it another link or none.
fn staged_record(staging: Staging<'_>, named: &LinkedName) -> Result<Option<Record>> {
    let row = staging.get(named.dir, named.name.as_ref())?;
    let record = row.and_then(|row| row.state);
    Ok(record.filter(|record| has(record, named.link)))
}

pub(super) fn has(record: &Record, link: LinkId) -> bool {
    record.link.is_some_and(|found| found.id == link)
}

/// Checks that all names of a link have one record, and that it counts them.
fn check_names(planner: &Planner<'_>, link: LinkId) -> Result<()> {
    let mut agreed: Option<(Record, (DirId, Option<Name>))> = None;
    let mut names = 0_u64;
    let mut agree = |dir: DirId, name: Option<Name>, record: Record| {
        names += 1;
        match &agreed {
            None => agreed = Some((record, (dir, name))),
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
    for named in live_names(planner.base, link) {
        let (dir, name) = named?;
        known = true;
        if let Some(record) = unchanged(planner, dir, name.as_ref())? {
            agree(dir, name, record)?;
        }
    }
    let Some((record, (dir, name))) = agreed else {
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

/// Returns the names that a link has in the newest version.
pub(super) fn live_names(
    head: View<'_>,
    link: LinkId,
) -> impl Iterator<Item = Result<(DirId, Option<Name>)>> + use<'_> {
    let prefix = keys::links_of(head.project, link);
    let rows = head.store.scan_all(KeyRange::prefix(&prefix), SCAN_PAGE);
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
