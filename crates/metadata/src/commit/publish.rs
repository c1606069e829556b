//! Publishing: how staged changes become a version that survives any crash.
//!
//! The order is the promise; docs/durability.md names the test of each step.
//! 1. Take the lease; undo what change rows above the head name.
//! 2. Plan, and rebase what was made on an older version: everything that can be refused is refused
//!    here, before a row is written.
//! 3. Move the id counters; write the change rows of the new version; flush.
//! 4. Write object, directory and link rows, all of one name in one batch; flush.
//! 5. Move the head, in one batch with the version record, if the head is still the old one; flush.
//!
//! Up to [`FEW`] changes are steps 3 to 5 in one batch, with one flush.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::PoisonError;

use lfsfs_meta_store::{Applied, Batch, Write};
use lfsfs_types::{DirId, LinkId, Record, VersionCounts, VersionId, VersionNumber, VersionRecord};

use super::lease::{Lease, LeasedWrites};
use super::packing::{PackPlanner, Packing};
use super::plan::{Difference, Ground, Plan, Planner};
use super::staging::Staging;
use super::{Change, CommitSession, Mode, Published, force, links, rebase, told, undo};
use crate::ahead::ReadAhead;
use crate::error::{MetadataError, Refusal, Result};
use crate::keys;
use crate::metadata::get_row;
use crate::pack::Pack;
use crate::rows::{
    CountersRow, DirectoryRow, HeadRow, Marker, ObjectRow, Packed, RowValue, VersionPointer,
};
use crate::view::View;

/// So many changes are published in one batch.
const FEW: usize = 100;
/// Most rows that one change can write.
const ROWS_OF_CHANGE_MAX: usize = 9;
/// Most rows that a version writes beside those of its changes.
const ROWS_OF_VERSION_MAX: usize = 8;

impl CommitSession {
    /// Publishes what was staged as the next version.
    ///
    /// Changes of an older version are published on the newest one if no other commit changed what
    /// they change; else nothing is published, and the error names what both changed.
    ///
    /// After an error nothing was published, unless the store itself failed: then opening a commit
    /// with the same version id tells whether it was.
    pub fn publish(self) -> Result<Published> {
        let published = self.publish_alone()?;
        // Commits that follow need not wait for the disk: what is durable of them has this one below it. One
        // that changes nothing is answered with a version that may not be durable yet, either.
        self.metadata.store().flush()?;
        if published.is_new {
            self.metadata.tell_published(self.params.project);
        }
        Ok(published)
    }

    /// Publishes while no other commit of this process publishes to the project.
    fn publish_alone(&self) -> Result<Published> {
        let lock = self.metadata.publishing_lock(self.params.project);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = Lease::take(&self.metadata, self.params.project)?;
        // Changes that are forced are staged once more, as what they are on the newest version.
        let forced = self.metadata.new_staging_store()?;
        let forced = Staging::new(&forced);
        let ahead = ReadAhead::new(self.metadata.inner.store.clone());
        let ground = Ground {
            lease: &lease,
            ahead: &ahead,
        };
        let result = self.publish_under(ground, forced);
        let result = result.map_err(|error| self.with_path(error));
        if !result.as_ref().is_ok_and(|done| done.is_new) {
            self.give_up(&lease, result.is_err());
        }
        result
    }

    /// Gives the lease back where that helps others; a store that failed stays as it is.
    fn give_up(&self, lease: &Lease<'_>, failed: bool) {
        if let (Err(error), false) = (lease.give_back(), failed) {
            tracing::warn!(%error, "the lease stays until it expires");
        }
    }

