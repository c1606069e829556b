//! The listing of a directory at a version, page by page in the order of the names.
//!
//! It merges the live rows with the closed rows that stop behind the version, which costs what
//! changed since that version. Where that is much, the closed names are skipped through instead, name by
//! name: however often a name changed, it is looked at once.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use lfsfs_meta_store::{KeyRange, MetaStoreExt as _, Read, Row, Rows};
use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, ProjectId, Record, VersionId, VersionNumber};

use crate::error::Result;
use crate::keys::{self, ObjectKey, table};
use crate::metadata::Metadata;
use crate::pack::PackDir;
use crate::rows::{DirectoryRow, ObjectRow, RowValue};
use crate::view::{View, decode_directory_row};

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries in the order of their names.
    pub entries: Vec<(Name, Record)>,
    /// Whether there are entries behind these.
    pub more: bool,
    /// The random id of the last version that changed this listing: equal id, equal listing.
    pub listing_version: VersionId,
}

impl Metadata {
    /// Returns up to `limit` entries of a directory, from behind `after`.
    ///
    /// A limit of 0, and one above [`PAGE_ENTRIES_MAX`], means that.
    pub fn list(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<Listing> {
        let _reading = self.reading();
        let view = self.view(project, version)?;
        let listing_version = view.live_directory(dir)?.listing_id;
        let limit = match limit {
            1..=PAGE_ENTRIES_MAX => limit,
            _ => PAGE_ENTRIES_MAX,
        };
        let (entries, more) = view.entries(dir, after, limit)?;
        Ok(Listing {
            entries,
            more,
            listing_version,
        })
    }
}

/// A directory with all of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeListing {
    /// The directory.
    pub dir: DirId,
    /// The entries in the order of their names.
    pub entries: Vec<(Name, Record)>,
    /// As that of [`Listing`].
    pub listing_version: VersionId,
}

