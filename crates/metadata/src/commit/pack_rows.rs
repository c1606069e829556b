//! The rows of the packs that a version changes.
//!
//! A pack is built anew from what it was and what is staged, one pack at a time. Its listing, its row and the row of its
//! root go in one batch, then the rows that lead directories to it: an undo finds these directories in the row of the
//! pack. The version's change row of the pack is written before.

use std::rc::Rc;

use lfsfs_meta_store::Write;
use lfsfs_types::{DirId, Record};

use super::Change;
use super::publish::{NameRows, Publication};
use crate::error::Result;
use crate::keys;
use crate::pack::{Listed, Pack};
use crate::pack_row::{PackRow, PackedDirsRow, Stamp};
use crate::rows::{DirectoryRow, Marker, Packed, RowValue as _};

/// What a version writes for a pack.
#[derive(Debug, Default)]
pub(super) struct PackWrites {
    /// The rows of each name that is, or was, a row beside the pack.
    pub(super) names: Vec<Vec<Write>>,
    /// The rows of the pack: groups that must be written together, in this order.
    pub(super) pack: Vec<Vec<Write>>,
}

impl Publication<'_> {
    pub(super) fn changed_packs(&self) -> Vec<DirId> {
        self.packing.packs.keys().copied().collect()
    }

    /// Returns the rows that say which packs the version changes; the first one has none.
    pub(super) fn pack_change_rows(&self) -> Vec<Write> {
        let roots = self.packing.packs.keys().chain(&self.packing.dissolved);
        let roots = roots.filter(|_| !self.is_first());
        let key = |root: &DirId| keys::change_of_pack(self.base.project, self.number, *root);
        roots
            .map(|root| Write::Put(key(root), Marker.encode()))
            .collect()
    }

    /// Returns true if a change makes and ends no row, because a pack has the name before and afterwards.
    pub(super) fn is_in_pack_alone(&self, dir: DirId, change: &Change) -> Result<bool> {
        let (Some(root), Some(name)) = (self.packing.root_of(dir), change.name.as_ref()) else {
            return Ok(false);
        };
        let pack = self.pack_before(root)?;
        let before = pack.get(dir, name);
        let new = change.state.clone().map(|record| self.plan.record(record));
        if new.is_some_and(|new| !self.packing.takes(&pack, &new, before)) {
            return Ok(false);
        }
        Ok(before.is_some() || self.old_row(dir, name.as_bytes())?.is_none())
    }

    /// Returns whether a directory of the base, which is an entry of `above`, has a row.
    pub(super) fn has_directory_row(&self, above: DirId, dir: DirId) -> Result<bool> {
        Ok(self.packing.root_of(above).is_none() || self.base.directory_row(dir)?.is_some())
    }

    /// Returns what is in a pack before the staged changes are made.
    fn pack_before(&self, root: DirId) -> Result<Rc<Pack>> {
        let held = self.pack_before.take();
        let pack = match held.filter(|held| held.root() == root) {
            Some(held) => held,
            None => Rc::new(self.read_pack_before(root)?),
        };
        self.pack_before.set(Some(Rc::clone(&pack)));
        Ok(pack)
    }

    fn read_pack_before(&self, root: DirId) -> Result<Pack> {
        let source = self
            .packing
            .packs
            .get(&root)
            .and_then(|change| change.source);
        let from = source.unwrap_or(root);
        let found = match self.plan.is_fresh(from) {
            true => None,
            false => self.base.pack_at(from)?,
        };
        let cut = found.and_then(|found| match source {
            Some(_) => found.cut(root),
            None => Some(Pack::clone(&found)),
        });
        let mut pack = cut.unwrap_or_else(|| Pack::new(root, self.listed_here()));
        let left: Vec<_> = pack.dirs().map(|(dir, _)| dir).collect();
        for dir in left
            .into_iter()
            .filter(|dir| self.packing.has_left(*dir, root))
        {
            pack.forget_dir(dir);
        }
        Ok(pack)
    }

    fn listed_here(&self) -> Listed {
        Listed {
            version: self.number,
            id: self.id,
        }
    }

    /// Returns when the listing of a directory changed, if something in it does.
    fn listed_after(&self, dir: DirId) -> Result<Listed> {
        if !self.is_repack {
            return Ok(self.listed_here());
        }
        let row = self.base.live_directory(dir)?;
        Ok(Listed {
            version: row.listing,
            id: row.listing_id,
        })
    }

    /// Builds a pack anew, and returns its rows.
    pub(super) fn write_pack(&mut self, root: DirId) -> Result<PackWrites> {
        let mut pack = Pack::clone(self.pack_before(root)?.as_ref());
        let change = self.packing.packs.get(&root);
        let staged = change.map_or_else(Vec::new, |change| change.staged.clone());
        let mut writes = PackWrites::default();
        for dir in staged {
            for page in self.staging.pages_in_directory(dir) {
                let page = page?;
                self.read_ahead(&page)?;
                for change in page {
                    let rows = self.put_into_pack(&mut pack, change)?;
                    writes.names.push(rows);
                }
            }
        }
        if !self.plan.removed.contains(&root) {
            pack.prune();
            writes.pack = self.rows_of_pack(&pack)?;
        }
        Ok(writes)
    }

    /// Makes one change in a pack, and returns the rows of a name that is one, or was one.
    fn put_into_pack(&mut self, pack: &mut Pack, change: Change) -> Result<Vec<Write>> {
        let dir = self.plan.dir(change.dir);
        let Some(name) = change.name else {
            return Ok(Vec::new());
        };
        let new = change.state.map(|record| self.plan.record(record));
        let packed = pack.get(dir, &name).cloned();
        let row = match packed {
            Some(_) => None,
            None => self.old_row(dir, name.as_bytes())?,
        };
        let mut rows = NameRows {
            base: self.base,
            number: self.number,
            dir,
            name: name.as_bytes(),
            writes: Vec::new(),
        };
        if let Some(row) = &row {
            rows.close(row);
        }
        let takes = |new: &&Record| self.packing.takes(pack, new, packed.as_ref());
        let into_pack = new.as_ref().filter(takes);
        match (&new, into_pack) {
            (Some(new), None) => rows.open(new),
            _ if row.is_some() => rows.remove_live(),
            _ => {}
        }
        let listed = self.listed_after(dir)?;
        match into_pack {
            Some(new) => {
                let below = new
                    .dir()
                    .map(|below| self.listed_after(below))
                    .transpose()?;
                pack.insert(dir, name.clone(), new.clone(), below.unwrap_or(listed));
            }
            None => pack.remove(dir, &name),
        }
        pack.set_listed(dir, listed);
        let mut writes = rows.writes;
        let old = packed.or(row.map(|row| row.record));
        if let Err(refusal) = self.count(old.as_ref(), new.as_ref()) {
            return Err(refusal.at(dir, Some(name)));
        }
        writes.extend(self.directory_of(dir, Some(name), old.as_ref(), new.as_ref())?);
        Ok(writes)
    }

    fn rows_of_pack(&mut self, pack: &Pack) -> Result<Vec<Vec<Write>>> {
        let (project, root) = (self.base.project, pack.root());
        let (row, listing) = PackRow::of(pack)?;
        let mut writes = vec![
            Write::Put(keys::pack_listing(row.listing), listing.encode()),
            Write::Put(keys::pack_listing_use(row.listing), Stamp::draw()?.encode()),
            Write::Put(keys::pack(project, root, self.number), row.encode()),
        ];
        let directory = self.row_of_root(pack)?;
        writes.push(self.put_directory(root, directory));
        let mut groups = vec![writes];
        groups.extend(self.rows_of_new_dirs(pack).into_iter().map(|row| vec![row]));
        for (dir, found) in pack.dirs() {
            if dir != root && self.must_be_led(dir, root)? {
                let row = DirectoryRow::within(root, found.listed.version, found.listed.id);
                groups.push(vec![self.put_directory(dir, row)]);
            }
        }
        Ok(groups)
    }

    fn row_of_root(&self, pack: &Pack) -> Result<DirectoryRow> {
        let root = pack.root();
        let change = self.packing.packs.get(&root);
        let place = change.and_then(|change| change.place.as_ref());
        let place = place.map(|placed| (placed.above, placed.name.clone()));
        let is_listed = self.plan.is_fresh(root) || self.plan.touched.contains(&root);
        let before = match (&place, is_listed) {
            (Some(_), true) => None,
            _ => Some(self.base.live_directory(root)?),
        };
        let listed = match &before {
            Some(before) if !is_listed => Listed {
                version: before.listing,
                id: before.listing_id,
            },
            _ => self.listed_here(),
        };
        Ok(DirectoryRow {
            place: place.or(before.and_then(|before| before.place)),
            listing: listed.version,
            listing_id: listed.id,
            packed: Packed::Root,
        })
    }

    /// The rows that lead directories that the version makes to their pack: one for many with ids one behind the other.
    fn rows_of_new_dirs(&self, pack: &Pack) -> Vec<Write> {
        let dirs = pack.dirs().map(|(dir, _)| dir);
        let dirs = dirs.filter(|dir| *dir != pack.root() && self.plan.is_new(*dir));
        let mut runs: Vec<(DirId, u64)> = Vec::new();
        for dir in dirs {
            match runs.last_mut() {
                Some((first, count)) if first.0 + *count == dir.0 => *count += 1,
                _ => runs.push((dir, 1)),
            }
        }
        let write = |(first, count)| {
            let row = PackedDirsRow {
                count,
                root: pack.root(),
                version: self.number,
            };
            Write::Put(keys::packed_dirs(self.base.project, first), row.encode())
        };
        runs.into_iter().map(write).collect()
    }

    /// Returns whether a directory that was made before needs a row that leads to its pack.
    fn must_be_led(&self, dir: DirId, root: DirId) -> Result<bool> {
        if self.plan.is_new(dir) {
            return Ok(false);
        }
        Ok(self.base.led_to(dir)? != Some(root))
    }
}
