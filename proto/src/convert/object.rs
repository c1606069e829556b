//! Records, names and changes.

use lfsfs_types::limits::{TARGET_LEN_MAX, XATTR_INLINE_LEN_MAX, XATTR_LEN_MAX, XATTRS_MAX};
use lfsfs_types::{
    ContentId, DirId, Kind, Link, LinkId, Name, Record, Sha256, Timestamp, Xattr, XattrName,
    XattrValue,
};

use super::{ProtocolError, id, required};
use crate::v1;

impl From<Timestamp> for v1::Timestamp {
    fn from(time: Timestamp) -> Self {
        Self {
            secs: time.secs,
            nanos: time.nanos,
        }
    }
}

impl TryFrom<v1::Timestamp> for Timestamp {
    type Error = ProtocolError;

    fn try_from(message: v1::Timestamp) -> Result<Self, ProtocolError> {
        timestamp("timestamp", message)
    }
}

/// Takes a point in time.
pub fn timestamp(field: &'static str, message: v1::Timestamp) -> Result<Timestamp, ProtocolError> {
    let v1::Timestamp { secs, nanos } = message;
    Timestamp::new(secs, nanos).ok_or_else(|| {
        ProtocolError::invalid(field, format!("{nanos} nanoseconds are a second or more"))
    })
}

impl From<&Record> for v1::Record {
    fn from(record: &Record) -> Self {
        Self {
            kind: Some((&record.kind).into()),
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            mtime: Some(record.mtime.into()),
            ctime: Some(record.ctime.into()),
            sha256: record.sha256.map(|sha256| sha256.as_bytes().to_vec()),
            link: record.link.map(|link| v1::Link {
                id: link.id.0,
                nlink: link.nlink,
            }),
            xattrs: record.xattrs.iter().map(v1::Xattr::from).collect(),
        }
    }
}

impl TryFrom<v1::Record> for Record {
    type Error = ProtocolError;

    fn try_from(message: v1::Record) -> Result<Self, ProtocolError> {
        if message.mode > 0o7777 {
            return Err(ProtocolError::invalid(
                "mode",
                format!("{:o}", message.mode),
            ));
        }
        let sha256 = message
            .sha256
            .map(|bytes| id("sha256", &bytes, Sha256::from_slice));
        Ok(Self {
            kind: required("kind", message.kind)?.try_into()?,
            mode: message.mode,
            uid: message.uid,
            gid: message.gid,
            mtime: timestamp("mtime", required("mtime", message.mtime)?)?,
            ctime: timestamp("ctime", required("ctime", message.ctime)?)?,
            sha256: sha256.transpose()?,
            link: message.link.map(|link| Link {
                id: LinkId(link.id),
                nlink: link.nlink,
            }),
            xattrs: xattrs(message.xattrs)?,
        })
    }
}

fn xattrs(messages: Vec<v1::Xattr>) -> Result<Vec<Xattr>, ProtocolError> {
    if messages.len() > XATTRS_MAX {
        return Err(ProtocolError::invalid("xattrs", "too many"));
    }
    let xattrs = messages
        .into_iter()
        .map(Xattr::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    if !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Err(ProtocolError::invalid("xattrs", "out of order"));
    }
    Ok(xattrs)
}

impl From<&Kind> for v1::record::Kind {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::File { size, content } => Self::File(v1::File {
                size: *size,
                content: content.as_bytes().to_vec(),
            }),
            Kind::Directory { dir } => Self::Directory(v1::Directory { dir: dir.0 }),
            Kind::Symlink { target } => Self::Symlink(v1::Symlink {
                target: target.to_vec(),
            }),
            Kind::Fifo => Self::Fifo(v1::Fifo {}),
            Kind::Socket => Self::Socket(v1::Socket {}),
            Kind::BlockDevice { rdev } => Self::BlockDevice(v1::Device { rdev: *rdev }),
            Kind::CharDevice { rdev } => Self::CharDevice(v1::Device { rdev: *rdev }),
        }
    }
}

impl TryFrom<v1::record::Kind> for Kind {
    type Error = ProtocolError;

    fn try_from(message: v1::record::Kind) -> Result<Self, ProtocolError> {
        use v1::record::Kind as Message;
        Ok(match message {
            Message::File(file) => Self::File {
                size: file.size,
                content: id("content", &file.content, ContentId::from_slice)?,
            },
            Message::Directory(directory) => Self::Directory {
                dir: DirId(directory.dir),
            },
            Message::Symlink(symlink) => Self::Symlink {
                target: target(symlink.target)?,
            },
            Message::Fifo(_) => Self::Fifo,
            Message::Socket(_) => Self::Socket,
            Message::BlockDevice(device) => Self::BlockDevice { rdev: device.rdev },
            Message::CharDevice(device) => Self::CharDevice { rdev: device.rdev },
        })
    }
}

