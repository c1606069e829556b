//! Publishing: how staged changes become a version that survives any crash.
//!
//! The order is the promise; docs/durability.md names the test of each step.
//! 1. Take the lease; undo what change rows above the head name.
//! 2. Plan: everything that can be refused is refused here, before a row is written.
//! 3. Move the id counters; write the change rows of the new version; flush.
//! 4. Write object, directory and link rows, all of one name in one batch; flush.
//! 5. Move the head, in one batch with the version record, if the head is still the old one; flush.

use std::collections::HashSet;
use std::sync::PoisonError;

use lfsfs_meta_store::{Applied, Batch, Write};
use lfsfs_types::{DirId, LinkId, Record, VersionCounts, VersionId, VersionNumber, VersionRecord};

use super::lease::{Lease, LeasedWrites};
use super::plan::{Plan, Planner};
use super::{Change, CommitSession, Published, undo};
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::get_row;
use crate::rows::{
    CountersRow, DirectoryRow, HeadRow, Marker, ObjectRow, RowValue, VersionPointer,
};
use crate::view::View;

impl CommitSession {
    /// Publishes what was staged as the next version.
    ///
    /// After an error nothing was published, unless the store itself failed: then opening a commit
    /// with the same version id tells whether it was.
    pub fn publish(self) -> Result<Published> {
        let lock = self.metadata.publishing_lock(self.params.project);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lease = Lease::take(&self.metadata, self.params.project)?;
        let result = self.publish_under(&mut lease);
        if !matches!(result, Ok(Published::Version(_))) {
            self.give_up(lease, result.is_err());
        }
        if let Err(error) = self.staging().remove() {
            tracing::warn!(%error, "staged changes stay until the next sweep");
        }
        result
    }

    /// Gives the lease back where that helps others; a store that failed stays as it is.
    fn give_up(&self, lease: Lease<'_>, failed: bool) {
        if let (Err(error), false) = (lease.give_back(), failed) {
            tracing::warn!(%error, "the lease stays until it expires");
        }
    }

    fn publish_under(&self, lease: &mut Lease<'_>) -> Result<Published> {
        let head = self.metadata.head(self.params.project)?;
        undo::undo(lease, head)?;
        if let Some(record) = self.metadata.already_done(&self.params)? {
            return Ok(Published::Version(record));
        }
        self.check_base(head)?;
        self.staging().renew(self.row_now().encode())?;
        let base = self
            .metadata
            .view_unchecked(self.params.project, head.number);
        let counters_key = keys::counters(self.params.project);
        let counters: CountersRow = get_row(self.metadata.store(), &counters_key)?.ok_or(
            MetadataError::UnknownProjectId {
                id: self.params.project,
            },
        )?;
        let planner = Planner::new(&self.metadata, base, self.staging(), counters);
        let (plan, next) = planner.plan()?;
        if self.staging().is_empty()? {
            // Nothing is staged either because nothing changes or because a sweep came by.
            self.staging().renew(self.row_now().encode())?;
            let record = self.metadata.version(self.params.project, head.number)?;
            return Ok(Published::Unchanged(record));
        }
        if next != counters {
            let mut batch = Batch::new();
            batch.put(counters_key, next.encode());
            lease.write(batch)?;
        }
        let mut version = Publication {
            session: self,
            base,
            plan,
            number: head.number.next(),
            counts: self.counts_of_base(head)?,
            listed: HashSet::new(),
        };
        version.write_changes(lease)?;
        version.write_rows(lease)?;
        self.move_head(lease, head, version.counts)
            .map(Published::Version)
    }

    /// Checks that the base is the newest version.
    fn check_base(&self, head: HeadRow) -> Result<()> {
        let (base, id) = self.params.base;
        if base != head.number {
            return Err(MetadataError::Stale {
                base,
                head: head.number,
            });
        }
        if id != head.id {
            return Err(MetadataError::ForeignBase { number: base });
        }
        Ok(())
    }

    fn counts_of_base(&self, head: HeadRow) -> Result<VersionCounts> {
        let base = self.metadata.version(self.params.project, head.number)?;
        Ok(VersionCounts {
            objects: base.counts.objects,
            bytes: base.counts.bytes,
            ..VersionCounts::default()
        })
    }

