//! One file of the log: a header and records.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;

use crate::error::{Damage, OverlayError};
use crate::extent::Location;
use crate::log::record::{self, number32, number64};

/// The bytes before the first record.
pub(crate) const HEADER_LEN: usize = 56;
const MAGIC: &[u8; 4] = b"LFSO";
const FORMAT: u8 = 1;

/// What the records of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Operations.
    Operations,
    /// A whole state.
    Checkpoint,
}

impl SegmentKind {
    fn tag(self) -> u8 {
        match self {
            Self::Operations => 1,
            Self::Checkpoint => 2,
        }
    }

    pub(crate) fn file_name(self, number: u32) -> String {
        match self {
            Self::Operations => format!("{number:08}.log"),
            Self::Checkpoint => format!("{number:08}.checkpoint"),
        }
    }
}

/// The header of a file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: SegmentKind,
    pub(crate) number: u32,
    /// The sequence number of the first operation, or of the first after a checkpoint.
    pub(crate) first_sequence: u64,
    /// The identity of the overlay.
    pub(crate) overlay: [u8; 16],
    /// The boot of the machine during which the file was begun.
    pub(crate) boot: [u8; 16],
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT, self.kind.tag(), 0, 0]);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_be_bytes());
        bytes.extend_from_slice(&self.overlay);
        bytes.extend_from_slice(&self.boot);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Returns the header at the beginning of `bytes`, or `None` if none is there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_LEN)?;
        let kind = match bytes[5] {
            1 => SegmentKind::Operations,
            2 => SegmentKind::Checkpoint,
            _ => return None,
        };
        let header = Self {
            kind,
            number: number32(bytes, 8)?,
            first_sequence: number64(bytes, 12)?,
            overlay: bytes[20..36].try_into().ok()?,
            boot: bytes[36..52].try_into().ok()?,
        };
        // One comparison checks the magic, the format, the zeros and the checksum.
        (header.encode() == bytes).then_some(header)
    }

    /// Returns from where the checksums of the file's records begin.
    pub(crate) fn seed(&self) -> u32 {
        let overlay = crc32c::crc32c(&self.overlay);
        crc32c::crc32c_append(overlay, &self.number.to_be_bytes())
    }
}

/// An open file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) seed: u32,
    pub(crate) file: File,
}

impl Segment {
    /// Creates the file with its header; nothing is synced. On an error no file is left.
    pub(crate) fn create(dir: &Path, header: &SegmentHeader) -> Result<Self, PathError> {
        let path = dir.join(header.kind.file_name(header.number));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            // It holds bytes of files that may be private.
            .mode(0o600)
            .open(&path)
            .map_err(PathError::wrap("create", &path))?;
        if let Err(error) = file.write_all_at(&header.encode(), 0) {
            // Best effort: a file without a header is swept at the next start too.
            let _ = std::fs::remove_file(&path);
            return Err(PathError::new("write", path, error));
        }
        Ok(Self {
            number: header.number,
            path,
            seed: header.seed(),
            file,
        })
    }

    /// Opens a file that exists for reading.
    pub(crate) fn open(dir: &Path, number: u32) -> Result<Self, OverlayError> {
        let path = dir.join(SegmentKind::Operations.file_name(number));
        let missing = |path: PathBuf, problem| OverlayError::Damaged {
            path,
            position: 0,
            problem,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(path, Damage::Missing));
            }
            Err(error) => return Err(PathError::new("open", path, error).into()),
        };
        let mut bytes = [0; HEADER_LEN];
        let header = file
            .read_exact_at(&mut bytes, 0)
            .ok()
            .and_then(|()| SegmentHeader::parse(&bytes));
        match header {
            Some(header) if header.number == number => Ok(Self {
                number,
                path,
                seed: header.seed(),
                file,
            }),
            _ => Err(missing(path, Damage::Header)),
        }
    }

    /// Returns `len` bytes of an extent. The whole record is read and its checksum verified.
    pub(crate) fn read(&self, location: Location, len: usize) -> Result<Vec<u8>, OverlayError> {
        let damaged = || OverlayError::Damaged {
            path: self.path.clone(),
            position: u64::from(location.record),
            problem: Damage::Record,
        };
        let record_len = location.record_len as usize;
        if record_len > record::RECORD_LEN_MAX {
            return Err(damaged());
        }
        let mut bytes = vec![0; record_len];
        match self
            .file
            .read_exact_at(&mut bytes, u64::from(location.record))
        {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(damaged());
            }
            Err(error) => return Err(PathError::new("read", &self.path, error).into()),
        }
        let record = record::parse(self.seed, &bytes).ok_or_else(damaged)?;
        let start = location.skip as usize;
        let end = start.checked_add(len).ok_or_else(damaged)?;
        if start < record.data_at() || end > record.len() || record.len() != record_len {
            return Err(damaged());
        }
        bytes.truncate(end);
        bytes.drain(..start);
        Ok(bytes)
    }

    pub(crate) fn len(&self) -> Result<u64, PathError> {
        let metadata = self
            .file
            .metadata()
            .map_err(PathError::wrap("examine", &self.path))?;
        Ok(metadata.len())
    }
}
