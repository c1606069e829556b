//! Expiring versions of a project.
//!
//! 1. The records of the versions go, some at a time, each time in one batch that also counts them and marks the
//!    project. From then on no call finds these versions. What holds a version changes a row of the project, which
//!    is a precondition of that batch: a tag is never left without its version.
//! 2. Calls that began before are waited for ([`Readers`](crate::readers::Readers)).
//! 3. Rows go that no version needs that is there: closed objects and directory rows whose versions have all
//!    expired, and change rows up to the oldest version that is there.
//! 4. The mark goes.
//!
//! A crash leaves the mark, and rows that no call reads. The next call goes on with step 2.

use std::collections::BTreeSet;
use std::time::Duration;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::{DirId, ProjectId, VersionNumber};

use super::retention::{Known, Retention};
use crate::error::Result;
use crate::keys::{self, ObjectKey, table};
use crate::metadata::{Metadata, SCAN_PAGE, get_row};
use crate::pack_row::PackedDirsRow;
use crate::roots::RootsRow;
use crate::rows::{DirectoryRow, Marker, ObjectRow, Packed, RowValue as _};
use crate::version::decode_version;

/// Versions whose records go in one batch.
const VERSIONS_AT_ONCE: usize = 200;
/// How long readers of before may take. Then their rows stay until the next call.
const READERS_WAIT: Duration = Duration::from_secs(60);

/// What is to expire.
#[expect(missing_debug_implementations, reason = "it holds a function")]
pub struct ExpireParams<'a> {
    /// The project.
    pub project: ProjectId,
    /// Which versions stay.
    pub retention: Retention,
    /// Tells further versions that stay: those that commits are under way on. It is asked just before records go.
    pub in_use: &'a dyn Fn() -> BTreeSet<VersionNumber>,
    /// Only counts.
    pub dry_run: bool,
}

/// What expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Versions.
    pub versions: u64,
    /// Rows of objects and directories.
    pub rows: u64,
    /// Whether rows are left that the next call removes: readers took too long.
    pub is_unfinished: bool,
}

impl Metadata {
    /// Expires versions of a project. What it removes is never needed again; it may end at any moment, and the next
    /// call goes on.
    pub fn expire_versions(&self, params: &ExpireParams<'_>) -> Result<Expired> {
        let project = params.project;
        if params.dry_run {
            return self.count_expiring(params);
        }
        let mut expired = Expired {
            versions: self.remove_records(params)?,
            ..Expired::default()
        };
        if self.store().get(&keys::expiring(project))?.is_none() {
            return Ok(expired);
        }
        if !self.inner.readers.wait(READERS_WAIT, || self.stops()) {
            expired.is_unfinished = true;
            return Ok(expired);
        }
        let rest = self.rest_of(project, None)?;
        expired.rows = self.remove_rows(&rest)?;
        if self.stops() {
            expired.is_unfinished = true;
            return Ok(expired);
        }
        // The rows are gone for good before the mark is.
        self.store().flush()?;
        let mut batch = Batch::new();
        batch.delete(keys::expiring(project));
        self.store().write(batch)?;
        Ok(expired)
    }

    /// Returns true if rows of expired versions may be left in a project.
    pub(crate) fn is_expiring(&self, project: ProjectId) -> Result<bool> {
        Ok(self.store().get(&keys::expiring(project))?.is_some())
    }

    /// Returns the numbers of the versions that are there, in order; version 0 always is and is not told.
    pub(crate) fn version_numbers(&self, project: ProjectId) -> Result<Vec<VersionNumber>> {
        let versions = self.known_versions(project)?;
        Ok(versions.into_iter().map(|known| known.number).collect())
    }

    /// Returns how many versions of a project have expired.
    pub(crate) fn expired_versions(&self, project: ProjectId) -> Result<u64> {
        let row: Option<RootsRow> = get_row(self.store(), &keys::roots(project))?;
        Ok(row.unwrap_or_default().expired)
    }

    fn count_expiring(&self, params: &ExpireParams<'_>) -> Result<Expired> {
        let known = self.known_versions(params.project)?;
        let expired = self.expiring(params, &known)?;
        let gone: BTreeSet<_> = expired.iter().map(|version| version.number).collect();
        let rest = self.rest_of(params.project, Some(&gone))?;
        let mut rows = 0;
        self.for_each_unneeded(&rest, |keys| {
            rows += keys.len() as u64;
            Ok(())
        })?;
        Ok(Expired {
            versions: expired.len() as u64,
            rows,
            is_unfinished: false,
        })
    }

