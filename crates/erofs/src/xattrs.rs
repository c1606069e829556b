//! Extended attributes behind an inode.

use lfsfs_types::{Record, Xattr, XattrValue};

use crate::error::RenderError;

const HEADER_LEN: usize = 12;
/// The count of 4 byte units is kept in 16 bits.
const LEN_MAX: usize = HEADER_LEN + 4 * (u16::MAX as usize - 1);

/// Namespaces, as EROFS numbers them. A name is kept without what stands here.
const NAMESPACES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The attributes of one object, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Xattrs {
    pub(crate) bytes: Vec<u8>,
}

impl Xattrs {
    /// Encodes the attributes of a record. Those whose value is a content, or has more than 65,535 bytes, or
    /// whose namespace the kernel does not know, are left out.
    pub(crate) fn of(record: &Record) -> Result<Self, RenderError> {
        let mut bytes = Vec::new();
        record
            .xattrs
            .iter()
            .for_each(|xattr| add(&mut bytes, xattr));
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let len = HEADER_LEN + bytes.len();
        if len > LEN_MAX {
            return Err(RenderError::Xattrs { len });
        }
        bytes.splice(0..0, [0; HEADER_LEN]);
        Ok(Self { bytes })
    }

    /// Returns what the inode says of their length.
    pub(crate) fn count(&self) -> u16 {
        let Some(entries) = self.bytes.len().checked_sub(HEADER_LEN) else {
            return 0;
        };
        u16::try_from(entries / 4 + 1).unwrap_or(u16::MAX)
    }
}

fn add(bytes: &mut Vec<u8>, xattr: &Xattr) {
    let name = xattr.name.as_bytes();
    let namespace = NAMESPACES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix));
    let (Some((prefix, index)), XattrValue::Inline(value)) = (namespace, &xattr.value) else {
        return;
    };
    let name = &name[prefix.len()..];
    let (Ok(name_len), Ok(value_len)) = (u8::try_from(name.len()), u16::try_from(value.len()))
    else {
        return;
    };
    bytes.extend_from_slice(&[name_len, *index]);
    bytes.extend_from_slice(&value_len.to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
