//! The record of a version. Formats 1 and 2, docs/formats.md "Version record".

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{ProjectId, VersionId, VersionNumber};
use crate::limits::{AUTHOR_LEN_MAX, MESSAGE_LEN_MAX};
use crate::timestamp::Timestamp;

const FORMAT: u8 = 1;
/// As format 1, with how long paths are at most.
const FORMAT_PATH_LEN: u8 = 2;

/// How a version came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A directory was imported.
    Import,
    /// A mount was committed.
    Commit,
    /// One file was put, or deleted, by the chunk interface.
    Put,
    /// An earlier version was made the newest again.
    Rollback(VersionNumber),
    /// A version of another project was taken over.
    Clone(ProjectId, VersionNumber),
}

/// What a version holds and what it changed, counted when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionCounts {
    /// Entries in the whole version, the root not counted.
    pub objects: u64,
    /// Sum of the sizes of all names of files.
    pub bytes: u64,
    /// Entries that were not there before.
    pub added: u64,
    /// Entries that are there no more.
    pub removed: u64,
    /// Entries that changed.
    pub modified: u64,
    /// No path of the version has more bytes; `None` in versions that were not measured.
    pub path_len: Option<u32>,
}

/// One version of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    /// Its number.
    pub number: VersionNumber,
    /// Its own random id.
    pub id: VersionId,
    /// The version before it.
    pub parent: VersionNumber,
    /// The version that the changes were made on.
    pub base: VersionNumber,
    /// How it came to be.
    pub origin: Origin,
    /// When it was published.
    pub time: Timestamp,
    /// Its author.
    pub author: String,
    /// Its message: why it was made.
    pub message: String,
    /// What it holds.
    pub counts: VersionCounts,
}

impl VersionRecord {
    /// Returns the record, in format 1 if its paths were not measured.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let format = match self.counts.path_len {
            None => FORMAT,
            Some(_) => FORMAT_PATH_LEN,
        };
        writer
            .u8(format)
            .varint(self.number.0)
            .raw(self.id.as_bytes());
        writer.varint(self.parent.0).varint(self.base.0);
        match self.origin {
            Origin::Import => writer.u8(1),
            Origin::Commit => writer.u8(2),
            Origin::Rollback(version) => writer.u8(3).varint(version.0),
            Origin::Clone(project, version) => {
                writer.u8(4).raw(project.as_bytes()).varint(version.0)
            }
            Origin::Put => writer.u8(5),
        };
        self.time.encode(&mut writer);
        writer
            .bytes(self.author.as_bytes())
            .bytes(self.message.as_bytes());
        let VersionCounts {
            objects,
            bytes,
            added,
            removed,
            modified,
            path_len,
        } = self.counts;
        for count in [objects, bytes, added, removed, modified] {
            writer.varint(count);
        }
        if let Some(len) = path_len {
            writer.varint(u64::from(len));
        }
        writer.finish()
    }

    /// Decodes a record that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("version record", bytes);
        let format = reader.u8()?;
        if !matches!(format, FORMAT | FORMAT_PATH_LEN) {
            return Err(reader.error("unknown format number"));
        }
        let record = Self {
            number: VersionNumber(reader.varint()?),
            id: VersionId(reader.array()?),
            parent: VersionNumber(reader.varint()?),
            base: VersionNumber(reader.varint()?),
            origin: decode_origin(&mut reader)?,
            time: Timestamp::decode(&mut reader)?,
            author: decode_text(&mut reader, AUTHOR_LEN_MAX)?,
            message: decode_text(&mut reader, MESSAGE_LEN_MAX)?,
            counts: VersionCounts {
                objects: reader.varint()?,
                bytes: reader.varint()?,
                added: reader.varint()?,
                removed: reader.varint()?,
                modified: reader.varint()?,
                path_len: match format {
                    FORMAT => None,
                    _ => Some(reader.varint32()?),
                },
            },
        };
        reader.finish()?;
        Ok(record)
    }
}

fn decode_origin(reader: &mut Reader<'_>) -> Result<Origin, DecodeError> {
    Ok(match reader.u8()? {
        1 => Origin::Import,
        2 => Origin::Commit,
        3 => Origin::Rollback(VersionNumber(reader.varint()?)),
        4 => Origin::Clone(ProjectId(reader.array()?), VersionNumber(reader.varint()?)),
        5 => Origin::Put,
        _ => return Err(reader.error("unknown origin")),
    })
}

fn decode_text(reader: &mut Reader<'_>, len_max: usize) -> Result<String, DecodeError> {
    let bytes = reader.bytes(len_max)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| reader.error("text is not UTF-8"))
}