    /// Makes the version the newest one.
    fn move_head(
        &self,
        lease: &mut Lease<'_>,
        old: HeadRow,
        counts: VersionCounts,
    ) -> Result<VersionRecord> {
        let project = self.params.project;
        let number = old.number.next();
        let record = VersionRecord {
            number,
            id: self.params.version,
            parent: old.number,
            base: self.params.base.0,
            origin: self.params.origin,
            time: self.metadata.now(),
            author: self.params.author.clone(),
            message: self.params.message.clone(),
            counts,
        };
        let head = HeadRow {
            number,
            id: record.id,
        };
        let mut batch = Batch::new();
        // Without its row the session was swept, and some of its changes may have been missed.
        batch
            .require_present(keys::session(table::SESSION, self.id))
            .require_equals(keys::head(project), old.encode())
            .require_absent(keys::version_id(record.id))
            .put(keys::version(project, number), record.encode())
            .put(
                keys::version_id(record.id),
                VersionPointer { project, number }.encode(),
            )
            .put(keys::head(project), head.encode());
        lease.give_back_in(&mut batch);
        match lease.apply(batch)? {
            Applied::Done => {}
            Applied::Conflict { index: 0 } => return Err(MetadataError::SessionExpired),
            Applied::Conflict { index: 1 } => return Err(MetadataError::LeaseLost { project }),
            Applied::Conflict { .. } => {
                return Err(MetadataError::InvalidVersionId { id: record.id });
            }
        }
        self.metadata.store().flush()?;
        Ok(record)
    }
}

/// A version whose rows are being written.
struct Publication<'a> {
    session: &'a CommitSession,
    base: View<'a>,
    plan: Plan,
    number: VersionNumber,
    counts: VersionCounts,
    /// Directories whose row of this version is written.
    listed: HashSet<DirId>,
}

