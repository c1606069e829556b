//! Inodes in the long form of EROFS, with what stands behind them: attributes, then the place of the content or
//! the target.

use lfsfs_types::{Kind, Record};

use crate::BLOCK_LEN;
use crate::address::LINK_LEN;
use crate::error::RenderError;
use crate::xattrs::Xattrs;

pub(crate) const INODE_LEN: usize = 64;
const CHUNK_INDEX_LEN: usize = 8;
/// A chunk of a file has at most so many blocks.
const CHUNK_BITS_MAX: u32 = 31;
const CHUNK_INDEXES: u32 = 0x20;
/// A target that is longer lies in a block of its own.
const INLINE_TARGET_LEN_MAX: usize = 512;

const LONG_FORM: u16 = 1;
const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_INLINE: u16 = 2;
const LAYOUT_CHUNKS: u16 = 4;

/// Where the content of a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentPlace {
    /// The content device.
    pub device: u16,
    /// The block of it.
    pub block: u32,
}

/// Returns how many blocks of a content device an object needs.
#[must_use]
pub fn content_blocks(record: &Record) -> u64 {
    match record.kind {
        Kind::File { size, .. } => size.div_ceil(BLOCK_LEN as u64),
        _ => 0,
    }
}

/// The inode of an object that has, or had, more than one name.
#[derive(Debug)]
pub struct HardLink<'a>(Inode<'a>);

impl<'a> HardLink<'a> {
    /// Prepares it.
    pub fn of(record: &'a Record) -> Result<Self, RenderError> {
        Inode::of(record).map(Self)
    }

    /// Returns how many blocks of the metadata file it needs; none if it fits where hard links lie.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        if self.0.len() as u64 <= LINK_LEN && !self.0.has_long_target() {
            return 0;
        }
        let target = u32::from(self.0.has_long_target());
        self.inode_blocks() + target
    }

    /// Returns its bytes; `first_block` is the first of its blocks, if it needs some.
    #[must_use]
    pub fn render(&self, content: ContentPlace, first_block: u32) -> Vec<u8> {
        let inode = &self.0;
        let mut bytes = inode.encode(&inode.data(content, first_block + self.inode_blocks()));
        if let (Kind::Symlink { target }, true) = (&inode.record.kind, inode.has_long_target()) {
            bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN), 0);
            bytes.extend_from_slice(target);
        }
        bytes
    }

    fn inode_blocks(&self) -> u32 {
        u32::try_from(self.0.len().div_ceil(BLOCK_LEN)).unwrap_or(u32::MAX)
    }
}

/// What stands behind an inode and its attributes, or instead of that.
#[derive(Debug)]
pub(crate) enum Data<'a> {
    Nothing,
    /// The content of a file.
    Content(ContentPlace),
    /// Behind the inode.
    Inline(&'a [u8]),
    /// In blocks of the metadata file.
    Blocks(u32),
    Device(u32),
}

/// An object that is going to be an inode.
#[derive(Debug)]
pub(crate) struct Inode<'a> {
    record: &'a Record,
    xattrs: Xattrs,
    /// Of a directory, which its record does not know.
    pub(crate) size: u64,
}

impl<'a> Inode<'a> {
    pub(crate) fn of(record: &'a Record) -> Result<Self, RenderError> {
        Ok(Self {
            record,
            xattrs: Xattrs::of(record)?,
            size: record.size(),
        })
    }

    /// Returns how long inode and attributes are.
    pub(crate) fn head_len(&self) -> usize {
        INODE_LEN + self.xattrs.bytes.len()
    }

    /// Returns the length with what stands behind.
    pub(crate) fn len(&self) -> usize {
        match &self.record.kind {
            Kind::File { size: 1.., .. } => {
                let chunks = content_blocks(self.record).div_ceil(1 << CHUNK_BITS_MAX);
                let indexes = usize::try_from(chunks).unwrap_or(usize::MAX) * CHUNK_INDEX_LEN;
                self.head_len().next_multiple_of(CHUNK_INDEX_LEN) + indexes
            }
            Kind::Symlink { target } if !self.has_long_target() => self.head_len() + target.len(),
            _ => self.head_len(),
        }
    }

    pub(crate) fn has_long_target(&self) -> bool {
        matches!(&self.record.kind, Kind::Symlink { target } if target.len() > INLINE_TARGET_LEN_MAX)
    }

