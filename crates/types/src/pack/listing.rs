//! What the objects of a pack are.

use std::collections::HashSet;

use thiserror::Error;

use crate::codec::{DecodeError, Reader, Writer};
use crate::content::Content;
use crate::id::ContentId;
use crate::limits::{PACK_ENTRIES_MAX, PATH_LEN_MAX, TARGET_LEN_MAX};
use crate::name::ObjectPath;
use crate::object::{MODE_MAX, is_target};

const FORMAT: u8 = 1;

/// One object of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackEntry {
    /// Where it is below the root of the pack.
    pub path: ObjectPath,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// What it is.
    pub kind: PackKind,
}

/// What an object of a pack is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Names its bytes.
        content: ContentId,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points: any bytes but NUL, not empty.
        target: Box<[u8]>,
    },
}

/// Objects that make up no pack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// There are too many of them.
    #[error("a pack of {count} entries is too large: {PACK_ENTRIES_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// They are not in the order of their paths, or a path is there twice.
    #[error("{path:?} is out of order in its pack")]
    OutOfOrder {
        /// The entry that should have come earlier.
        path: ObjectPath,
    },
    /// An entry's directory is not there, or is no directory.
    #[error("{path:?} has no directory in its pack")]
    NoParent {
        /// The entry.
        path: ObjectPath,
    },
    /// The empty path, which is that of the root, is an entry.
    #[error("the root of a pack is no entry of it")]
    Root,
    /// A mode has more than 12 bits.
    #[error("{path:?} has mode {mode:o}, which is more than permissions")]
    Mode {
        /// The entry.
        path: ObjectPath,
        /// Its mode.
        mode: u32,
    },
    /// A symbolic link points nowhere a link can.
    #[error("{path:?} has a target that no symbolic link can have")]
    Target {
        /// The entry.
        path: ObjectPath,
    },
}

impl PackError {
    const fn problem(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => "too many entries",
            Self::OutOfOrder { .. } => "entries out of order",
            Self::NoParent { .. } => "an entry without its directory",
            Self::Root => "an entry with an empty path",
            Self::Mode { .. } => "mode above 12 bits",
            Self::Target { .. } => "no target of a link",
        }
    }
}

/// The objects of a pack in the order of their paths' bytes, each with its directory before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackListing {
    entries: Vec<PackEntry>,
}

impl PackListing {
    /// Checks untrusted entries.
    pub fn new(entries: Vec<PackEntry>) -> Result<Self, PackError> {
        let count = entries.len();
        if count > PACK_ENTRIES_MAX {
            return Err(PackError::TooMany { count });
        }
        entries.iter().try_for_each(PackEntry::check)?;
        if let Some(pair) = entries.windows(2).find(|it| it[0].path >= it[1].path) {
            let path = pair[1].path.clone();
            return Err(PackError::OutOfOrder { path });
        }
        check_tree(&entries)?;
        Ok(Self { entries })
    }

    /// Returns the objects in order.
    #[must_use]
    pub fn entries(&self) -> &[PackEntry] {
        &self.entries
    }

    /// Returns the position of the object with this path.
    #[must_use]
    pub fn find(&self, path: &ObjectPath) -> Option<usize> {
        self.entries.binary_search_by(|it| it.path.cmp(path)).ok()
    }

    /// Returns the content that the encoded listing is.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::of_bytes(&self.encode())
    }

    /// Returns the listing in format 1.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(FORMAT).varint(self.entries.len() as u64);
        self.entries.iter().for_each(|it| it.encode(&mut writer));
        writer.finish()
    }

    /// Decodes a listing that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("pack listing", bytes);
        reader.format(FORMAT)?;
        let count = reader.varint()?;
        if count > PACK_ENTRIES_MAX as u64 {
            return Err(reader.error("too many entries"));
        }
        // Entries are larger than their shortest encoding, so nothing is reserved for a count
        // that may be a lie.
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(PackEntry::decode(&mut reader)?);
        }
        let listing = Self::new(entries).map_err(|error| reader.error(error.problem()))?;
        reader.finish()?;
        Ok(listing)
    }
}

impl PackEntry {
    fn check(&self) -> Result<(), PackError> {
        let path = || self.path.clone();
        if self.mode > MODE_MAX {
            let mode = self.mode;
            return Err(PackError::Mode { path: path(), mode });
        }
        match &self.kind {
            PackKind::Symlink { target } if !is_target(target) => {
                Err(PackError::Target { path: path() })
            }
            _ => Ok(()),
        }
    }

    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.path.as_bytes());
        match &self.kind {
            PackKind::File { size, content } => writer
                .u8(1)
                .varint(u64::from(self.mode))
                .varint(*size)
                .raw(content.as_bytes()),
            PackKind::Directory => writer.u8(2).varint(u64::from(self.mode)),
            PackKind::Symlink { target } => writer.u8(3).varint(u64::from(self.mode)).bytes(target),
        };
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(PATH_LEN_MAX)?;
        let path = ObjectPath::new(bytes)
            .ok()
            .filter(|path| path.as_bytes() == bytes)
            .ok_or_else(|| reader.error("no path of an object"))?;
        let tag = reader.u8()?;
        let mode = reader.varint32()?;
        let kind = match tag {
            1 => PackKind::File {
                size: reader.varint()?,
                content: ContentId(reader.array()?),
            },
            2 => PackKind::Directory,
            3 => PackKind::Symlink {
                target: reader.bytes(TARGET_LEN_MAX)?.into(),
            },
            _ => return Err(reader.error("unknown kind")),
        };
        Ok(Self { path, mode, kind })
    }
}

/// Checks that every entry has its directory.
fn check_tree(entries: &[PackEntry]) -> Result<(), PackError> {
    let mut directories: HashSet<&[u8]> = HashSet::from([&b""[..]]);
    for entry in entries {
        let path = entry.path.as_bytes();
        if path.is_empty() {
            return Err(PackError::Root);
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if !directories.contains(&path[..parent]) {
            let path = entry.path.clone();
            return Err(PackError::NoParent { path });
        }
        if matches!(entry.kind, PackKind::Directory) {
            directories.insert(path);
        }
    }
    Ok(())
}
