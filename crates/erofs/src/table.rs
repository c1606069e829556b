//! The table of a directory's inodes: where each lies, by a hash of its name and content.
//!
//! An entry that comes or goes moves others only where they met in the table, or where the table gets another
//! size. So an unchanged file keeps its number in the next version in nearly all cases.

use std::ops::Range;

use lfsfs_types::{Kind, Record};

use crate::BLOCK_LEN;
use crate::address::{REGION_LEN, TABLE_LEN_MAX};

/// The unit in which inodes are placed: that of a file without attributes.
pub(crate) const CELL_LEN: usize = 96;
const SMALL_START: usize = 2048;

/// Where a table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// In the second half of the directory's first block.
    Small,
    /// In its region, where it begins behind as many bytes as it has.
    Middle(usize),
    /// In the place of a large table.
    Large(usize),
}

/// What is to be placed.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) hash: u64,
    /// Bytes of the inode with what stands behind it.
    pub(crate) len: usize,
    /// Which of these bytes must lie in one block.
    pub(crate) whole: Range<usize>,
}

impl Table {
    /// Returns all tables, the smallest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let middle = (12..16).map(|bits| Self::Middle(1 << bits));
        let large = (16..=TABLE_LEN_MAX.trailing_zeros()).map(|bits| Self::Large(1 << bits));
        std::iter::once(Self::Small).chain(middle).chain(large)
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Small => BLOCK_LEN - SMALL_START,
            Self::Middle(len) | Self::Large(len) => len,
        }
    }

    /// Returns how many bytes of the region lie before it.
    pub(crate) fn bytes_before(self) -> usize {
        match self {
            Self::Small => SMALL_START,
            Self::Middle(len) => len,
            Self::Large(_) => usize::try_from(REGION_LEN).unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn cells(self) -> usize {
        self.len() / CELL_LEN
    }

    /// Returns the cell of each inode; `None` if the table would be too full.
    pub(crate) fn place(self, needs: &[Need]) -> Option<Vec<u32>> {
        let cells = self.cells();
        let wanted: usize = needs.iter().map(|need| need.len.div_ceil(CELL_LEN)).sum();
        if wanted * 4 > cells * 3 {
            return None;
        }
        let mut taken = vec![false; cells];
        needs
            .iter()
            .map(|need| {
                let cell = self.find(&taken, need)?;
                taken[cell..cell + need.len.div_ceil(CELL_LEN)].fill(true);
                u32::try_from(cell).ok()
            })
            .collect()
    }

    /// Returns the first free place behind the hash, or from the beginning on.
    fn find(self, taken: &[bool], need: &Need) -> Option<usize> {
        let count = need.len.div_ceil(CELL_LEN);
        let cells = taken.len() as u64;
        let start = usize::try_from(need.hash % cells.max(1)).ok()?;
        let fits = |cell: &usize| {
            let place = taken.get(*cell..cell + count);
            place.is_some_and(|place| !place.contains(&true)) && self.is_whole(*cell, &need.whole)
        };
        (start..taken.len()).chain(0..start).find(fits)
    }

    fn is_whole(self, cell: usize, bytes: &Range<usize>) -> bool {
        let start = self.bytes_before() + cell * CELL_LEN;
        bytes.is_empty() || (start + bytes.start) / BLOCK_LEN == (start + bytes.end - 1) / BLOCK_LEN
    }
}

/// Returns the hash of an entry: FNV-1a of the name and of what new content changes.
pub(crate) fn hash(name: &[u8], record: &Record) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    let hash = name.iter().fold(BASIS, step);
    match &record.kind {
        Kind::File { content, .. } => content.as_bytes().iter().fold(hash, step),
        Kind::Symlink { target } => target.iter().fold(hash, step),
        _ => hash,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn need(hash: u64, len: usize) -> Need {
        Need {
            hash,
            len,
            whole: 64..len,
        }
    }

    proptest! {
        #[test]
        fn places_do_not_overlap_and_nothing_crosses_a_block(
            needs in vec((any::<u64>(), 64_usize..600), 0..300),
        ) {
            let needs: Vec<_> = needs.into_iter().map(|(hash, len)| need(hash, len)).collect();
            let (table, cells) = Table::all()
                .find_map(|table| Some((table, table.place(&needs)?)))
                .expect("a large table holds them");
            let mut bytes: Vec<_> = cells
                .iter()
                .zip(&needs)
                .map(|(cell, need)| (*cell as usize * CELL_LEN, need))
                .collect();
            bytes.sort_by_key(|(start, _)| *start);
            for [(start, need), (next, _)] in bytes.array_windows() {
                prop_assert!(start + need.len <= *next);
            }
            for (start, need) in bytes {
                prop_assert!(start + need.len <= table.len());
                if need.whole.is_empty() {
                    continue;
                }
                let inline = table.bytes_before() + start + 64;
                prop_assert_eq!(inline / BLOCK_LEN, (inline + need.len - 65) / BLOCK_LEN);
            }
        }
    }

    #[test]
    fn nearly_all_stay_where_they_are_when_one_comes() {
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut needs: Vec<_> = (0..100).map(|number| need(hash(number), 72)).collect();
        let table = Table::Middle(1 << 14);
        let before = table.place(&needs).unwrap();
        needs.insert(0, need(hash(1000), 72));
        let after = table.place(&needs).unwrap();
        let moved = before
            .iter()
            .zip(&after[1..])
            .filter(|(a, b)| a != b)
            .count();
        assert!(moved <= 10, "{moved} of 100 moved");
    }

    #[test]
    fn a_full_table_is_refused_and_the_next_one_taken() {
        let needs: Vec<_> = (0..16).map(|number| need(number, 72)).collect();
        assert!(
            Table::Small.place(&needs).is_none(),
            "16 of 21 cells are too many"
        );
        assert!(Table::Small.place(&needs[..15]).is_some());
        assert!(Table::Middle(4096).place(&needs).is_some());
    }
}