impl Metadata {
    /// Tells `sink` the listings of the directories that lie below one in the pack that has it, the upper ones first,
    /// until it breaks. What is in no pack has none, nor has a directory of more entries than a page.
    pub fn list_pack(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
        sink: &mut dyn FnMut(WholeListing) -> ControlFlow<()>,
    ) -> Result<()> {
        let _reading = self.reading();
        let view = self.view(project, version)?;
        let Some(pack) = view.pack_of(dir)? else {
            return Ok(());
        };
        let mut above = vec![dir];
        while let Some(dir) = above.pop() {
            let entries = pack
                .dir(dir)
                .into_iter()
                .flat_map(|dir| dir.entries.values());
            for below in entries.filter_map(Record::dir) {
                let (entries, more) = view.entries(below, None, PAGE_ENTRIES_MAX)?;
                let listed = pack.dir(below).map(|dir| dir.listed.id);
                above.push(below);
                let Some(listing_version) = listed.filter(|_| !more) else {
                    continue;
                };
                let listing = WholeListing {
                    dir: below,
                    entries,
                    listing_version,
                };
                if sink(listing).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Closed rows that are merged with the live ones; of more the names are skipped through.
const MERGED_MAX: usize = 256;
/// Closed names that are read at once, at most, while they are skipped through.
const SKIPPED_MAX: usize = 64;

/// Names with closed rows.
struct ClosedNames {
    names: Vec<Name>,
    /// The last name that was covered; `None` if all are.
    horizon: Option<Name>,
}

/// The part of a directory's names that one read covered.
struct Span {
    entries: BTreeMap<Name, Record>,
    /// The last name that was covered; `None` if all are.
    horizon: Option<Name>,
}

impl View<'_> {
    /// Returns up to `limit` entries from behind `after`, and whether there are more.
    pub(crate) fn entries(
        &self,
        dir: DirId,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<(Name, Record)>, bool)> {
        let mut rows = Vec::new();
        let mut behind = after.cloned();
        let (more, directory) = loop {
            let (span, directory) = self.span(dir, behind.as_ref(), limit + 1)?;
            rows.extend(span.entries);
            behind = span.horizon;
            if rows.len() > limit || behind.is_none() {
                break (rows.len() > limit, directory);
            }
        };
        rows.truncate(limit);
        match self.pack_by_row(dir, directory)? {
            None => Ok((rows, more)),
            Some(pack) => Ok(with_packed(rows, more, pack.dir(dir), after, limit)),
        }
    }

    /// Calls `each` for all entries of a directory.
    pub(crate) fn for_each_entry(
        &self,
        dir: DirId,
        mut each: impl FnMut(Name, Record) -> Result<()>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let (entries, more) = self.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
            after = entries.last().map(|(name, _)| name.clone());
            for (name, record) in entries {
                each(name, record)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Returns the reads that tell the first entries of a directory, `limit` of them as a rule.
    pub(crate) fn reads_of_entries(&self, dir: DirId, limit: usize) -> [Read; 3] {
        self.reads_of_span(dir, None, limit + 1)
    }

    fn reads_of_span(&self, dir: DirId, after: Option<&Name>, rows: usize) -> [Read; 3] {
        let closed = KeyRange::at_or_after(
            &keys::closed_from(self.project, dir, self.version.next()),
            &keys::directory_rows(table::CLOSED, self.project, dir),
        );
        let live = self.names_behind(table::LIVE, dir, after);
        [
            Read::scan(live, rows),
            Read::scan(closed, MERGED_MAX),
            self.read_of_directory(dir),
        ]
    }

    /// Reads the names behind `after` that about `rows` live rows cover, and the row of the directory.
    fn span(
        &self,
        dir: DirId,
        after: Option<&Name>,
        rows: usize,
    ) -> Result<(Span, Option<(VersionNumber, DirectoryRow)>)> {
        let reads = self.reads_of_span(dir, after, rows);
        let mut found = self.store.read(&reads)?.into_iter();
        let live = found.next().unwrap_or_default();
        let closed = found.next().unwrap_or_default();
        let directory = decode_directory_row(found.next().unwrap_or_default())?;
        let span = if closed.more {
            self.skipping_span(dir, after, rows)?
        } else {
            self.merge(after, &live, &closed)?
        };
        Ok((span, directory))
    }

    fn merge(&self, after: Option<&Name>, live: &Rows, closed: &Rows) -> Result<Span> {
        let horizon = last_name(live, ObjectKey::live)?;
        let mut entries = BTreeMap::new();
        for (key, value) in &closed.rows {
            let name = ObjectKey::closed(key)?.name;
            let in_span = name.as_ref() > after
                && horizon
                    .as_ref()
                    .is_none_or(|last| name.as_ref() <= Some(last));
            if let (true, Some(name)) = (in_span, name) {
                self.add(&mut entries, name, key, value)?;
            }
        }
        for (key, value) in &live.rows {
            if let Some(name) = ObjectKey::live(key)?.name {
                self.add(&mut entries, name, key, value)?;
            }
        }
        Ok(Span { entries, horizon })
    }

    /// Adds an entry if its row had started by this version.
    fn add(
        &self,
        entries: &mut BTreeMap<Name, Record>,
        name: Name,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let row = ObjectRow::decode(key, value)?;
        if row.start <= self.version {
            entries.insert(name, row.record);
        }
        Ok(())
    }

    /// Like [`Self::span`], at the cost of the names that the directory ever had.
    ///
    /// A commit may close a name after the closed names were read, and an undo may make one live again
    /// before. So the live rows are read before and after.
    fn skipping_span(&self, dir: DirId, after: Option<&Name>, rows: usize) -> Result<Span> {
        let live_read = || Read::scan(self.names_behind(table::LIVE, dir, after), rows);
        let before = self.store.read_one(live_read())?;
        let closed = self.closed_names_behind(dir, after, rows)?;
        let behind = self.store.read_one(live_read())?;
        let ends = [
            last_name(&before, ObjectKey::live)?,
            closed.horizon,
            last_name(&behind, ObjectKey::live)?,
        ];
        let horizon = ends.into_iter().flatten().min();
        let mut names = names_of(&before.rows, ObjectKey::live)?;
        names.extend(closed.names);
        names.extend(names_of(&behind.rows, ObjectKey::live)?);
        names.sort_unstable();
        names.dedup();
        names.retain(|name| horizon.as_ref().is_none_or(|last| name <= last));
        let mut entries = BTreeMap::new();
        for name in names {
            if let Some(row) = self.find(dir, name.as_bytes())? {
                entries.insert(name, row.record);
            }
        }
        Ok(Span { entries, horizon })
    }

    /// Returns at least `rows` names that have closed rows, if there are so many, each for one row or two.
    fn closed_names_behind(
        &self,
        dir: DirId,
        after: Option<&Name>,
        rows: usize,
    ) -> Result<ClosedNames> {
        let mut names: Vec<Name> = Vec::new();
        let mut limit = 1;
        loop {
            let last = names.last().or(after);
            let range = self.names_behind(table::CLOSED_NAME, dir, last);
            let found = self.store.scan(range, limit)?;
            let mut some = names_of(&found.rows, ObjectKey::closed_name)?;
            some.dedup();
            // Names that stopped once come many at once, those that stopped often one by one.
            let each_once = some.len() == found.rows.len();
            limit = if each_once {
                (2 * limit).min(SKIPPED_MAX)
            } else {
                1
            };
            names.extend(some);
            if !found.more || names.len() >= rows {
                let horizon = names.last().filter(|_| found.more).cloned();
                return Ok(ClosedNames { names, horizon });
            }
        }
    }

    /// The rows of a directory in a table ordered by name, from behind all rows of `after`.
    fn names_behind(&self, rows: u8, dir: DirId, after: Option<&Name>) -> KeyRange {
        let prefix = keys::directory_rows(rows, self.project, dir);
        let Some(after) = after else {
            return KeyRange::prefix(&prefix);
        };
        let of_name = match rows {
            table::LIVE => keys::live(self.project, dir, after.as_bytes()),
            _ => keys::closed_names_of(self.project, dir, after.as_bytes()),
        };
        let start = KeyRange::prefix(&of_name).end.unwrap_or(of_name);
        KeyRange::at_or_after(&start, &prefix)
    }
}

/// Returns up to `limit` entries from behind `after`, and whether there are more: those that are rows, of which there
/// may be `more`, and those that are in a pack.
fn with_packed(
    rows: Vec<(Name, Record)>,
    more: bool,
    packed: Option<&PackDir>,
    after: Option<&Name>,
    limit: usize,
) -> (Vec<(Name, Record)>, bool) {
    let behind = (
        after.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    );
    let packed = packed.into_iter();
    let packed = packed.flat_map(|dir| dir.entries.range::<Name, _>(behind));
    // What is behind the last row that was read may come behind another row.
    let last = rows.last().filter(|_| more).map(|(name, _)| name.clone());
    let mut packed = packed.take_while(|(name, _)| last.as_ref().is_none_or(|last| *name <= last));
    let some: Vec<_> = packed.by_ref().take(limit + 1).collect();
    let mut entries = rows;
    entries.extend(
        some.into_iter()
            .map(|(name, record)| (name.clone(), record.clone())),
    );
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let more = more || entries.len() > limit;
    entries.truncate(limit);
    (entries, more)
}

/// Returns the name of the last row if the scan did not reach the end.
fn last_name(
    rows: &Rows,
    decode: fn(&[u8]) -> Result<ObjectKey, lfsfs_meta_store::MetaError>,
) -> Result<Option<Name>> {
    match rows.rows.last() {
        Some((key, _)) if rows.more => Ok(decode(key)?.name),
        _ => Ok(None),
    }
}

fn names_of(
    rows: &[Row],
    decode: fn(&[u8]) -> Result<ObjectKey, lfsfs_meta_store::MetaError>,
) -> Result<Vec<Name>> {
    let names = rows.iter().map(|(key, _)| Ok(decode(key)?.name));
    Ok(names
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}