    fn publish_under(&self, ground: Ground<'_>, forced: Staging<'_>) -> Result<Published> {
        let lease = ground.lease;
        let project = self.params.project;
        let head = self.metadata.head(project)?;
        undo::undo(lease, head)?;
        if let Some(record) = self.metadata.already_done(&self.params)? {
            return Ok(Published::found(record));
        }
        let newest = self.metadata.version(project, head.number)?;
        // It may have expired since the session was opened, and does not while the changes are compared with it.
        let _reading = self.metadata.reading();
        self.metadata.view(project, self.params.base.number)?;
        self.check_base(&newest)?;
        let counters_key = keys::counters(project);
        let counters: CountersRow = get_row(self.metadata.store(), &counters_key)?
            .ok_or(MetadataError::UnknownProjectId { id: project })?;
        let planned = self.plan(ground, &newest, counters, forced)?;
        let Some(plan) = planned.plan else {
            return Ok(Published {
                is_rebased: self.params.base.number != newest.number,
                dirs: planned.dirs,
                links: planned.links,
                ..Published::found(newest)
            });
        };
        let mut batch = Batch::new();
        if planned.counters != counters {
            batch.put(counters_key, planned.counters.encode());
        }
        // Listings of large packs take their time.
        lease.renew_if_due()?;
        let packing = self.packing(&plan, ground.view(head.number), planned.staging)?;
        let mut version = Publication {
            ground,
            packing,
            is_repack: self.mode == Mode::Repack,
            staging: planned.staging,
            id: self.params.version,
            base: ground.view(head.number),
            number: head.number.next(),
            counts: VersionCounts {
                path_len: Some(plan.longest_path),
                objects: newest.counts.objects,
                bytes: newest.counts.bytes,
                ..VersionCounts::default()
            },
            plan,
            pack_before: Cell::default(),
            listed: HashSet::new(),
        };
        let last = match version.few_rows()? {
            Some(rows) => {
                batch.writes.extend(rows);
                batch
            }
            None => {
                if !batch.is_empty() {
                    lease.write(batch)?;
                }
                version.write_changes()?;
                version.write_rows()?;
                Batch::new()
            }
        };
        let record = self.move_head(lease, head, version.counts, last)?;
        Ok(Published {
            is_new: true,
            is_rebased: record.parent != record.base,
            record,
            dirs: planned.dirs,
            links: planned.links,
        })
    }

    /// Decides which packs the version changes; `base` is the newest version.
    fn packing(&self, plan: &Plan, base: View<'_>, staging: Staging<'_>) -> Result<Packing> {
        if self.mode == Mode::Repack {
            return Packing::of_repacked(&self.repacked, base, staging.all());
        }
        let patterns = self.metadata.pack_patterns(self.params.project)?;
        PackPlanner::new(plan, base, &patterns).plan(staging.all())
    }

    /// Plans the changes on their base, and makes them changes of the newest version.
    fn plan<'a>(
        &'a self,
        ground: Ground<'a>,
        newest: &VersionRecord,
        counters: CountersRow,
        forced: Staging<'a>,
    ) -> Result<Planned<'a>> {
        let longest = newest.counts.path_len;
        let base = ground.view(self.params.base.number);
        let head = ground.view(newest.number);
        let mut planner = Planner::new(ground, base, self.staging(), counters);
        planner.keeps_equal = self.mode == Mode::Repack;
        planner.ignores_times = self.params.ignore_times;
        if let Mode::Rollback(version) = self.mode {
            planner.give_back_from(ground.view(version));
        }
        plan_with_links(&mut planner, head)?;
        if base.version == head.version {
            return Planned::new(planner, longest);
        }
        let comparison = rebase::compare(&planner, head)?;
        if comparison.conflicts.count() == 0 {
            rebase::apply(&mut planner, comparison)?;
            return Planned::new(planner, longest);
        }
        if self.mode != Mode::Force {
            return Err(MetadataError::Conflicts {
                base: base.version,
                head: head.version,
                count: comparison.conflicts.count(),
                paths: comparison.conflicts.into_paths(),
            });
        }
        let made = force::stage(&planner, &comparison, forced)?;
        let mut again = Planner::new(ground, head, forced, counters);
        again.is_merged = true;
        again.ignores_times = self.params.ignore_times;
        let planned = plan_with_links(&mut again, head)
            .and_then(|()| Planned::new(again, longest))
            .map_err(|error| told::with_path(error, forced, &[head]))?;
        Ok(planned.known_as(&made))
    }

    /// Checks that the base is a version that was published, and the newest one where it must be.
    fn check_base(&self, newest: &VersionRecord) -> Result<()> {
        let base = self.params.base;
        if self.mode.needs_newest() && base.number != newest.number {
            return Err(MetadataError::Stale {
                base: base.number,
                head: newest.number,
            });
        }
        if base.number == newest.number && base.id == newest.id {
            return Ok(());
        }
        self.metadata.expect_exact(self.params.project, base)
    }

    /// Makes the version the newest one, in one batch with what `batch` writes.
    fn move_head(
        &self,
        lease: &Lease<'_>,
        old: HeadRow,
        counts: VersionCounts,
        mut batch: Batch,
    ) -> Result<VersionRecord> {
        let project = self.params.project;
        let number = old.number.next();
        let record = VersionRecord {
            number,
            id: self.params.version,
            parent: old.number,
            base: self.params.base.number,
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
        batch
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
            Applied::Conflict { index: 0 } => return Err(MetadataError::LeaseLost { project }),
            Applied::Conflict { .. } => {
                return Err(MetadataError::InvalidVersionId { id: record.id });
            }
        }
        Ok(record)
    }
}

