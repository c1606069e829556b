//! What a record may say beyond its format: values that no file system gives are refused when a
//! record comes in from a client.
//!
//! Decoding does not look at this, because what was stored by an earlier program must stay readable.

use thiserror::Error;

use super::{Kind, Record, XattrValue};
use crate::id::ContentId;
use crate::limits::SMALL_CONTENT_LEN_MAX;
use crate::timestamp::Timestamp;

/// The user or group id that the kernel takes for none.
const NO_OWNER: u32 = u32::MAX;

/// A content that a record names, and what the record says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedContent {
    /// The content.
    pub content: ContentId,
    /// The length that the record says it has, if it says one.
    pub len: Option<u64>,
    /// The field that says it.
    pub field: &'static str,
}

/// A field of a record with a value that no file system gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// A time that no version can have.
    #[error("{field} of {secs} s is out of range: times from the year 0 to 9999 are possible")]
    Time {
        /// "mtime" or "ctime".
        field: &'static str,
        /// Its seconds since 1970.
        secs: i64,
    },
    /// An owner that the kernel gives to no user and no group.
    #[error("{field} {NO_OWNER} is not a valid owner")]
    Owner {
        /// "uid" or "gid".
        field: &'static str,
    },
    /// A device number that is too large.
    #[error("rdev {rdev} is out of range: a device number has 32 bits")]
    Device {
        /// The number.
        rdev: u64,
    },
    /// A flat checksum that is not that of the content.
    #[error("sha256 is not that of content {content}")]
    Checksum {
        /// The content, which is named by its SHA-256.
        content: ContentId,
    },
    /// A flat checksum of what is no file.
    #[error("sha256 is set, but only a file has one")]
    ChecksumOfNoFile,
    /// A link count of 0.
    #[error("nlink is 0, but the object has a name")]
    NoLink,
}

impl Record {
    /// Checks what can be told without knowing its contents.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check_fields(&self) -> Result<(), RecordFault> {
        for (field, time) in [("mtime", self.mtime), ("ctime", self.ctime)] {
            if !time.is_in_range() {
                let Timestamp { secs, .. } = time;
                return Err(RecordFault::Time { field, secs });
            }
        }
        for (field, owner) in [("uid", self.uid), ("gid", self.gid)] {
            if owner == NO_OWNER {
                return Err(RecordFault::Owner { field });
            }
        }
        if self.link.is_some_and(|link| link.nlink == 0) {
            return Err(RecordFault::NoLink);
        }
        self.check_kind()
    }

    fn check_kind(&self) -> Result<(), RecordFault> {
        match (&self.kind, self.sha256) {
            (&Kind::BlockDevice { rdev } | &Kind::CharDevice { rdev }, _)
                if u32::try_from(rdev).is_err() =>
            {
                Err(RecordFault::Device { rdev })
            }
            // A longer content is named by the list of its pieces.
            (&Kind::File { size, content }, Some(sha256))
                if size <= SMALL_CONTENT_LEN_MAX && sha256.0 != content.0 =>
            {
                Err(RecordFault::Checksum { content })
            }
            (Kind::File { .. }, _) | (_, None) => Ok(()),
            (_, Some(_)) => Err(RecordFault::ChecksumOfNoFile),
        }
    }

    /// Returns the contents that must be present for this object to be whole, with the length that
    /// the record says each has.
    pub fn named_contents(&self) -> impl Iterator<Item = NamedContent> + '_ {
        let named = |content, len, field| NamedContent {
            content,
            len,
            field,
        };
        let content = match &self.kind {
            Kind::File { size, content } => Some(named(*content, Some(*size), "size")),
            Kind::Directory { .. }
            | Kind::Symlink { .. }
            | Kind::Fifo
            | Kind::Socket
            | Kind::BlockDevice { .. }
            | Kind::CharDevice { .. } => None,
        };
        let xattrs = self
            .xattrs
            .iter()
            .filter_map(move |xattr| match xattr.value {
                XattrValue::Content { content, len } => {
                    Some(named(content, Some(u64::from(len)), "len of an xattr"))
                }
                XattrValue::Inline(_) => None,
            });
        content.into_iter().chain(xattrs)
    }
}
