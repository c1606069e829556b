//! Small immutable files that carry the SHA-256 of their own bytes in front.
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

const SEAL_LEN: usize = 32;

/// Reads the payload of the file at `path`; a damaged file is removed.
pub(crate) fn read(path: &Path) -> io::Result<(Found<Bytes>, Option<File>)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Found::Absent, None)),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(payload) = unseal(bytes) else {
        remove(path)?;
        return Ok((Found::Damaged, None));
    };
    Ok((Found::Whole(payload), Some(file)))
}

/// Writes the file at `path`, replacing what is there.
pub(crate) fn write(path: &Path, payload: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut temp = TempFile::create_in(dir).map_err(|error| error.source)?;
    temp.file_mut().write_all(&Sha256::digest(payload))?;
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

fn unseal(bytes: Vec<u8>) -> Option<Bytes> {
    let (seal, payload) = bytes.split_at_checked(SEAL_LEN)?;
    (Sha256::digest(payload).as_slice() == seal).then_some(())?;
    Some(Bytes::from(bytes).slice(SEAL_LEN..))
}