/// Plans the changes, with those of names of links that the commit does not name; `head` is the newest
/// version.
fn plan_with_links<'a>(planner: &mut Planner<'a>, head: View<'a>) -> Result<()> {
    planner.plan()?;
    links::spread(planner, head)
}

/// What is to be published, and where it is staged.
struct Planned<'a> {
    staging: Staging<'a>,
    /// None if nothing makes a version.
    plan: Option<Plan>,
    counters: CountersRow,
    /// The real ids of what the session made.
    dirs: BTreeMap<DirId, DirId>,
    links: BTreeMap<LinkId, LinkId>,
}

impl<'a> Planned<'a> {
    /// Ends the planning. `longest` is an upper bound of the paths of the newest version, if it was
    /// counted.
    fn new(mut planner: Planner<'a>, longest: Option<u32>) -> Result<Self> {
        let staging = planner.staging;
        links::check(&mut planner)?;
        planner.edits.finish()?;
        if planner.makes_version {
            planner.drop_times_alone()?;
            planner.plan.longest_path = planner.longest_path(longest)?;
        }
        // Where nothing makes a version, what was made is what was there.
        let dirs = planner.plan.directory_ids().clone();
        let links = planner.plan.link_ids().clone();
        let (plan, counters) = planner.finish();
        Ok(Self {
            staging,
            counters,
            dirs: dirs.into_iter().collect(),
            links: links.into_iter().collect(),
            plan,
        })
    }

    /// Tells the ids of directories by what the session knew them by, where that is not what they
    /// are staged by.
    fn known_as(self, staged_by: &BTreeMap<DirId, DirId>) -> Self {
        let real = |staged: &DirId| self.dirs.get(staged).copied().unwrap_or(*staged);
        let dirs = staged_by.iter().map(|(dir, staged)| (*dir, real(staged)));
        Self {
            dirs: dirs.collect(),
            ..self
        }
    }
}

/// A version whose rows are being written.
pub(super) struct Publication<'a> {
    ground: Ground<'a>,
    pub(super) packing: Packing,
    /// Whether only where things are kept changes.
    pub(super) is_repack: bool,
    pub(super) staging: Staging<'a>,
    /// The random id of the version.
    pub(super) id: VersionId,
    pub(super) base: View<'a>,
    pub(super) plan: Plan,
    pub(super) number: VersionNumber,
    counts: VersionCounts,
    /// The pack that was looked at last, as it is before the changes.
    pub(super) pack_before: Cell<Option<Rc<Pack>>>,
    /// Directories whose row of this version is written.
    listed: HashSet<DirId>,
}

