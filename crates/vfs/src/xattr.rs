//! Extended attributes: those of the record, and one that tells the version.

use bytes::Bytes;
use lfsfs_remote::Snapshot;
use lfsfs_types::{ContentId, NamespaceError, Record, XattrName, XattrValue};

use crate::error::VfsError;

/// Tells on the root what is mounted. It is not listed, so that copies of the tree do not have it.
pub(crate) const VERSION: &[u8] = b"user.lfsfs.version";

/// Where the value of an attribute is.
pub(crate) enum Value {
    /// Here.
    Known(Bytes),
    /// In a content of this length.
    Content(ContentId, u64),
}

/// Returns the value of the root's own attribute.
pub(crate) fn version(snapshot: &Snapshot) -> Bytes {
    let project = snapshot.project.name.as_str();
    format!("{project}@{}", snapshot.version.number).into()
}

/// Returns the error for an attribute that is not there. As on local file systems, a name that none can
/// have is told apart from one that is not set.
pub(crate) fn absent(name: &[u8]) -> VfsError {
    match XattrName::new(name).map(|name| name.namespace()) {
        Ok(Err(error)) => without_namespace(error),
        Ok(Ok(_)) | Err(_) => VfsError::NoAttribute,
    }
}

/// Returns the error for a name that no local file system takes.
pub(crate) fn without_namespace(error: NamespaceError) -> VfsError {
    match error {
        NamespaceError::Unknown => VfsError::Unsupported {
            what: "a namespace of extended attributes",
        },
        NamespaceError::NoName => VfsError::Invalid,
    }
}

/// Returns the value of an attribute of a record.
pub(crate) fn find(record: &Record, name: &[u8]) -> Option<Value> {
    let found = record
        .xattrs
        .iter()
        .find(|xattr| xattr.name.as_bytes() == name)?;
    Some(match &found.value {
        XattrValue::Inline(bytes) => Value::Known(Bytes::copy_from_slice(bytes)),
        XattrValue::Content { content, len } => Value::Content(*content, u64::from(*len)),
    })
}

/// Returns the names of all attributes, each with a NUL behind it.
pub(crate) fn names(record: &Record) -> Bytes {
    let mut names = Vec::new();
    for xattr in &record.xattrs {
        names.extend_from_slice(xattr.name.as_bytes());
        names.push(0);
    }
    names.into()
}