impl Publication<'_> {
    fn is_first(&self) -> bool {
        self.base.version == VersionNumber::ZERO
    }

    fn id(&self) -> VersionId {
        self.session.params.version
    }

    /// Writes what the version changes, before anything of it is there.
    fn write_changes(&self, lease: &mut Lease<'_>) -> Result<()> {
        let project = self.base.project;
        let mut writes = LeasedWrites::new(lease);
        if self.is_first() {
            let everything = keys::changes_of(project, self.number);
            writes.add(vec![Write::Put(everything, Marker.encode())])?;
            return writes.finish();
        }
        for change in self.session.staging().all() {
            let change = change?;
            let name = keys::name_bytes(change.name.as_ref());
            let key = keys::change(project, self.number, self.plan.dir(change.dir), name);
            writes.add(vec![Write::Put(key, Marker.encode())])?;
        }
        writes.finish()
    }

    fn write_rows(&mut self, lease: &mut Lease<'_>) -> Result<()> {
        let session = self.session;
        let mut writes = LeasedWrites::new(lease);
        for change in session.staging().all() {
            writes.add(self.rows_of(change?)?)?;
        }
        writes.finish()
    }

    /// Returns all writes that one change makes.
    fn rows_of(&mut self, change: Change) -> Result<Vec<Write>> {
        let dir = self.plan.dir(change.dir);
        let new = change.state.map(|record| self.plan.record(record));
        let mut rows = NameRows {
            base: self.base,
            number: self.number,
            dir,
            name: keys::name_bytes(change.name.as_ref()),
            writes: Vec::new(),
        };
        let old = self.old_row(dir, rows.name)?;
        if let Some(old) = &old {
            rows.close(old);
        }
        if let Some(record) = &new {
            rows.open(record);
        } else {
            rows.remove_live();
        }
        let mut writes = rows.writes;
        let old = match old {
            None if dir == DirId::ABOVE_ROOT => Some(self.base.root()?),
            old => old.map(|row| row.record),
        };
        self.count(old.as_ref(), new.as_ref());
        let place = (dir, change.name);
        writes.extend(self.directory_of(place, old.as_ref(), new.as_ref())?);
        writes.extend(self.listing_of(dir)?);
        Ok(writes)
    }

    /// Returns the live row of a name: it is the base's, because the base is the newest version.
    fn old_row(&self, dir: DirId, name: &[u8]) -> Result<Option<ObjectRow>> {
        if self.is_first() || self.plan.is_fresh(dir) {
            return Ok(None);
        }
        get_row(self.base.store, &keys::live(self.base.project, dir, name))
    }

    /// Returns the row of the directory that a change places or removes.
    fn directory_of(
        &mut self,
        (dir, name): (DirId, Option<lfsfs_types::Name>),
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<Vec<Write>> {
        let (old, new) = (old.and_then(Record::dir), new.and_then(Record::dir));
        let mut writes = Vec::new();
        if let Some(removed) = old.filter(|old| self.plan.removed.contains(old)) {
            writes.push(self.put_directory(removed, self.listed_now(None)));
        }
        let Some(placed) = new.filter(|new| Some(*new) != old) else {
            return Ok(writes);
        };
        let place = Some((dir, name));
        let row = if self.plan.is_fresh(placed) || self.plan.touched.contains(&placed) {
            self.listed_now(place)
        } else {
            let before = self.base.live_directory(placed)?;
            DirectoryRow { place, ..before }
        };
        writes.push(self.put_directory(placed, row));
        Ok(writes)
    }

    /// Returns the row of a directory of which an entry changes, once, unless the change of its
    /// place writes it.
    fn listing_of(&mut self, dir: DirId) -> Result<Option<Write>> {
        let elsewhere = dir == DirId::ABOVE_ROOT
            || self.plan.is_fresh(dir)
            || self.plan.moved.contains(&dir)
            || self.plan.removed.contains(&dir);
        if elsewhere || self.listed.contains(&dir) {
            return Ok(None);
        }
        let before = self.base.live_directory(dir)?;
        Ok(Some(self.put_directory(dir, self.listed_now(before.place))))
    }

    fn listed_now(&self, place: Option<(DirId, Option<lfsfs_types::Name>)>) -> DirectoryRow {
        DirectoryRow {
            place,
            listing: self.number,
            listing_id: self.id(),
        }
    }

    fn put_directory(&mut self, dir: DirId, row: DirectoryRow) -> Write {
        self.listed.insert(dir);
        let key = keys::directory(self.base.project, dir, self.number);
        Write::Put(key, row.encode())
    }

    /// Counts a change. A moved directory is one that changed, at its new place.
    fn count(&mut self, old: Option<&Record>, new: Option<&Record>) {
        let moved = |record: &&Record| {
            record
                .dir()
                .is_some_and(|dir| self.plan.moved.contains(&dir))
        };
        let stays = old.and_then(Record::dir) == new.and_then(Record::dir);
        let (left, came) = match stays {
            true => (false, false),
            false => (old.filter(moved).is_some(), new.filter(moved).is_some()),
        };
        let counts = &mut self.counts;
        counts.bytes += new.map_or(0, file_size);
        counts.bytes = counts.bytes.saturating_sub(old.map_or(0, file_size));
        counts.objects += u64::from(new.is_some());
        counts.objects = counts.objects.saturating_sub(u64::from(old.is_some()));
        match (old.filter(|_| !left), new.filter(|_| !came)) {
            (None, None) => {}
            (None, Some(_)) => counts.added += 1,
            (Some(_), None) => counts.removed += 1,
            (Some(_), Some(_)) => counts.modified += 1,
        }
        counts.modified += u64::from(came);
    }
}

fn file_size(record: &Record) -> u64 {
    match record.kind {
        lfsfs_types::Kind::File { size, .. } => size,
        _ => 0,
    }
}

/// The object and link rows of one name.
struct NameRows<'a> {
    base: View<'a>,
    number: VersionNumber,
    dir: DirId,
    name: &'a [u8],
    writes: Vec<Write>,
}

impl NameRows<'_> {
    fn live(&self) -> Vec<u8> {
        keys::live(self.base.project, self.dir, self.name)
    }

    fn link(&self, link: LinkId) -> Vec<u8> {
        keys::link(self.base.project, link, self.dir, self.name)
    }

    /// Keeps the old state for the versions before this one.
    fn close(&mut self, old: &ObjectRow) {
        let project = self.base.project;
        let closed = keys::closed(project, self.dir, self.number, self.name);
        let closed_name = keys::closed_name(project, self.dir, self.name, self.number);
        self.writes.push(Write::Put(closed, old.encode()));
        self.writes.push(Write::Put(closed_name, Marker.encode()));
        if let Some(link) = old.record.link {
            self.writes.push(Write::Delete(self.link(link.id)));
        }
    }

    fn open(&mut self, record: &Record) {
        let row = ObjectRow {
            start: self.number,
            record: record.clone(),
        };
        self.writes.push(Write::Put(self.live(), row.encode()));
        if let Some(link) = record.link {
            self.writes
                .push(Write::Put(self.link(link.id), Marker.encode()));
        }
    }

    fn remove_live(&mut self) {
        self.writes.push(Write::Delete(self.live()));
    }
}
