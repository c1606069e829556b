//! The superblock and the table of devices.

use lfsfs_types::{DirId, VersionId};

use crate::BLOCK_LEN;
use crate::address::{self, DEVICES, inode_number};

const MAGIC: u32 = 0xE0F5_E1E2;
const SUPERBLOCK: usize = 1024;
const DEVICE_TABLE: usize = 1152;
const DEVICE_LEN: usize = 128;
const BLOCK_BITS: u8 = 12;
/// Times of inodes are those of the last change of content.
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

/// What the superblock says of a version.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// The version, whose random id names the file system.
    pub version: VersionId,
    /// How many objects there are.
    pub objects: u64,
    /// How many bytes their contents have.
    pub bytes: u64,
}

/// Returns the first bytes of the metadata file. Who mounts the image names its content devices to the kernel.
#[must_use]
pub fn superblock(volume: &Volume) -> Vec<u8> {
    let mut block = vec![0; BLOCK_LEN];
    let mut at =
        |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    let blocks = volume.bytes.div_ceil(BLOCK_LEN as u64);
    let root = address::region(DirId::ROOT).map_or(0, inode_number);
    at(SUPERBLOCK, &MAGIC.to_le_bytes());
    at(SUPERBLOCK + 8, &COMPAT_MTIME.to_le_bytes());
    at(SUPERBLOCK + 12, &[BLOCK_BITS]);
    at(
        SUPERBLOCK + 14,
        &u16::try_from(root).unwrap_or(0).to_le_bytes(),
    );
    at(SUPERBLOCK + 16, &volume.objects.to_le_bytes());
    at(
        SUPERBLOCK + 36,
        &u32::try_from(blocks).unwrap_or(u32::MAX).to_le_bytes(),
    );
    at(SUPERBLOCK + 48, volume.version.as_bytes());
    let features = INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE;
    at(SUPERBLOCK + 80, &features.to_le_bytes());
    at(SUPERBLOCK + 86, &DEVICES.to_le_bytes());
    let first_slot = u16::try_from(DEVICE_TABLE / DEVICE_LEN).unwrap_or(0);
    at(SUPERBLOCK + 88, &first_slot.to_le_bytes());
    // The table says nothing of them: they are as long as they can be, and mapped nowhere else.
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_reads_them() {
        let volume = Volume {
            version: VersionId([7; 16]),
            objects: 3,
            bytes: 4097,
        };
        let block = superblock(&volume);
        assert_eq!(&block[1024..1028], &[0xe2, 0xe1, 0xf5, 0xe0]);
        assert_eq!(block[1036], 12);
        assert_eq!(
            u16::from_le_bytes([block[1038], block[1039]]),
            2048,
            "the root"
        );
        assert_eq!(block[1060], 2, "blocks");
        assert_eq!(&block[1072..1088], &[7; 16]);
        assert_eq!(
            (block[1110], block[1112]),
            (8, 9),
            "devices, and where their table begins"
        );
    }
}
