//! The check of one project's objects, directories, changes and links.

mod packs;

use lfsfs_types::{
    DirId, Kind, LinkId, NamedContent, ProjectId, Record, VersionCounts, VersionNumber,
};

use super::Checker;
use crate::content::Presence;
use crate::error::Result;
use crate::keys::{self, ChangeKey, ObjectKey, table};
use crate::metadata::get_row;
use crate::rows::{CountersRow, DirectoryRow, HeadRow, Marker, ObjectRow, Packed, RowValue};
use crate::view::View;

pub(super) fn check(
    checker: &mut Checker<'_>,
    project: ProjectId,
    head: HeadRow,
    counters: CountersRow,
) -> Result<()> {
    let project = ProjectCheck {
        project,
        head,
        counters,
        there: checker.metadata.version_numbers(project)?,
        is_expiring: checker.metadata.is_expiring(project)?,
    };
    let packed = project.check_packs(checker)?;
    project.check_live(checker, packed)?;
    project.check_closed(checker)?;
    project.check_ranges(checker)?;
    project.check_directories(checker)?;
    project.check_changes(checker)?;
    project.check_links(checker)
}

/// What is known of the project that is checked.
struct ProjectCheck {
    project: ProjectId,
    head: HeadRow,
    counters: CountersRow,
    /// The versions that have not expired, in order.
    there: Vec<VersionNumber>,
    /// Whether rows that no version needs may be left.
    is_expiring: bool,
}