fn target(bytes: Vec<u8>) -> Result<Box<[u8]>, ProtocolError> {
    if bytes.is_empty() || bytes.len() > TARGET_LEN_MAX || bytes.contains(&0) {
        return Err(ProtocolError::invalid(
            "target",
            "empty, too long or with NUL",
        ));
    }
    Ok(bytes.into())
}

impl From<&Xattr> for v1::Xattr {
    fn from(xattr: &Xattr) -> Self {
        let value = match &xattr.value {
            XattrValue::Inline(bytes) => v1::xattr::Value::Inline(bytes.to_vec()),
            XattrValue::Content { content, len } => v1::xattr::Value::Content(v1::XattrContent {
                content: content.as_bytes().to_vec(),
                len: *len,
            }),
        };
        Self {
            name: xattr.name.as_bytes().to_vec(),
            value: Some(value),
        }
    }
}

impl TryFrom<v1::Xattr> for Xattr {
    type Error = ProtocolError;

    fn try_from(message: v1::Xattr) -> Result<Self, ProtocolError> {
        let value = match required("value", message.value)? {
            v1::xattr::Value::Inline(bytes) if bytes.len() > XATTR_INLINE_LEN_MAX => {
                return Err(ProtocolError::invalid("inline", "too long"));
            }
            v1::xattr::Value::Inline(bytes) => XattrValue::Inline(bytes.into()),
            v1::xattr::Value::Content(value) if value.len as usize > XATTR_LEN_MAX => {
                return Err(ProtocolError::invalid("len", "too long"));
            }
            v1::xattr::Value::Content(value) => XattrValue::Content {
                content: id("content", &value.content, ContentId::from_slice)?,
                len: value.len,
            },
        };
        let name = XattrName::new(&message.name);
        Ok(Self {
            name: name.map_err(|error| ProtocolError::invalid("name", error))?,
            value,
        })
    }
}

/// Takes a name.
pub fn name(field: &'static str, bytes: &[u8]) -> Result<Name, ProtocolError> {
    Name::new(bytes).map_err(|error| ProtocolError::invalid(field, error))
}

/// Takes a name that may be absent.
pub fn optional_name(field: &'static str, bytes: &[u8]) -> Result<Option<Name>, ProtocolError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        name(field, bytes).map(Some)
    }
}

impl From<&(Name, Record)> for v1::Entry {
    fn from((name, record): &(Name, Record)) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            record: Some(record.into()),
        }
    }
}

impl TryFrom<v1::Entry> for (Name, Record) {
    type Error = ProtocolError;

    fn try_from(message: v1::Entry) -> Result<Self, ProtocolError> {
        Ok((
            name("name", &message.name)?,
            required("record", message.record)?.try_into()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            kind: Kind::File {
                size: 3,
                content: ContentId([7; 32]),
            },
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: Timestamp {
                secs: -5,
                nanos: 999_999_999,
            },
            ctime: Timestamp::default(),
            sha256: Some(Sha256([9; 32])),
            link: Some(Link {
                id: LinkId(4),
                nlink: 2,
            }),
            xattrs: vec![Xattr {
                name: XattrName::new(b"user.a").expect("a name"),
                value: XattrValue::Inline(b"b".as_slice().into()),
            }],
        }
    }

    #[test]
    fn a_record_goes_both_ways() {
        let kinds = [
            record().kind,
            Kind::Directory { dir: DirId(9) },
            Kind::Symlink {
                target: b"../x".as_slice().into(),
            },
            Kind::Fifo,
            Kind::Socket,
            Kind::BlockDevice { rdev: 5 },
            Kind::CharDevice { rdev: 6 },
        ];
        for kind in kinds {
            let record = Record { kind, ..record() };
            assert_eq!(Record::try_from(v1::Record::from(&record)), Ok(record));
        }
    }

    #[test]
    fn each_wrong_field_is_refused_by_name() {
        type Break = fn(&mut v1::Record);
        let breaks: [(&str, Break); 7] = [
            ("kind", |record| record.kind = None),
            ("mode", |record| record.mode = 0o10000),
            ("mtime", |record| record.mtime = None),
            ("ctime", |record| {
                record.ctime = Some(v1::Timestamp {
                    secs: 0,
                    nanos: 1_000_000_000,
                });
            }),
            ("sha256", |record| record.sha256 = Some(vec![1])),
            ("xattrs", |record| {
                record.xattrs.push(record.xattrs[0].clone());
            }),
            ("name", |record| record.xattrs[0].name = b"user.\0".to_vec()),
        ];
        for (field, make_wrong) in breaks {
            let mut message = v1::Record::from(&record());
            make_wrong(&mut message);
            let error = Record::try_from(message).expect_err(field);
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
    }
}
