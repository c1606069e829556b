//! Which object a byte of the metadata file belongs to, and where an object lies.
//!
//! Places are a function of ids, so that the number of an inode is the same in every mount. The file has 16 TiB, as
//! far as EROFS addresses blocks with 32 bits.

use lfsfs_types::{DirId, LinkId};

use crate::BLOCK_LEN;
use crate::error::RenderError;

/// Files with content, of 16 TiB each. A file lies in one of them as a whole.
pub const DEVICES: u16 = 8;
/// Blocks of a content device.
pub const DEVICE_BLOCKS: u64 = 1 << 32;
/// Bytes of the metadata file, and of a content device.
pub const FILE_LEN: u64 = DEVICE_BLOCKS * BLOCK_LEN as u64;

/// The unit in which EROFS numbers inodes.
const SLOT_LEN: u64 = 32;
/// Bytes that belong to one directory.
pub(crate) const REGION_LEN: u64 = 1 << 16;
/// Bytes of the largest table of inodes.
pub(crate) const TABLE_LEN_MAX: u64 = 1 << 28;
/// Bytes of the inode of a hard link with what belongs to it.
pub(crate) const LINK_LEN: u64 = 128;

/// EROFS keeps the number of the root in 16 bits.
const ROOT_REGION: u64 = REGION_LEN;
const ROOT_END: u64 = ROOT_REGION + REGION_LEN;
/// Far enough behind the root that no request of the kernel reaches into both.
const BLOCKS: u64 = 4 << 20;
const LINKS: u64 = 1 << 39;
const TABLES: u64 = 1 << 40;
const REGIONS: u64 = 1 << 43;

/// The first block that is given to what has no place of its own: the entries of larger directories, long targets.
pub const FIRST_BLOCK: u32 = block_number(BLOCKS);
/// The first block behind those.
pub const END_BLOCK: u32 = block_number(LINKS);
/// Places for tables of the largest directories.
pub const LARGE_TABLES: u32 = 28_672;

/// What a byte of the metadata file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The superblock and the device table.
    Superblock,
    /// A block that was given away.
    Block(u32),
    /// The inode of a hard link.
    Link(LinkId),
    /// A table of inodes of a large directory.
    LargeTable(u32),
    /// The region of a directory.
    Region(DirId),
    /// Nothing: zeros.
    Gap,
}

/// A byte of the metadata file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// What it belongs to.
    pub owner: Owner,
    /// How far behind the beginning of that.
    pub within: u64,
    /// How many bytes from here on belong to the same.
    pub len: u64,
}

impl Address {
    /// Returns what lies at an offset of the metadata file.
    #[must_use]
    pub fn of(offset: u64) -> Self {
        let part = |owner, start: u64, len: u64| Self {
            owner,
            within: offset - start,
            len: len - (offset - start),
        };
        let of = |base: u64, unit: u64| ((offset - base) / unit, offset - (offset - base) % unit);
        match offset {
            0..ROOT_REGION => part(Owner::Superblock, 0, ROOT_REGION),
            ROOT_REGION..ROOT_END => part(Owner::Region(DirId::ROOT), ROOT_REGION, REGION_LEN),
            ROOT_END..BLOCKS => part(Owner::Gap, ROOT_END, BLOCKS - ROOT_END),
            BLOCKS..LINKS => {
                let (_, start) = of(0, BLOCK_LEN as u64);
                part(Owner::Block(block_number(start)), start, BLOCK_LEN as u64)
            }
            LINKS..TABLES => {
                let (link, start) = of(LINKS, LINK_LEN);
                part(Owner::Link(LinkId(link)), start, LINK_LEN)
            }
            TABLES..REGIONS => {
                let (table, start) = of(TABLES, TABLE_LEN_MAX);
                let table = u32::try_from(table).unwrap_or(u32::MAX);
                part(Owner::LargeTable(table), start, TABLE_LEN_MAX)
            }
            REGIONS..FILE_LEN => {
                let (dir, start) = of(REGIONS, REGION_LEN);
                let owner = match DirId(dir) {
                    DirId::ROOT => Owner::Gap,
                    dir => Owner::Region(dir),
                };
                part(owner, start, REGION_LEN)
            }
            FILE_LEN.. => part(Owner::Gap, offset, u64::MAX - offset),
        }
    }
}