    /// Returns those of the known versions that expire now.
    fn expiring(&self, params: &ExpireParams<'_>, known: &[Known]) -> Result<Vec<Known>> {
        let project = params.project;
        let mut held = self.tagged_versions(project)?;
        held.extend(self.held_versions(project)?);
        held.extend((params.in_use)());
        Ok(params.retention.expired(known, &held, self.now()))
    }

    fn known_versions(&self, project: ProjectId) -> Result<Vec<Known>> {
        let rows = KeyRange::prefix(&keys::project_rows(table::VERSION, project));
        let versions = self.store().scan_all(rows, SCAN_PAGE).map(|row| {
            let (key, value) = row?;
            let record = decode_version(&key, &value)?;
            Ok(Known {
                number: record.number,
                id: record.id,
                time: record.time,
            })
        });
        versions.collect()
    }

    /// Removes the records of versions that expire, and marks the project. Returns how many.
    fn remove_records(&self, params: &ExpireParams<'_>) -> Result<u64> {
        let mut removed = 0;
        // Versions that are published meanwhile stay anyway.
        let mut known = self.known_versions(params.project)?;
        while !self.stops() {
            // Until the batch, nothing may come to keep one of them without changing this row.
            let mut batch = Batch::new();
            let roots_key = keys::roots(params.project);
            let roots = self.store().get(&roots_key)?;
            let mut expired = self.expiring(params, &known)?;
            let at_once = VERSIONS_AT_ONCE.min(self.store().batch_ops_max() / 4);
            expired.truncate(at_once.max(1));
            if expired.is_empty() {
                break;
            }
            let count = expired.len() as u64;
            batch.require_unchanged(roots_key, roots);
            RootsRow::change_by(self.store(), params.project, &mut batch, count)?;
            for version in &expired {
                batch
                    .require_present(keys::version(params.project, version.number))
                    .delete(keys::version(params.project, version.number))
                    .delete(keys::version_id(version.id));
            }
            batch.put(keys::expiring(params.project), Marker.encode());
            if self.store().apply(batch)?.is_done() {
                removed += count;
                known.retain(|version| !expired.contains(version));
            } else {
                // Another call tagged or held a version, or expired some.
                known = self.known_versions(params.project)?;
            }
        }
        Ok(removed)
    }

    /// Returns which versions are there, or would be without some.
    fn rest_of(
        &self,
        project: ProjectId,
        without: Option<&BTreeSet<VersionNumber>>,
    ) -> Result<Rest> {
        // First the head: rows of versions that are published meanwhile are not looked at.
        let head = self.head(project)?.number;
        let mut there = self.version_numbers(project)?;
        there.retain(|number| without.is_none_or(|without| !without.contains(number)));
        Ok(Rest {
            project,
            head,
            there,
        })
    }

    fn remove_rows(&self, rest: &Rest) -> Result<u64> {
        let mut removed = 0;
        self.for_each_unneeded(rest, |keys| {
            removed += keys.len() as u64;
            let mut batch = Batch::new();
            for key in keys {
                batch.delete(key);
            }
            Ok(self.store().write(batch)?)
        })?;
        Ok(removed)
    }

    /// Calls `each` with the keys of rows that no version needs, as many as one batch takes; those that belong
    /// together come in one call.
    fn for_each_unneeded(
        &self,
        rest: &Rest,
        mut each: impl FnMut(Vec<Vec<u8>>) -> Result<()>,
    ) -> Result<()> {
        let mut unneeded = Unneeded {
            max: self.store().batch_ops_max(),
            keys: Vec::new(),
            each: &mut each,
        };
        self.closed_objects(rest, &mut unneeded)?;
        self.directories(rest, &mut unneeded)?;
        self.packed_dirs(rest, &mut unneeded)?;
        self.changes(rest, &mut unneeded)?;
        unneeded.end()
    }

