//! Small immutable files that carry the SHA-256 of their name and their bytes in front.
//!
//! They are written beside their place and renamed into it, so that a reader finds all of one or
//! nothing; after a power loss the hash tells.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use lfsfs_common::durable::TempFile;
use sha2::{Digest as _, Sha256};

use crate::chunk_file::Found;

pub(crate) const SEAL_LEN: usize = 32;

/// Reads the payload of the file at `path`, which was written as `name`; a damaged one is removed.
pub(crate) fn read(path: &Path, name: &[u8]) -> io::Result<(Found<Bytes>, Option<File>)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Found::Absent, None)),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(payload) = unseal(bytes, name) else {
        remove(path)?;
        return Ok((Found::Damaged, None));
    };
    Ok((Found::Whole(payload), Some(file)))
}

/// Writes the file at `path`, replacing what is there.
pub(crate) fn write(path: &Path, name: &[u8], payload: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut temp = TempFile::create_in(dir).map_err(|error| error.source)?;
    temp.file_mut().write_all(&seal(name, payload))?;
    temp.file_mut().write_all(payload)?;
    temp.persist_without_sync(path)
        .map_err(|error| error.source)?;
    Ok(())
}

/// Removes the file at `path` if there is one.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The name ends with a zero byte, which no name has, so no two of name and payload look alike.
pub(crate) fn seal(name: &[u8], payload: &[u8]) -> [u8; SEAL_LEN] {
    let hash = Sha256::new().chain_update(name).chain_update([0]);
    hash.chain_update(payload).finalize().into()
}

fn unseal(bytes: Vec<u8>, name: &[u8]) -> Option<Bytes> {
    let (found, payload) = bytes.split_at_checked(SEAL_LEN)?;
    (seal(name, payload) == found).then_some(())?;
    Some(Bytes::from(bytes).slice(SEAL_LEN..))
}
