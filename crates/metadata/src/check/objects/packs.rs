//! The check of a project's packs.

use lfsfs_types::{DirId, Kind, Record, VersionCounts, VersionNumber};

use super::ProjectCheck;
use crate::check::Checker;
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::get_row;
use crate::pack::{Pack, is_packable};
use crate::pack_row::{PackRow, PackedDirsRow, Stamp, read_listing};
use crate::rows::{DirectoryRow, Packed, RowValue as _};

impl ProjectCheck {
    /// The row of a pack stands beside that of its root, its listing is whole, and what lies in it is no row too.
    /// Returns what the newest version has in packs.
    pub(super) fn check_packs(&self, checker: &mut Checker<'_>) -> Result<VersionCounts> {
        let mut counted = VersionCounts::default();
        let mut newer: Option<(DirId, VersionNumber)> = None;
        checker.for_each_row(&self.rows(table::PACK), |checker, key, value| {
            let (_, root, version) = keys::decode_pack(key)?;
            let row = PackRow::decode(key, value)?;
            let directory = keys::directory(self.project, root, version);
            let directory: Option<DirectoryRow> = get_row(checker.metadata.store(), &directory)?;
            let is_root = directory.is_some_and(|row| row.packed == Packed::Root);
            checker.expect(is_root, key, "a pack without the row of its root");
            let listing = read_listing(checker.metadata.store(), row.listing, key)?;
            let id = listing.listing(key)?.content().id;
            checker.expect(id == row.listing, key, "the listing has another hash");
            let use_key = keys::pack_listing_use(row.listing);
            let used: Option<Stamp> = get_row(checker.metadata.store(), &use_key)?;
            checker.expect(used.is_some(), key, "a listing without its number");
            self.check_change_of_pack(checker, key, root, version)?;
            let pack = row.pack(root, &listing, key)?;
            let stop = newer.filter(|(of, _)| *of == root).map(|(_, stop)| stop);
            newer = Some((root, version));
            let stop = stop.or(self.removal_behind(checker, root, version)?);
            if stop.is_none() {
                counted.objects += pack.len() as u64;
                counted.bytes = counted.bytes.saturating_add(bytes(&pack));
            }
            match self.first_there(version, stop) {
                Some(first) => self.check_pack(checker, key, &pack, first),
                None => {
                    checker.expect(self.is_expiring, key, "no version has this pack");
                    Ok(())
                }
            }
        })?;
        self.check_packed_dirs(checker)?;
        Ok(counted)
    }

    /// Returns the version that took a directory away behind another one.
    fn removal_behind(
        &self,
        checker: &Checker<'_>,
        dir: DirId,
        version: VersionNumber,
    ) -> Result<Option<VersionNumber>> {
        let newest = self.view(checker, self.head.number).directory_row(dir)?;
        Ok(newest.and_then(|(at, _)| (at > version).then_some(at)))
    }

    /// A version that removed the root of a pack in which something was has a change row for the pack.
    pub(super) fn check_removed_pack(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        root: DirId,
        version: VersionNumber,
        stop: VersionNumber,
    ) -> Result<()> {
        // Of versions that have expired, one may have emptied the pack before: its rows are gone.
        let is_last_known = stop.0 > 1 && self.is_there(VersionNumber(stop.0 - 1));
        let view = self.view(checker, version);
        if !is_last_known || view.read_pack(root, version)?.len() == 0 {
            return Ok(());
        }
        self.check_change_of_pack(checker, key, root, stop)
    }

    /// A version that wrote a pack has a change row for it, or the mark.
    fn check_change_of_pack(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        root: DirId,
        version: VersionNumber,
    ) -> Result<()> {
        // Change rows go up to the oldest version that is there.
        if version == VersionNumber(1)
            || !self.is_there(version)
            || self.there.first() == Some(&version)
        {
            return Ok(());
        }
        let change = keys::change_of_pack(self.project, version, root);
        let is_named = checker.metadata.store().get(&change)?.is_some();
        checker.expect(is_named, key, "no change row names the pack");
        Ok(())
    }

    fn check_pack(
        &self,
        checker: &mut Checker<'_>,
        key: &[u8],
        pack: &Pack,
        first: VersionNumber,
    ) -> Result<()> {
        let view = self.view(checker, first);
        for (dir, found) in pack.dirs() {
            checker.expect(
                dir < self.counters.next_dir,
                key,
                "an id that was never given",
            );
            let root = view.pack_root(dir)?;
            checker.expect(
                root == Some(pack.root()),
                key,
                "a directory that leads elsewhere",
            );
            for (name, record) in &found.entries {
                checker.summary.objects += 1;
                let is_row = view.find(dir, name.as_bytes())?.is_some();
                checker.expect(!is_row, key, "an object that is in a pack and a row");
                checker.expect(is_packable(record), key, "an object that no pack can have");
                if let Err(fault) = record.check_fields() {
                    checker.find(key, format!("a field of an object is wrong: {fault}"));
                }
                for named in record.named_contents() {
                    self.check_content(checker, key, &named)?;
                }
            }
        }
        Ok(())
    }

    /// A row that leads directories to a pack leads to one that there is, and to ids that were given.
    fn check_packed_dirs(&self, checker: &mut Checker<'_>) -> Result<()> {
        checker.for_each_row(&self.rows(table::PACKED_DIRS), |checker, key, value| {
            let first = keys::decode_packed_dirs(key)?;
            let row = PackedDirsRow::decode(key, value)?;
            let end = first.0.saturating_add(row.count);
            let is_given = end <= self.counters.next_dir.0;
            checker.expect(is_given, key, "an id that was never given");
            checker.expect(
                row.version <= self.head.number,
                key,
                "a directory above the head",
            );
            Ok(())
        })
    }
}

fn bytes(pack: &Pack) -> u64 {
    let records = pack.dirs().flat_map(|(_, dir)| dir.entries.values());
    let size = |record: &Record| match record.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    };
    records.map(size).fold(0, u64::saturating_add)
}