    fn closed_objects(&self, rest: &Rest, unneeded: &mut Unneeded<'_>) -> Result<()> {
        let rows = KeyRange::prefix(&keys::project_rows(table::CLOSED, rest.project));
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                break;
            }
            let place = ObjectKey::closed(&key)?;
            let stop = place.version.unwrap_or(VersionNumber::ZERO);
            if rest.needs(ObjectRow::decode(&key, &value)?.start, stop) {
                continue;
            }
            let name = keys::closed_name(rest.project, place.dir, place.name_bytes(), stop);
            unneeded.add([key, name])?;
        }
        Ok(())
    }

    /// The rows of each directory come from the newest one on, and each counts up to the one before it.
    fn directories(&self, rest: &Rest, unneeded: &mut Unneeded<'_>) -> Result<()> {
        let rows = KeyRange::prefix(&keys::project_rows(table::DIRECTORY, rest.project));
        let mut newer: Option<(DirId, VersionNumber)> = None;
        // The removal of a directory, as long as no row of it is found that is needed.
        let mut removal: Option<Vec<u8>> = None;
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                return Ok(());
            }
            let (_, dir, version) = keys::decode_directory(&key)?;
            let stop = newer
                .filter(|(of, _)| *of == dir)
                .map(|(_, version)| version);
            newer = Some((dir, version));
            let row = DirectoryRow::decode(&key, &value)?;
            let is_removal = row.is_removal();
            match stop {
                Some(stop) if !rest.needs(version, stop) => match row.packed {
                    Packed::Root => {
                        let pack = keys::pack(rest.project, dir, version);
                        unneeded.add([pack, key])?;
                    }
                    Packed::No | Packed::Within(_) => unneeded.add([key])?,
                },
                Some(_) => removal = None,
                None => {
                    // That of the directory before has no older row left.
                    if let Some(key) = removal.take() {
                        unneeded.add([key])?;
                    }
                    removal = (is_removal && version <= rest.head).then_some(key);
                }
            }
        }
        removal.map_or(Ok(()), |key| unneeded.add([key]))
    }

    /// The rows that lead directories to a pack that no version has.
    fn packed_dirs(&self, rest: &Rest, unneeded: &mut Unneeded<'_>) -> Result<()> {
        let rows = KeyRange::prefix(&keys::project_rows(table::PACKED_DIRS, rest.project));
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                break;
            }
            let row = PackedDirsRow::decode(&key, &value)?;
            if row.version <= rest.head && !self.has_pack(rest, row.root)? {
                unneeded.add([key])?;
            }
        }
        Ok(())
    }

    /// Returns whether a version needs a row of a pack.
    fn has_pack(&self, rest: &Rest, root: DirId) -> Result<bool> {
        let rows = keys::directory_rows(table::DIRECTORY, rest.project, root);
        let mut stop = VersionNumber(u64::MAX);
        for row in self.store().scan_all(KeyRange::prefix(&rows), SCAN_PAGE) {
            let (key, value) = row?;
            let (_, _, version) = keys::decode_directory(&key)?;
            let row = DirectoryRow::decode(&key, &value)?;
            if row.packed == Packed::Root && rest.needs(version, stop) {
                return Ok(true);
            }
            stop = version;
        }
        Ok(false)
    }

    fn changes(&self, rest: &Rest, unneeded: &mut Unneeded<'_>) -> Result<()> {
        let Some(oldest) = rest.there.first().filter(|it| **it > VersionNumber(1)) else {
            return Ok(());
        };
        let rows = KeyRange::new(
            keys::project_rows(table::CHANGE, rest.project),
            keys::changes_of(rest.project, oldest.next()),
        );
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            if self.stops() {
                break;
            }
            unneeded.add([row?.0])?;
        }
        Ok(())
    }
}

/// The versions of a project that are there.
struct Rest {
    project: ProjectId,
    head: VersionNumber,
    /// In order.
    there: Vec<VersionNumber>,
}

impl Rest {
    /// Returns whether a version needs a row that counts from `start` to the one before `stop`.
    fn needs(&self, start: VersionNumber, stop: VersionNumber) -> bool {
        let first = self.there.partition_point(|number| *number < start);
        let needed = self.there.get(first).is_some_and(|number| *number < stop);
        needed || stop > self.head
    }
}

/// Keys that are gathered for one batch.
struct Unneeded<'a> {
    max: usize,
    keys: Vec<Vec<u8>>,
    each: &'a mut dyn FnMut(Vec<Vec<u8>>) -> Result<()>,
}

impl Unneeded<'_> {
    fn add<const N: usize>(&mut self, keys: [Vec<u8>; N]) -> Result<()> {
        if self.keys.len() + N > self.max {
            (self.each)(std::mem::take(&mut self.keys))?;
        }
        self.keys.extend(keys);
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        (self.each)(self.keys)
    }
}
