//! What a path holds, as far as it is kept in step.

use std::collections::BTreeMap;

use lfsfs_types::limits::TARGET_LEN_MAX;
use lfsfs_types::{ContentId, DecodeError, ObjectPath, Reader, Timestamp, Writer};

use crate::local::LocalStat;

/// A directory, a file or a symbolic link, with what is synced of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Directory { mode: u32 },
    File(FileItem),
    Symlink { target: Box<[u8]> },
}

/// A regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileItem {
    pub(crate) mode: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) size: u64,
    pub(crate) content: ContentId,
}

/// What one side has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    Is(Item),
    /// It cannot be told now, neither of the path nor of what is below it.
    Unknown,
}

/// Paths at which a side has another thing than what was agreed.
pub(crate) type Differences = BTreeMap<ObjectPath, Seen>;

/// What stat tells of a file that changes with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    mode: u32,
    inode: u64,
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

const TAG_DIRECTORY: u8 = 1;
const TAG_FILE: u8 = 2;
const TAG_SYMLINK: u8 = 3;

impl Item {
    pub(crate) const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    pub(crate) const fn file(&self) -> Option<&FileItem> {
        match self {
            Self::File(file) => Some(file),
            Self::Directory { .. } | Self::Symlink { .. } => None,
        }
    }

    /// Returns true if the two differ in mode and time at most.
    pub(crate) fn has_bytes_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { .. }, Self::Directory { .. }) => true,
            (Self::File(one), Self::File(two)) => one.content == two.content,
            (Self::Symlink { target: one }, Self::Symlink { target: two }) => one == two,
            _ => false,
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Directory { mode } => {
                writer.u8(TAG_DIRECTORY).varint(u64::from(*mode));
            }
            Self::File(file) => {
                writer.u8(TAG_FILE).varint(u64::from(file.mode));
                encode_time(file.mtime, writer);
                writer.varint(file.size).raw(&file.content.0);
            }
            Self::Symlink { target } => {
                writer.u8(TAG_SYMLINK).bytes(target);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            TAG_DIRECTORY => Ok(Self::Directory {
                mode: reader.varint32()?,
            }),
            TAG_FILE => Ok(Self::File(FileItem {
                mode: reader.varint32()?,
                mtime: decode_time(reader)?,
                size: reader.varint()?,
                content: ContentId(reader.array()?),
            })),
            TAG_SYMLINK => Ok(Self::Symlink {
                target: reader.bytes(TARGET_LEN_MAX)?.into(),
            }),
            _ => Err(reader.error("unknown kind of item")),
        }
    }
}

impl Figures {
    pub(crate) const fn of(stat: &LocalStat) -> Self {
        Self {
            mode: stat.mode,
            inode: stat.inode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }

    /// Returns true if a write at `began` or later shows in the figures.
    pub(crate) fn are_older_than(&self, began: Timestamp) -> bool {
        self.mtime < began && self.ctime < began
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.varint(u64::from(self.mode));
        writer.varint(self.inode).varint(self.size);
        encode_time(self.mtime, writer);
        encode_time(self.ctime, writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            mode: reader.varint32()?,
            inode: reader.varint()?,
            size: reader.varint()?,
            mtime: decode_time(reader)?,
            ctime: decode_time(reader)?,
        })
    }
}

fn encode_time(time: Timestamp, writer: &mut Writer) {
    writer.signed(time.secs).varint(u64::from(time.nanos));
}

fn decode_time(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    Ok(Timestamp {
        secs: reader.signed()?,
        nanos: reader.varint32()?,
    })
}
