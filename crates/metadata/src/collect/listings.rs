//! Listings of packs that no row of a pack names: found and removed.
//!
//! 1. The listings there are, each with the number that a publisher changes when it uses one, as they are now.
//! 2. The rows of all packs mark the listings that they name.
//! 3. A listing of step 1 that is not marked goes, unless its number has changed.
//!
//! A publisher writes a listing, its number and the row of the pack in one batch: before step 1, then step 2 finds the
//! row; or after, then step 3 finds another number.

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::ContentId;

use super::marks::{Marks, Part};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::pack_row::PackRow;
use crate::rows::RowValue as _;

/// Listings that are looked at together.
const LISTINGS_AT_ONCE: usize = 1 << 16;

impl Metadata {
    /// Removes listings of packs that no version has. It may end at any moment.
    pub(super) fn collect_listings(&self, marks_bytes: usize, seed: u64) -> Result<()> {
        let mut range = KeyRange::prefix(&[table::PACK_LISTING_USE]);
        loop {
            let seen = self.store().scan(range.clone(), LISTINGS_AT_ONCE)?;
            let Some((last, _)) = seen.rows.last() else {
                return Ok(());
            };
            range = range.beyond(last, false);
            let Some(marks) = self.named_listings(marks_bytes, seed)? else {
                return Ok(());
            };
            for (key, number) in seen.rows {
                self.remove_listing(&marks, &key, &number)?;
            }
        }
    }

    /// Marks the listings that packs name; nothing if the process ends, as half of the marks must not be taken for all.
    fn named_listings(&self, marks_bytes: usize, seed: u64) -> Result<Option<Marks>> {
        let mut marks = Marks::new(Part(0..Part::ALL), marks_bytes, seed);
        let packs = KeyRange::prefix(&[table::PACK]);
        for row in self.store().scan_all(packs, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                return Ok(None);
            }
            marks.mark(PackRow::decode(&key, &value)?.listing);
        }
        Ok(Some(marks))
    }

    fn remove_listing(&self, marks: &Marks, key: &[u8], number: &[u8]) -> Result<()> {
        let listing = ContentId(keys::decode_id(table::PACK_LISTING_USE, key)?);
        if marks.has(listing) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch
            .require_equals(key, number)
            .delete(key)
            .delete(keys::pack_listing(listing));
        // After a conflict a publisher has used it.
        self.store().apply(batch).map(drop)?;
        Ok(())
    }
}
