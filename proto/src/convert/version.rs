//! Versions.

use lfsfs_types::{Origin, ProjectId, VersionCounts, VersionId, VersionNumber, VersionRecord};

use super::{ProtocolError, id, required};
use crate::v1;

impl From<&VersionRecord> for v1::Version {
    fn from(record: &VersionRecord) -> Self {
        Self {
            number: record.number.0,
            id: record.id.as_bytes().to_vec(),
            parent: record.parent.0,
            base: record.base.0,
            origin: Some(record.origin.into()),
            time: Some(record.time.into()),
            author: record.author.clone(),
            message: record.message.clone(),
            counts: Some(record.counts.into()),
        }
    }
}

impl TryFrom<v1::Version> for VersionRecord {
    type Error = ProtocolError;

    fn try_from(message: v1::Version) -> Result<Self, ProtocolError> {
        Ok(Self {
            number: VersionNumber(message.number),
            id: id("version id", &message.id, VersionId::from_slice)?,
            parent: VersionNumber(message.parent),
            base: VersionNumber(message.base),
            origin: required("origin", message.origin)?.try_into()?,
            time: required("time", message.time)?.try_into()?,
            author: message.author,
            message: message.message,
            counts: message.counts.unwrap_or_default().into(),
        })
    }
}

impl From<Origin> for v1::Origin {
    fn from(origin: Origin) -> Self {
        use v1::origin::Origin as Message;
        let unit = v1::Unit {};
        Self {
            origin: Some(match origin {
                Origin::Import => Message::Import(unit),
                Origin::Commit => Message::Commit(unit),
                Origin::Put => Message::Put(unit),
                Origin::Rollback(version) => Message::Rollback(version.0),
                Origin::Clone(project, version) => Message::Clone(v1::CloneOrigin {
                    project_id: project.as_bytes().to_vec(),
                    version: version.0,
                }),
            }),
        }
    }
}

impl TryFrom<v1::Origin> for Origin {
    type Error = ProtocolError;

    fn try_from(message: v1::Origin) -> Result<Self, ProtocolError> {
        use v1::origin::Origin as Message;
        Ok(match required("origin", message.origin)? {
            Message::Import(_) => Self::Import,
            Message::Commit(_) => Self::Commit,
            Message::Put(_) => Self::Put,
            Message::Rollback(version) => Self::Rollback(VersionNumber(version)),
            Message::Clone(clone) => Self::Clone(
                id("project_id", &clone.project_id, ProjectId::from_slice)?,
                VersionNumber(clone.version),
            ),
        })
    }
}

impl From<VersionCounts> for v1::VersionCounts {
    fn from(counts: VersionCounts) -> Self {
        let VersionCounts {
            objects,
            bytes,
            added,
            removed,
            modified,
            path_len,
        } = counts;
        Self {
            objects,
            bytes,
            added,
            removed,
            modified,
            path_len,
        }
    }
}

impl From<v1::VersionCounts> for VersionCounts {
    fn from(message: v1::VersionCounts) -> Self {
        let v1::VersionCounts {
            objects,
            bytes,
            added,
            removed,
            modified,
            path_len,
        } = message;
        Self {
            objects,
            bytes,
            added,
            removed,
            modified,
            path_len,
        }
    }
}