/// Returns where the region of a directory begins.
pub fn region(dir: DirId) -> Result<u64, RenderError> {
    if dir == DirId::ROOT {
        return Ok(ROOT_REGION);
    }
    let (what, id) = ("directory", dir.0);
    if id >= (FILE_LEN - REGIONS) / REGION_LEN {
        return Err(RenderError::Id { what, id });
    }
    Ok(REGIONS + id * REGION_LEN)
}

/// Returns where the inode of a hard link lies.
pub fn link(link: LinkId) -> Result<u64, RenderError> {
    let (what, id) = ("hard link", link.0);
    if id >= (TABLES - LINKS) / LINK_LEN {
        return Err(RenderError::Id { what, id });
    }
    Ok(LINKS + id * LINK_LEN)
}

/// Returns where the table of a large directory begins.
pub(crate) fn large_table(table: u32) -> u64 {
    TABLES + u64::from(table) * TABLE_LEN_MAX
}

/// Returns where a block begins.
#[must_use]
pub fn block(number: u32) -> u64 {
    u64::from(number) * BLOCK_LEN as u64
}

/// Returns the number of the inode at an offset.
#[must_use]
pub fn inode_number(offset: u64) -> u64 {
    offset / SLOT_LEN
}

/// Returns the number of the block that begins at an offset below 16 TiB.
#[expect(
    clippy::cast_possible_truncation,
    reason = "callers have offsets below 16 TiB, which are 2^32 blocks"
)]
const fn block_number(offset: u64) -> u32 {
    (offset / BLOCK_LEN as u64) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner_of(offset: u64) -> (Owner, u64) {
        let address = Address::of(offset);
        (address.owner, address.within)
    }

    #[test]
    fn the_spaces_meet_without_a_gap() {
        assert_eq!(owner_of(1024), (Owner::Superblock, 1024));
        assert_eq!(owner_of(ROOT_REGION), (Owner::Region(DirId::ROOT), 0));
        assert_eq!(owner_of(ROOT_END).0, Owner::Gap);
        assert_eq!(owner_of(BLOCKS), (Owner::Block(FIRST_BLOCK), 0));
        assert_eq!(owner_of(LINKS - 1), (Owner::Block(END_BLOCK - 1), 4095));
        assert_eq!(
            owner_of(TABLES - 1).0,
            Owner::Link(LinkId(u64::from(u32::MAX)))
        );
        assert_eq!(owner_of(REGIONS - 1).0, Owner::LargeTable(LARGE_TABLES - 1));
        assert_eq!(owner_of(u64::MAX).0, Owner::Gap);
        assert!(inode_number(ROOT_REGION) <= u64::from(u16::MAX));
    }

    #[test]
    fn ids_beyond_the_file_are_refused() {
        assert!(region(DirId((1 << 27) - 1)).is_ok());
        let error = region(DirId(1 << 27)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "directory 134217728 is beyond what an image has room for"
        );
        assert!(link(LinkId(1 << 32)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_placed_is_found(dir in 1_u64..1 << 27, hard in 0_u64..1 << 32, within in 0..REGION_LEN) {
            let at = region(DirId(dir)).unwrap() + within;
            prop_assert_eq!(owner_of(at), (Owner::Region(DirId(dir)), within));
            let at = link(LinkId(hard)).unwrap() + within % LINK_LEN;
            prop_assert_eq!(owner_of(at), (Owner::Link(LinkId(hard)), within % LINK_LEN));
        }

        #[test]
        fn every_offset_has_an_owner_and_an_end(offset in 0..FILE_LEN) {
            let address = Address::of(offset);
            prop_assert!(address.len > 0);
            let next = Address::of(offset + address.len);
            prop_assert!(next.owner != address.owner || next.within == 0);
        }
    }
}