    /// Returns the data of an object that is no directory.
    pub(crate) fn data(&self, content: ContentPlace, target_block: u32) -> Data<'a> {
        match &self.record.kind {
            Kind::File { size: 1.., .. } => Data::Content(content),
            Kind::Symlink { .. } if self.has_long_target() => Data::Blocks(target_block),
            Kind::Symlink { target } => Data::Inline(target),
            Kind::BlockDevice { rdev } | Kind::CharDevice { rdev } => {
                // The kernel's own form has 32 bits; a number beyond that names no device here.
                Data::Device(u32::try_from(*rdev).unwrap_or(0))
            }
            _ => Data::Nothing,
        }
    }

    pub(crate) fn encode(&self, data: &Data<'_>) -> Vec<u8> {
        let record = self.record;
        let mut bytes = Vec::with_capacity(self.len());
        let mut add = |field: &[u8]| bytes.extend_from_slice(field);
        add(&(LONG_FORM | layout(data) << 1).to_le_bytes());
        add(&self.xattrs.count().to_le_bytes());
        add(&mode(record).to_le_bytes());
        add(&[0; 2]);
        add(&self.size.to_le_bytes());
        add(&self.data_field(data).to_le_bytes());
        // The number that a program of 32 bits would see: the kernel does not use it.
        add(&[0; 4]);
        add(&record.uid.to_le_bytes());
        add(&record.gid.to_le_bytes());
        add(&record.mtime.secs.to_le_bytes());
        add(&record.mtime.nanos.to_le_bytes());
        let nlink = record.link.map_or(1, |link| link.nlink.max(1));
        add(&nlink.to_le_bytes());
        add(&[0; 16]);
        add(&self.xattrs.bytes);
        match data {
            Data::Content(place) => self.add_indexes(&mut bytes, *place),
            Data::Inline(inline) => bytes.extend_from_slice(inline),
            Data::Nothing | Data::Blocks(_) | Data::Device(_) => {}
        }
        bytes
    }

    fn data_field(&self, data: &Data<'_>) -> u32 {
        match data {
            Data::Content(_) => CHUNK_INDEXES | chunk_bits(self.record),
            Data::Blocks(first) => *first,
            Data::Device(rdev) => *rdev,
            Data::Nothing | Data::Inline(_) => 0,
        }
    }

    fn add_indexes(&self, bytes: &mut Vec<u8>, place: ContentPlace) {
        bytes.resize(bytes.len().next_multiple_of(CHUNK_INDEX_LEN), 0);
        let chunks = content_blocks(self.record).div_ceil(1 << CHUNK_BITS_MAX);
        let mut block = place.block;
        for _ in 0..chunks {
            bytes.extend_from_slice(&[0; 2]);
            // Devices count from 1: the metadata file is 0.
            bytes.extend_from_slice(&(place.device + 1).to_le_bytes());
            bytes.extend_from_slice(&block.to_le_bytes());
            block = block.wrapping_add(1 << CHUNK_BITS_MAX);
        }
    }
}

fn layout(data: &Data<'_>) -> u16 {
    match data {
        Data::Nothing | Data::Blocks(_) | Data::Device(_) => LAYOUT_PLAIN,
        Data::Inline(_) => LAYOUT_INLINE,
        Data::Content(_) => LAYOUT_CHUNKS,
    }
}

/// Returns the least power of two of blocks that holds the file, or the largest there is.
fn chunk_bits(record: &Record) -> u32 {
    let blocks = content_blocks(record).max(1);
    blocks
        .next_power_of_two()
        .trailing_zeros()
        .min(CHUNK_BITS_MAX)
}

fn mode(record: &Record) -> u16 {
    let kind: u16 = match record.kind {
        Kind::File { .. } => 0o100_000,
        Kind::Directory { .. } => 0o040_000,
        Kind::Symlink { .. } => 0o120_000,
        Kind::Fifo => 0o010_000,
        Kind::Socket => 0o140_000,
        Kind::BlockDevice { .. } => 0o060_000,
        Kind::CharDevice { .. } => 0o020_000,
    };
    kind | u16::try_from(record.mode & 0o7777).unwrap_or(0)
}

/// Returns the type of an object as entries tell it.
pub(crate) fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory { .. } => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink { .. } => 7,
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::ContentId;

    use super::*;

    fn file(size: u64) -> Record {
        let content = ContentId::EMPTY;
        Record::plain(Kind::File { size, content }, 0o644)
    }

    #[test]
    fn a_file_has_as_few_chunks_as_it_can() {
        let bits = |size| chunk_bits(&file(size));
        assert_eq!(
            (bits(1), bits(4096), bits(4097), bits(3 << 12)),
            (0, 0, 1, 2)
        );
        assert_eq!((bits(1 << 43), bits(1 << 44)), (31, 31));
        let lens = [0, 1, 1 << 43, 1 << 44].map(|size| Inode::of(&file(size)).unwrap().len());
        assert_eq!(lens, [64, 72, 72, 80]);
    }

    #[test]
    fn the_second_chunk_of_the_largest_file_follows_the_first() {
        let record = file(1 << 44);
        let inode = Inode::of(&record).unwrap();
        let bytes = inode.encode(&inode.data(
            ContentPlace {
                device: 1,
                block: 0,
            },
            0,
        ));
        assert_eq!(&bytes[64..72], &[0, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[72..80], &[0, 0, 2, 0, 0, 0, 0, 0x80]);
    }
}
