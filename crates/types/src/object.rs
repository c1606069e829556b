//! The record of an object: what an entry of a directory is, apart from its name.
//!
//! Formats 1 and 2, docs/formats.md "Object record". A record carries every attribute that a local file
//! system keeps, so that a mounted version cannot be told from the tree that was imported.

mod difference;
mod plausible;

pub use self::difference::{Aspect, Differences};
pub use self::plausible::{NamedContent, RecordFault};
use crate::codec::{DecodeError, Reader, Writer};
use crate::content::small_content_id;
use crate::id::{ContentId, DirId, LinkId, Sha256};
use crate::limits::{
    TARGET_LEN_MAX, XATTR_INLINE_LEN_MAX, XATTR_LEN_MAX, XATTR_NAME_LEN_MAX, XATTRS_MAX,
};
use crate::name::Name;
use crate::timestamp::Timestamp;
use crate::xattr_name::XattrName;

const FORMAT: u8 = 1;
/// As format 1, with names of attributes that format 1 did not take.
const FORMAT_XATTR_NAMES: u8 = 2;
pub(crate) const MODE_MAX: u32 = 0o7777;

const FLAG_SHA256: u64 = 1;
const FLAG_LINK: u64 = 2;
const FLAG_XATTRS: u64 = 4;
const FLAGS_ALL: u64 = FLAG_SHA256 | FLAG_LINK | FLAG_XATTRS;

/// What an object is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Names its bytes.
        content: ContentId,
    },
    /// A directory.
    Directory {
        /// Its identity, under which its entries are kept.
        dir: DirId,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points: any bytes but NUL, not empty.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice {
        /// Its number.
        rdev: u64,
    },
    /// A character device.
    CharDevice {
        /// Its number.
        rdev: u64,
    },
}

/// The identity that all names of one hard-linked file share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// The shared id.
    pub id: LinkId,
    /// How many names it has in this version, as a local file system counts them.
    pub nlink: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xattr {
    /// Its name with the namespace, such as `user.mime_type`.
    pub name: XattrName,
    /// Its value.
    pub value: XattrValue,
}

/// The value of an extended attribute: in the record if it is small, a content if not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum XattrValue {
    /// The bytes, at most [`XATTR_INLINE_LEN_MAX`].
    Inline(Box<[u8]>),
    /// A content and its length.
    Content {
        /// Names the bytes.
        content: ContentId,
        /// How many there are.
        len: u32,
    },
}

/// One object's attributes and content over a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// SHA-256 of the flat bytes, where the client that stored them computed it.
    pub sha256: Option<Sha256>,
    /// Set if the file has, or had, more than one name.
    pub link: Option<Link>,
    /// Extended attributes, in the order of their names.
    pub xattrs: Vec<Xattr>,
}

impl Record {
    /// Returns the record of an object that has nothing but a kind and a mode: root owns it, and its times are the epoch.
    #[must_use]
    pub const fn plain(kind: Kind, mode: u32) -> Self {
        let epoch = Timestamp { secs: 0, nanos: 0 };
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: epoch,
            ctime: epoch,
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    /// Returns the record, in format 2 if format 1 cannot hold it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u8(self.format())
            .u8(self.kind.tag())
            .varint(self.flags());
        writer
            .varint(u64::from(self.mode))
            .varint(u64::from(self.uid))
            .varint(u64::from(self.gid));
        self.mtime.encode(&mut writer);
        self.ctime.encode(&mut writer);
        self.kind.encode(&mut writer);
        if let Some(sha256) = &self.sha256 {
            writer.raw(sha256.as_bytes());
        }
        if let Some(link) = self.link {
            writer.varint(link.id.0).varint(u64::from(link.nlink));
        }
        if !self.xattrs.is_empty() {
            writer.varint(self.xattrs.len() as u64);
            self.xattrs
                .iter()
                .for_each(|xattr| xattr.encode(&mut writer));
        }
        writer.finish()
    }

    /// Decodes a record that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("object record", bytes);
        let format = reader.u8()?;
        if !matches!(format, FORMAT | FORMAT_XATTR_NAMES) {
            return Err(reader.error("unknown format number"));
        }
        let tag = reader.u8()?;
        let flags = reader.varint()?;
        if flags & !FLAGS_ALL != 0 {
            return Err(reader.error("unknown flags"));
        }
        let mode = reader.varint32()?;
        if mode > MODE_MAX {
            return Err(reader.error("mode above 12 bits"));
        }
        let record = Self {
            mode,
            uid: reader.varint32()?,
            gid: reader.varint32()?,
            mtime: Timestamp::decode(&mut reader)?,
            ctime: Timestamp::decode(&mut reader)?,
            kind: Kind::decode(tag, &mut reader)?,
            sha256: optional(flags, FLAG_SHA256, || Ok(Sha256(reader.array()?)))?,
            link: optional(flags, FLAG_LINK, || Link::decode(&mut reader))?,
            xattrs: optional(flags, FLAG_XATTRS, || decode_xattrs(&mut reader))?
                .unwrap_or_default(),
        };
        // A record has one form only, or two equal ones could differ.
        if record.format() != format {
            return Err(reader.error("another format than the names of attributes need"));
        }
        reader.finish()?;
        Ok(record)
    }

    /// Returns the size that stat shows: bytes of a file, length of a link's target.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            Kind::Symlink { target } => target.len() as u64,
            _ => 0,
        }
    }

    /// Returns the directory id of a directory.
    #[must_use]
    pub fn dir(&self) -> Option<DirId> {
        match self.kind {
            Kind::Directory { dir } => Some(dir),
            _ => None,
        }
    }

    /// Returns the contents that must be present for this object to be whole.
    pub fn contents(&self) -> impl Iterator<Item = ContentId> + '_ {
        self.named_contents().map(|named| named.content)
    }

    /// Format 1 took those names of attributes that an entry could have, too.
    fn format(&self) -> u8 {
        let is_old = |xattr: &Xattr| Name::new(xattr.name.as_bytes()).is_ok();
        if self.xattrs.iter().all(is_old) {
            FORMAT
        } else {
            FORMAT_XATTR_NAMES
        }
    }

    fn flags(&self) -> u64 {
        let sha256 = if self.sha256.is_some() {
            FLAG_SHA256
        } else {
            0
        };
        let link = if self.link.is_some() { FLAG_LINK } else { 0 };
        let xattrs = if self.xattrs.is_empty() {
            0
        } else {
            FLAG_XATTRS
        };
        sha256 | link | xattrs
    }
}