impl Publication<'_> {
    pub(super) fn is_first(&self) -> bool {
        self.base.version == VersionNumber::ZERO
    }

    /// Returns all rows of the version if they are few enough for one batch.
    fn few_rows(&mut self) -> Result<Option<Vec<Write>>> {
        let room = self
            .base
            .store
            .batch_ops_max()
            .saturating_sub(ROWS_OF_VERSION_MAX);
        let Some(changes) = self.staging.few(FEW.min(room / ROWS_OF_CHANGE_MAX))? else {
            return Ok(None);
        };
        self.read_ahead(&changes)?;
        let counts = self.counts;
        let mut rows = Vec::new();
        rows.extend(self.is_first().then(|| self.everything()));
        rows.extend(self.pack_change_rows());
        for change in changes {
            rows.extend(self.change_row(&change)?);
            if self.packing.root_of(self.plan.dir(change.dir)).is_none() {
                rows.extend(self.rows_of(change)?);
            }
        }
        for root in self.changed_packs() {
            let written = self.write_pack(root)?;
            rows.extend(written.names.into_iter().flatten());
            rows.extend(written.pack.into_iter().flatten());
        }
        if rows.len() > room {
            self.counts = counts;
            self.listed.clear();
            return Ok(None);
        }
        Ok(Some(rows))
    }

    /// Writes what the version changes, before anything of it is there.
    fn write_changes(&self) -> Result<()> {
        let mut writes = LeasedWrites::new(self.ground.lease);
        if self.is_first() {
            writes.add(vec![self.everything()])?;
            return writes.finish();
        }
        for row in self.pack_change_rows() {
            writes.add(vec![row])?;
        }
        for page in self.staging.pages() {
            let page = page?;
            if !self.packing.packs.is_empty() {
                self.read_ahead(&page)?;
            }
            for change in page {
                writes.add(self.change_row(&change)?.into_iter().collect())?;
            }
        }
        writes.finish()
    }

    fn write_rows(&mut self) -> Result<()> {
        let staging = self.staging;
        let mut writes = LeasedWrites::new(self.ground.lease);
        for page in staging.pages() {
            let page = page?;
            self.read_ahead(&page)?;
            for change in page {
                if self.packing.root_of(self.plan.dir(change.dir)).is_none() {
                    writes.add(self.rows_of(change)?)?;
                }
            }
        }
        for root in self.changed_packs() {
            let written = self.write_pack(root)?;
            for group in written.names.into_iter().chain(written.pack) {
                writes.add(group)?;
            }
        }
        writes.finish()
    }

    /// Reads what the rows of some changes are made from.
    pub(super) fn read_ahead(&self, page: &[Change]) -> Result<()> {
        let names = self.plan.names_before(page);
        let around = names.iter().map(|(dir, _)| *dir);
        let around = around.filter(|dir| *dir != DirId::ABOVE_ROOT).collect();
        self.ground.ahead.load(&[self.base], &names, &around)
    }

    /// The row that says that the first version changes everything.
    fn everything(&self) -> Write {
        let key = keys::changes_of(self.base.project, self.number);
        Write::Put(key, Marker.encode())
    }

    /// Returns the row that says that the version changes a name. The first one has none, nor has a name that only a
    /// pack has, before and afterwards.
    fn change_row(&self, change: &Change) -> Result<Option<Write>> {
        let dir = self.plan.dir(change.dir);
        if self.is_first() || self.is_in_pack_alone(dir, change)? {
            return Ok(None);
        }
        let name = keys::name_bytes(change.name.as_ref());
        let key = keys::change(self.base.project, self.number, dir, name);
        Ok(Some(Write::Put(key, Marker.encode())))
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
        if let Err(refusal) = self.count(old.as_ref(), new.as_ref()) {
            return Err(refusal.at(dir, change.name));
        }
        writes.extend(self.directory_of(dir, change.name, old.as_ref(), new.as_ref())?);
        writes.extend(self.listing_of(dir)?);
        Ok(writes)
    }

    /// Returns the live row of a name: it is the base's, because the base is the newest version.
    pub(super) fn old_row(&self, dir: DirId, name: &[u8]) -> Result<Option<ObjectRow>> {
        if self.is_first() || self.plan.is_fresh(dir) {
            return Ok(None);
        }
        get_row(self.base.store, &keys::live(self.base.project, dir, name))
    }

    /// Returns the row of the directory that a change places or removes.
    pub(super) fn directory_of(
        &mut self,
        dir: DirId,
        name: Option<lfsfs_types::Name>,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<Vec<Write>> {
        let (old, new) = (old.and_then(Record::dir), new.and_then(Record::dir));
        let mut writes = Vec::new();
        if let Some(removed) = old.filter(|old| self.plan.removed.contains(old))
            && self.has_directory_row(dir, removed)?
        {
            writes.push(self.put_directory(removed, self.listed_now(None)));
        }
        let Some(placed) = new.filter(|new| Some(*new) != old) else {
            return Ok(writes);
        };
        if self.packing.root_of(placed).is_some() {
            // Its pack says where it is, or a row is written together with its pack.
            return Ok(writes);
        }
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
        let row = if self.is_repack {
            DirectoryRow {
                packed: Packed::No,
                ..before
            }
        } else {
            self.listed_now(before.place)
        };
        Ok(Some(self.put_directory(dir, row)))
    }

    fn listed_now(&self, place: Option<(DirId, Option<lfsfs_types::Name>)>) -> DirectoryRow {
        DirectoryRow {
            place,
            listing: self.number,
            listing_id: self.id,
            packed: Packed::No,
        }
    }

    pub(super) fn put_directory(&mut self, dir: DirId, row: DirectoryRow) -> Write {
        self.listed.insert(dir);
        let key = keys::directory(self.base.project, dir, self.number);
        Write::Put(key, row.encode())
    }

    /// Counts a change. A moved directory is one that changed, at its new place.
    pub(super) fn count(
        &mut self,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<(), Refusal> {
        if self.is_repack {
            return Ok(());
        }
        let moved = |record: &&Record| {
            record
                .dir()
                .is_some_and(|dir| self.plan.moved.contains(&dir))
        };
        let stays = old.and_then(Record::dir) == new.and_then(Record::dir);
        let (left, came) = if stays {
            (false, false)
        } else {
            (old.filter(moved).is_some(), new.filter(moved).is_some())
        };
        let counts = &mut self.counts;
        let size = new.map_or(0, file_size);
        let bytes = counts.bytes.checked_add(size);
        counts.bytes = bytes
            .map(|bytes| bytes.saturating_sub(old.map_or(0, file_size)))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .ok_or(Refusal::TooManyBytes { size })?;
        counts.objects += u64::from(new.is_some());
        counts.objects = counts.objects.saturating_sub(u64::from(old.is_some()));
        match (old.filter(|_| !left), new.filter(|_| !came)) {
            (None, None) => {}
            (None, Some(_)) => counts.added += 1,
            (Some(_), None) => counts.removed += 1,
            (old, new) if Difference::of(old, new) == Difference::DirectoryTimes => {}
            (Some(_), Some(_)) => counts.modified += 1,
        }
        counts.modified += u64::from(came);
        Ok(())
    }
}

fn file_size(record: &Record) -> u64 {
    match record.kind {
        lfsfs_types::Kind::File { size, .. } => size,
        _ => 0,
    }
}

/// The object and link rows of one name.
pub(super) struct NameRows<'a> {
    pub(super) base: View<'a>,
    pub(super) number: VersionNumber,
    pub(super) dir: DirId,
    pub(super) name: &'a [u8],
    pub(super) writes: Vec<Write>,
}

impl NameRows<'_> {
    fn live(&self) -> Vec<u8> {
        keys::live(self.base.project, self.dir, self.name)
    }

    fn link(&self, link: LinkId) -> Vec<u8> {
        keys::link(self.base.project, link, self.dir, self.name)
    }

    /// Keeps the old state for the versions before this one.
    pub(super) fn close(&mut self, old: &ObjectRow) {
        let project = self.base.project;
        let closed = keys::closed(project, self.dir, self.number, self.name);
        let closed_name = keys::closed_name(project, self.dir, self.name, self.number);
        self.writes.push(Write::Put(closed, old.encode()));
        self.writes.push(Write::Put(closed_name, Marker.encode()));
        if let Some(link) = old.record.link {
            self.writes.push(Write::Delete(self.link(link.id)));
        }
    }

    pub(super) fn open(&mut self, record: &Record) {
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

    pub(super) fn remove_live(&mut self) {
        self.writes.push(Write::Delete(self.live()));
    }
}
