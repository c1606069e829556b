//! A version as a reader sees it, where directories are in packs.
//!
//! A directory belongs to the pack that its newest row names, or to the one in which it was made if it has no row,
//! as long as that pack has it.

use std::sync::Arc;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStoreExt as _, Read};
use lfsfs_types::{DirId, VersionNumber};

use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::get_row;
use crate::pack::Pack;
use crate::pack_row::{PackRow, PackedDirsRow, read_listing};
use crate::rows::{DirectoryRow, Packed, RowValue as _};
use crate::view::View;

impl View<'_> {
    /// Returns the root of the pack that a directory belongs to, if the version has the directory and one has it.
    pub(crate) fn pack_root(&self, dir: DirId) -> Result<Option<DirId>> {
        self.pack_root_by_row(dir, self.directory_row(dir)?.as_ref())
    }

    /// As [`Self::pack_root`], of a directory whose newest row is known.
    fn pack_root_by_row(
        &self,
        dir: DirId,
        row: Option<&(VersionNumber, DirectoryRow)>,
    ) -> Result<Option<DirId>> {
        match row {
            Some((_, row)) => Ok(match row.packed {
                Packed::Root => row.place.as_ref().map(|_| dir),
                Packed::Within(root) => Some(root),
                Packed::No => None,
            }),
            None if dir <= DirId::ROOT => Ok(None),
            None => self.first_pack_root(dir),
        }
    }

    /// Returns the root of the pack to which the rows of a directory lead, whether or not the version has it.
    pub(crate) fn led_to(&self, dir: DirId) -> Result<Option<DirId>> {
        match self.directory_row(dir)? {
            Some((_, row)) => Ok(match row.packed {
                Packed::Within(root) => Some(root),
                Packed::Root | Packed::No => None,
            }),
            None => self.first_pack_root(dir),
        }
    }

    /// Returns the root of the pack in which a directory was made.
    pub(crate) fn first_pack_root(&self, dir: DirId) -> Result<Option<DirId>> {
        let found = self.store.read_one(self.read_of_first_pack(dir))?;
        let Some((key, value)) = found.into_first() else {
            return Ok(None);
        };
        let first = keys::decode_packed_dirs(&key)?;
        let row = PackedDirsRow::decode(&key, &value)?;
        Ok((dir.0 - first.0 < row.count).then_some(row.root))
    }

    /// Returns the read that tells in which pack a directory was made.
    pub(crate) fn read_of_first_pack(&self, dir: DirId) -> Read {
        let rows = keys::project_rows(table::PACKED_DIRS, self.project);
        let nearest = keys::packed_dirs(self.project, dir);
        Read::scan(KeyRange::at_or_after(&nearest, &rows), 1)
    }

    /// Returns the pack that has the entries of a directory, if one has them.
    pub(crate) fn pack_of(&self, dir: DirId) -> Result<Option<Arc<Pack>>> {
        self.pack_by_row(dir, self.directory_row(dir)?)
    }

    /// As [`Self::pack_of`], of a directory whose newest row is known.
    pub(crate) fn pack_by_row(
        &self,
        dir: DirId,
        row: Option<(VersionNumber, DirectoryRow)>,
    ) -> Result<Option<Arc<Pack>>> {
        let Some(root) = self.pack_root_by_row(dir, row.as_ref())? else {
            return Ok(None);
        };
        let pack = match row {
            Some((version, row)) if row.packed == Packed::Root => {
                Some(self.read_pack(root, version)?)
            }
            _ => self.pack_at(root)?,
        };
        Ok(pack.filter(|pack| pack.has(dir)))
    }

    /// Returns the pack of which a directory is the root, if it is one.
    pub(crate) fn pack_at(&self, root: DirId) -> Result<Option<Arc<Pack>>> {
        match self.directory_row(root)? {
            Some((version, row)) if row.packed == Packed::Root && row.place.is_some() => {
                self.read_pack(root, version).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Returns the pack whose row a version wrote.
    pub(crate) fn read_pack(&self, root: DirId, version: VersionNumber) -> Result<Arc<Pack>> {
        let held = (self.project, root, version);
        if let Some(pack) = self.packs.get(held) {
            return Ok(pack);
        }
        let key = keys::pack(self.project, root, version);
        let row: Option<PackRow> = get_row(self.store, &key)?;
        let row = row.ok_or_else(|| MetaError::corrupt("the row of a pack is missing", &key))?;
        let listing = read_listing(self.store, row.listing, &key)?;
        let pack = Arc::new(row.pack(root, &listing, &key)?);
        self.packs.put(held, Arc::clone(&pack));
        Ok(pack)
    }
}