impl Kind {
    /// Returns the number of the kind in every format.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Self::File { .. } => 1,
            Self::Directory { .. } => 2,
            Self::Symlink { .. } => 3,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::BlockDevice { .. } => 7,
            Self::CharDevice { .. } => 8,
        }
    }

    /// Returns true for a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::File { size, content } => writer.varint(*size).raw(content.as_bytes()),
            Self::Directory { dir } => writer.varint(dir.0),
            Self::Symlink { target } => writer.bytes(target),
            Self::Fifo | Self::Socket => writer,
            Self::BlockDevice { rdev } | Self::CharDevice { rdev } => writer.varint(*rdev),
        };
    }

    fn decode(tag: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match tag {
            1 => Self::File {
                size: reader.varint()?,
                content: ContentId(reader.array()?),
            },
            2 => Self::Directory {
                dir: DirId(reader.varint()?),
            },
            3 => Self::Symlink {
                target: decode_target(reader)?,
            },
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::BlockDevice {
                rdev: reader.varint()?,
            },
            8 => Self::CharDevice {
                rdev: reader.varint()?,
            },
            _ => return Err(reader.error("unknown kind")),
        })
    }
}

impl Link {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: LinkId(reader.varint()?),
            nlink: reader.varint32()?,
        })
    }
}

impl XattrValue {
    /// Returns the value as a record has it: bytes that are too long for a record become the content
    /// that they are. The caller must send that content.
    ///
    /// No attribute has more than 4 GiB; such a length would be told as the largest `u32`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.len() <= XATTR_INLINE_LEN_MAX {
            return Self::Inline(bytes.into());
        }
        Self::Content {
            content: small_content_id(bytes),
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Xattr {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.name.as_bytes());
        match &self.value {
            XattrValue::Inline(bytes) => writer.u8(1).bytes(bytes),
            XattrValue::Content { content, len } => {
                writer.u8(2).raw(content.as_bytes()).varint(u64::from(*len))
            }
        };
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = XattrName::new(reader.bytes(XATTR_NAME_LEN_MAX)?)
            .map_err(|_| reader.error("no name of an attribute"))?;
        let value = match reader.u8()? {
            1 => XattrValue::Inline(reader.bytes(XATTR_INLINE_LEN_MAX)?.into()),
            2 => XattrValue::Content {
                content: ContentId(reader.array()?),
                len: reader.varint32()?,
            },
            _ => return Err(reader.error("unknown form of an attribute")),
        };
        match value {
            // A short one has one form only, or two equal records could differ.
            XattrValue::Content { len, .. }
                if !(XATTR_INLINE_LEN_MAX + 1..=XATTR_LEN_MAX).contains(&(len as usize)) =>
            {
                Err(reader.error("length of an attribute out of range"))
            }
            value => Ok(Self { name, value }),
        }
    }
}

fn decode_target(reader: &mut Reader<'_>) -> Result<Box<[u8]>, DecodeError> {
    let target = reader.bytes(TARGET_LEN_MAX)?;
    if is_target(target) {
        Ok(target.into())
    } else {
        Err(reader.error("no target of a link"))
    }
}

/// Returns true if a symbolic link can point there.
pub(crate) fn is_target(target: &[u8]) -> bool {
    (1..=TARGET_LEN_MAX).contains(&target.len()) && !target.contains(&0)
}

fn decode_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, DecodeError> {
    let count = reader.varint()?;
    if count == 0 || count > XATTRS_MAX as u64 {
        return Err(reader.error("number of attributes out of range"));
    }
    let xattrs = (0..count)
        .map(|_| Xattr::decode(reader))
        .collect::<Result<Vec<_>, _>>()?;
    if !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Err(reader.error("attributes out of order"));
    }
    Ok(xattrs)
}

fn optional<T>(
    flags: u64,
    flag: u64,
    decode: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if flags & flag == 0 {
        Ok(None)
    } else {
        decode().map(Some)
    }
}