impl ProjectCheck {
    fn view<'a>(&self, checker: &Checker<'a>, version: VersionNumber) -> View<'a> {
        checker.metadata.view_unchecked(self.project, version)
    }

    /// Returns the first version that is there, from `start` on and before `stop`.
    fn first_there(
        &self,
        start: VersionNumber,
        stop: Option<VersionNumber>,
    ) -> Option<VersionNumber> {
        let first = self.there.partition_point(|number| *number < start);
        let first = self.there.get(first).copied();
        first.filter(|first| stop.is_none_or(|stop| *first < stop))
    }

    fn is_there(&self, version: VersionNumber) -> bool {
        self.there.binary_search(&version).is_ok()
    }

    fn rows(&self, rows: u8) -> Vec<u8> {
        keys::project_rows(rows, self.project)
    }

    /// Live rows started by the head, lie in live directories, and the head counts them.
    fn check_live(&self, checker: &mut Checker<'_>, packed: VersionCounts) -> Result<()> {
        let mut counted = packed;
        checker.for_each_row(&self.rows(table::LIVE), |checker, key, value| {
            let place = ObjectKey::live(key)?;
            let row = ObjectRow::decode(key, value)?;
            if place.dir != DirId::ABOVE_ROOT {
                counted.objects += 1;
                let dir = self.view(checker, self.head.number).directory(place.dir)?;
                checker.expect(dir.is_some(), key, "a live object in a removed directory");
            }
            if let Kind::File { size, .. } = row.record.kind {
                counted.bytes = counted.bytes.saturating_add(size);
            }
            checker.expect(
                row.start <= self.head.number,
                key,
                "an object above the head",
            );
            if let Some(link) = row.record.link {
                let link = keys::link(self.project, link.id, place.dir, place.name_bytes());
                let known = checker.metadata.store().get(&link)?.is_some();
                checker.expect(known, key, "the link index lacks this name");
            }
            self.check_row(checker, key, &place, &row)
        })?;
        let key = keys::version(self.project, self.head.number);
        let counts = checker
            .metadata
            .find_version(self.project, self.head.number)?
            .map_or_else(VersionCounts::default, |version| version.counts);
        checker.expect(
            (counts.objects, counts.bytes) == (counted.objects, counted.bytes),
            &key,
            "the newest version counts other objects or bytes than there are",
        );
        Ok(())
    }

    /// Closed rows have a range that the head has left, and a closed name.
    fn check_closed(&self, checker: &mut Checker<'_>) -> Result<()> {
        checker.for_each_row(&self.rows(table::CLOSED), |checker, key, value| {
            let place = ObjectKey::closed(key)?;
            let row = ObjectRow::decode(key, value)?;
            let stop = place.version.unwrap_or(VersionNumber::ZERO);
            checker.expect(row.start < stop, key, "a closed object with an empty range");
            checker.expect(
                stop <= self.head.number,
                key,
                "an object closed above the head",
            );
            let name = keys::closed_name(self.project, place.dir, place.name_bytes(), stop);
            let known = checker.metadata.store().get(&name)?.is_some();
            checker.expect(known, key, "a closed object without its closed name");
            self.check_row(checker, key, &place, &row)
        })
    }

    /// What holds for every object row: its ids were given, its directory is placed there, its
    /// contents are stored.
    fn check_row(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        place: &ObjectKey,
        row: &ObjectRow,
    ) -> Result<()> {
        checker.summary.objects += 1;
        let Some(first) = self.first_there(row.start, place.version) else {
            checker.expect(self.is_expiring, key, "no version has this object");
            return Ok(());
        };
        self.check_change(checker, key, place, row.start)?;
        if let Some(stop) = place.version {
            self.check_change(checker, key, place, stop)?;
        }
        let link = row.record.link.map_or(LinkId(0), |link| link.id);
        let given = place.dir < self.counters.next_dir && link < self.counters.next_link;
        checker.expect(given, key, "an id that was never given");
        if let Some(dir) = row.record.dir() {
            let at = self.view(checker, first).directory(dir)?;
            let placed = at.and_then(|at| at.place) == Some((place.dir, place.name.clone()));
            checker.expect(placed, key, "the directory row names another place");
        }
        if let Err(fault) = row.record.check_fields() {
            checker.find(key, format!("a field of the object is wrong: {fault}"));
        }
        for named in row.record.named_contents() {
            self.check_content(checker, key, &named)?;
        }
        Ok(())
    }

    /// A content of an object is known, as long as the object says, and some datanode has it.
    fn check_content(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        named: &NamedContent,
    ) -> Result<()> {
        let NamedContent {
            content,
            len,
            field,
        } = *named;
        let stored = checker.stored(content)?;
        match stored.presence {
            Presence::Unknown => checker.find(key, "a content of the object is unknown"),
            Presence::Lost => checker.find(
                key,
                format!("content {content} of the object is lost: no datanode has all of it"),
            ),
            Presence::Present => {}
        }
        if let Some(said) =
            len.filter(|said| stored.presence != Presence::Unknown && *said != stored.len)
        {
            let len = stored.len;
            let what = format!("{field} is {said}, but content {content} has {len} bytes");
            checker.find(key, what);
        }
        Ok(())
    }

    /// A version that began or ended an object has a change row for it, or the mark, and a row of
    /// the directory whose listing that changed.
    fn check_change(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        place: &ObjectKey,
        version: VersionNumber,
    ) -> Result<()> {
        // Of versions that have expired these rows may be gone, and of the oldest one that is there the change rows.
        if !self.is_there(version) {
            return Ok(());
        }
        let change = match version {
            VersionNumber(1) => keys::changes_of(self.project, version),
            _ => keys::change(self.project, version, place.dir, place.name_bytes()),
        };
        let named = checker.metadata.store().get(&change)?.is_some()
            || (version > VersionNumber(1) && self.there.first() == Some(&version));
        checker.expect(named, key, "no change row names the object");
        let mut listed = place.dir == DirId::ABOVE_ROOT;
        let root = self.view(checker, version).pack_root(place.dir)?;
        for dir in [Some(place.dir), root].into_iter().flatten() {
            let row = keys::directory(self.project, dir, version);
            listed |= checker.metadata.store().get(&row)?.is_some();
        }
        checker.expect(listed, key, "the directory has no row of that version");
        Ok(())
    }

    /// Every closed name has its row, and no two ranges of one name overlap.
    fn check_ranges(&self, checker: &mut Checker<'_>) -> Result<()> {
        let mut last: Option<ObjectKey> = None;
        checker.for_each_row(&self.rows(table::CLOSED_NAME), |checker, key, value| {
            Marker::decode(key, value)?;
            let place = ObjectKey::closed_name(key)?;
            let stop = place.version.unwrap_or(VersionNumber::ZERO);
            let store = checker.metadata.store();
            let closed = keys::closed(self.project, place.dir, stop, place.name_bytes());
            let Some(row) = get_row::<ObjectRow>(store, &closed)? else {
                checker.find(key, "a closed name without its object");
                return Ok(());
            };
            let live = keys::live(self.project, place.dir, place.name_bytes());
            let live = get_row::<ObjectRow>(store, &live)?;
            let before = last
                .take()
                .filter(|last| (last.dir, &last.name) == (place.dir, &place.name));
            let overlaps = live.is_some_and(|live| live.start < stop)
                || before.is_some_and(|before| before.version > Some(row.start));
            checker.expect(!overlaps, key, "two ranges of one name overlap");
            last = Some(place);
            Ok(())
        })
    }

    /// Directory rows agree with the objects that place the directories.
    fn check_directories(&self, checker: &mut Checker<'_>) -> Result<()> {
        let mut newer: Option<(DirId, VersionNumber)> = None;
        let mut removal = false;
        checker.for_each_row(&self.rows(table::DIRECTORY), |checker, key, value| {
            let (_, dir, version) = keys::decode_directory(key)?;
            let stop = newer.filter(|(of, _)| *of == dir).map(|(_, stop)| stop);
            newer = Some((dir, version));
            let row = DirectoryRow::decode(key, value)?;
            if let (Some(stop), true, Packed::Root) = (stop, removal, row.packed) {
                self.check_removed_pack(checker, key, dir, version, stop)?;
            }
            removal = row.is_removal();
            if row.packed == Packed::Root {
                let pack = keys::pack(self.project, dir, version);
                let is_there = checker.metadata.store().get(&pack)?.is_some();
                checker.expect(
                    is_there,
                    key,
                    "the root of a pack without the row of the pack",
                );
            }
            checker.expect(
                version <= self.head.number,
                key,
                "a directory above the head",
            );
            checker.expect(
                dir < self.counters.next_dir,
                key,
                "an id that was never given",
            );
            let listing = checker.metadata.find_version(self.project, row.listing)?;
            let is_id = |version: &lfsfs_types::VersionRecord| version.id == row.listing_id;
            let agrees = row.listing <= version
                && listing.as_ref().map_or(!self.is_there(row.listing), is_id);
            checker.expect(
                agrees,
                key,
                "the listing version is not there or has another id",
            );
            if row.is_removal() {
                return Ok(());
            }
            let Some(first) = self.first_there(version, stop) else {
                let what = "no version has the directory there";
                checker.expect(self.is_expiring || version > self.head.number, key, what);
                return Ok(());
            };
            let view = self.view(checker, first);
            match (row.packed, row.place) {
                (Packed::Within(root), _) => {
                    // It may be gone from the pack by now.
                    let is_there = view.pack_of(dir)?.is_none_or(|pack| pack.root() == root);
                    checker.expect(is_there, key, "the directory is in another pack");
                }
                (_, Some((parent, name))) => {
                    let there = view.state(parent, name.as_ref())?;
                    let placed = there.as_ref().and_then(Record::dir) == Some(dir);
                    checker.expect(placed, key, "the directory is not at its place");
                }
                (_, None) => {}
            }
            Ok(())
        })
    }

    /// No change row is above the head, and only the first version changed everything.
    fn check_changes(&self, checker: &mut Checker<'_>) -> Result<()> {
        checker.for_each_row(&self.rows(table::CHANGE), |checker, key, value| {
            Marker::decode(key, value)?;
            let change = ChangeKey::decode(key)?;
            let version = change.version();
            checker.expect(version <= self.head.number, key, "a change above the head");
            let first = version == VersionNumber(1);
            let everything = matches!(change, ChangeKey::Everything(_));
            checker.expect(
                first == everything,
                key,
                "only version 1 changes everything",
            );
            Ok(())
        })
    }

    /// Every name in the link index is live and has the link; all names of a link are one file, which
    /// counts them.
    fn check_links(&self, checker: &mut Checker<'_>) -> Result<()> {
        let mut group = LinkGroup::default();
        checker.for_each_row(&self.rows(table::LINK), |checker, key, value| {
            Marker::decode(key, value)?;
            let (_, link, dir, name) = keys::decode_link(key)?;
            let live = keys::live(self.project, dir, keys::name_bytes(name.as_ref()));
            let row = get_row::<ObjectRow>(checker.metadata.store(), &live)?;
            let record = row.map(|row| row.record);
            let linked = record.filter(|record| record.link.is_some_and(|found| found.id == link));
            checker.expect(
                linked.is_some(),
                key,
                "the link index names an object without the link",
            );
            if group.link != Some(link) {
                std::mem::take(&mut group).check(checker);
                group.link = Some(link);
            }
            group.add(checker, key, linked);
            Ok(())
        })?;
        group.check(checker);
        Ok(())
    }
}

/// The names of one link, as they come from the index.
#[derive(Default)]
struct LinkGroup {
    link: Option<LinkId>,
    /// The record of the first name, and its key.
    first: Option<(Vec<u8>, Record)>,
    names: u64,
}

impl LinkGroup {
    fn add(&mut self, checker: &mut Checker<'_>, key: &[u8], record: Option<Record>) {
        let Some(record) = record else { return };
        self.names += 1;
        match &self.first {
            None => self.first = Some((key.to_vec(), record)),
            Some((_, first)) => {
                let what = "two names of a hard link have different records";
                checker.expect(*first == record, key, what);
            }
        }
    }

    fn check(self, checker: &mut Checker<'_>) {
        let Some((key, record)) = self.first else {
            return;
        };
        let nlink = record.link.map_or(0, |link| u64::from(link.nlink));
        let what = "a hard link has another number of names than it says";
        checker.expect(nlink == self.names, &key, what);
    }
}
