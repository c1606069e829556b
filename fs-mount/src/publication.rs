//! The record of a version that is published later: the file `publication` beside the log of an overlay.
//!
//! docs/formats.md describes the bytes, docs/durability.md the order of writes. It is there before the seal that it
//! is about; what it says counts as long as the overlay has that seal, or as it says why there is no version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::{remove_file_durably, write_file_atomically};
use lfsfs_types::VersionId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::ControlError;

const FILE: &str = "publication";
const FORMAT: u32 = 1;

/// A version that is published later, or was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The random id that it will have, and that its seal has.
    pub(crate) version: VersionId,
    /// Who makes it.
    pub(crate) author: String,
    /// Why.
    pub(crate) message: String,
    /// Whether it is made even where others changed the same.
    pub(crate) force: bool,
    /// Whether what differs in its times alone keeps those.
    pub(crate) ignore_times: bool,
    /// When it was asked for, in seconds since 1970.
    pub(crate) asked: u64,
    /// Why there is no version, if it was refused.
    pub(crate) refused: Option<ControlError>,
}

/// The record as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPublication {
    format: u32,
    version: String,
    author: String,
    message: String,
    force: bool,
    ignore_times: bool,
    asked: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<ControlError>,
}

/// Why a record cannot be read.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("{} is not understood: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
}

/// Where the record of an overlay lies.
#[derive(Debug, Clone)]
pub(crate) struct PublicationFile(PathBuf);

impl PublicationFile {
    /// Returns the file of the overlay in a directory.
    pub(crate) fn of(overlay: &Path) -> Self {
        Self(overlay.join(FILE))
    }

    /// Reads the record, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Publication>, RecordError> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PathError::new("read", &self.0, error).into()),
        };
        let publication = Publication::decode(&bytes);
        publication
            .map(Some)
            .map_err(|problem| RecordError::Damaged {
                path: self.0.clone(),
                problem,
            })
    }

    /// Puts a record in the place of the one before; on return it survives a power loss.
    pub(crate) fn write(&self, publication: &Publication) -> Result<(), PathError> {
        let bytes = publication.encode();
        let bytes = bytes.map_err(|error| PathError::new("write", &self.0, error.into()))?;
        write_file_atomically(&self.0, &bytes)
    }

    /// Removes the record, if there is one.
    pub(crate) fn remove(&self) -> Result<(), PathError> {
        if self.0.exists() {
            remove_file_durably(&self.0)?;
        }
        Ok(())
    }
}

impl Publication {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let Self {
            version,
            author,
            message,
            force,
            ignore_times,
            asked,
            refused,
        } = self.clone();
        let mut bytes = serde_json::to_vec(&JsonPublication {
            format: FORMAT,
            version: version.to_string(),
            author,
            message,
            force,
            ignore_times,
            asked,
            refused,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let json: JsonPublication =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if json.format != FORMAT {
            return Err(format!("format {} is not known", json.format));
        }
        let version = VersionId::try_from_hex(&json.version);
        Ok(Self {
            version: version.map_err(|error| error.to_string())?,
            author: json.author,
            message: json.message,
            force: json.force,
            ignore_times: json.ignore_times,
            asked: json.asked,
            refused: json.refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ControlErrorKind;

    fn publication() -> Publication {
        Publication {
            version: VersionId([7; 16]),
            author: "me@here".to_owned(),
            message: "why\nand \"how\"".to_owned(),
            force: false,
            ignore_times: true,
            asked: 1_790_000_000,
            refused: None,
        }
    }

    const GOLDEN: &str = "{\"format\":1,\"version\":\"07070707070707070707070707070707\",\"author\":\"me@here\",\
        \"message\":\"why\\nand \\\"how\\\"\",\"force\":false,\"ignore_times\":true,\"asked\":1790000000}\n";
    const GOLDEN_REFUSED: &str = "{\"format\":1,\"version\":\"07070707070707070707070707070707\",\
        \"author\":\"me@here\",\"message\":\"why\\nand \\\"how\\\"\",\"force\":false,\"ignore_times\":true,\
        \"asked\":1790000000,\"refused\":{\"kind\":\"conflict\",\"message\":\"1 path conflicts\",\"hint\":null,\
        \"paths\":[[97]],\"paths_count\":1}}\n";

    #[test]
    fn the_bytes_of_a_record_are_what_formats_md_says() {
        let waiting = publication();
        let refused = Publication {
            refused: Some(ControlError {
                paths: vec![b"a".to_vec()],
                paths_count: 1,
                ..ControlError::new(ControlErrorKind::Conflict, "1 path conflicts")
            }),
            ..publication()
        };
        for (record, golden) in [(waiting, GOLDEN), (refused, GOLDEN_REFUSED)] {
            let bytes = record.encode().unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), golden);
            assert_eq!(Publication::decode(golden.as_bytes()), Ok(record));
        }
    }

    #[test]
    fn a_record_is_there_whole_or_not_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = PublicationFile::of(dir.path());
        assert!(file.read().unwrap().is_none());
        file.remove().unwrap();
        file.write(&publication()).unwrap();
        assert_eq!(file.read().unwrap(), Some(publication()));
        for bytes in ["", "{}", &GOLDEN.replace(":1,", ":2,"), &GOLDEN[..50]] {
            fs::write(dir.path().join(FILE), bytes).unwrap();
            assert!(file.read().is_err(), "{bytes}");
        }
        file.remove().unwrap();
        assert!(file.read().unwrap().is_none());
    }
}
