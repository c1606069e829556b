//! The small files of an overlay's directory: `format`, `lock`, `source`, `current`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use lfsfs_common::PathError;
use lfsfs_common::durable::{create_dir_all_durable, write_file_atomically};
use lfsfs_common::flock::{FileLock, LockMode};
use lfsfs_common::random::random_bytes;
use lfsfs_types::{ProjectId, Reader, VersionId, VersionNumber, Writer};

use crate::base::{Base, ProjectBase};
use crate::error::{Damage, OverlayError};

const FORMAT_TEXT: &[u8] = b"lfsfs overlay 1\n";
const FORMAT: u8 = 1;

/// What the `source` file says: what the overlay began above, and its own identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) source: ProjectBase,
    pub(crate) overlay: [u8; 16],
}

/// Creates the directory where it is missing and takes its lock.
pub(crate) fn lock(dir: &Path, wait: Duration) -> Result<FileLock, OverlayError> {
    create_dir_all_durable(dir)?;
    let lock = FileLock::acquire_within(&dir.join("lock"), LockMode::Exclusive, wait)?;
    lock.ok_or_else(|| OverlayError::InUse {
        path: dir.to_owned(),
    })
}

/// Returns true if an overlay was made in the directory.
pub(crate) fn exists(dir: &Path) -> bool {
    dir.join("format").exists()
}

/// Returns the identity of the overlay, which is made above `source` if there is none yet.
pub(crate) fn open_or_create(dir: &Path, source: &ProjectBase) -> Result<Identity, OverlayError> {
    let format = dir.join("format");
    match read_optional(&format)? {
        Some(found) if found == FORMAT_TEXT => {}
        Some(found) => {
            let found = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
            return Err(OverlayError::OtherFormat {
                path: dir.to_owned(),
                found,
            });
        }
        None => write_file_atomically(&format, FORMAT_TEXT).map_err(OverlayError::of_write)?,
    }
    if let Some(identity) = read_source(dir)? {
        return Ok(identity);
    }
    let overlay = random_bytes().map_err(PathError::wrap("draw an id for", dir))?;
    let identity = Identity {
        source: *source,
        overlay,
    };
    write_file_atomically(&dir.join("source"), &identity.encode())
        .map_err(OverlayError::of_write)?;
    Ok(identity)
}

fn read_source(dir: &Path) -> Result<Option<Identity>, OverlayError> {
    let path = dir.join("source");
    let Some(bytes) = read_optional(&path)? else {
        return Ok(None);
    };
    let identity = Identity::parse(&bytes).map_err(|problem| damaged(&path, problem))?;
    Ok(Some(identity))
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let base = self.source.base;
        writer.u8(FORMAT).raw(self.source.project.as_bytes());
        writer
            .varint(base.number.0)
            .raw(base.id.as_bytes())
            .raw(&self.overlay);
        with_checksum(writer)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new("source of an overlay", checked(bytes)?);
        reader.format(FORMAT)?;
        let project = ProjectId(reader.array()?);
        let number = VersionNumber(reader.varint()?);
        let base = Base {
            number,
            id: VersionId(reader.array()?),
        };
        let overlay = reader.array()?;
        reader.finish()?;
        Ok(Self {
            source: ProjectBase { project, base },
            overlay,
        })
    }
}

/// Returns the number of the checkpoint that replay begins with.
pub(crate) fn read_current(dir: &Path) -> Result<Option<u32>, OverlayError> {
    let path = dir.join("current");
    let Some(bytes) = read_optional(&path)? else {
        return Ok(None);
    };
    let parse = || -> Result<u32, Damage> {
        let mut reader = Reader::new("name of a checkpoint", checked(&bytes)?);
        reader.format(FORMAT)?;
        let number = reader.u32()?;
        reader.finish()?;
        Ok(number)
    };
    parse().map(Some).map_err(|problem| damaged(&path, problem))
}

/// Returns the bytes of a `current` file.
pub(crate) fn encode_current(number: u32) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(FORMAT).u32(number);
    with_checksum(writer)
}

fn with_checksum(mut writer: Writer) -> Vec<u8> {
    let bytes = std::mem::take(&mut writer).finish();
    let checksum = crc32c::crc32c(&bytes);
    writer.raw(&bytes).u32(checksum);
    writer.finish()
}

fn checked(bytes: &[u8]) -> Result<&[u8], Damage> {
    let (bytes, checksum) = bytes.split_last_chunk().ok_or(Damage::Record)?;
    if crc32c::crc32c(bytes) == u32::from_be_bytes(*checksum) {
        Ok(bytes)
    } else {
        Err(Damage::Record)
    }
}

fn damaged(path: &Path, problem: Damage) -> OverlayError {
    OverlayError::Damaged {
        path: path.to_owned(),
        position: 0,
        problem,
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, PathError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PathError::new("read", path, error)),
    }
}

/// Returns the id of the machine's boot; zeros where the system does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}
