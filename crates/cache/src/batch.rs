//! Many listings in one immutable file.
//!
//! In front stand which listings there are and where, with a checksum; behind it each listing behind a hash of its own,
//! as in a file of one listing ([`sealed`](crate::sealed)). So what a reader needs to know is read once, and a listing
//! by one read at its place. A file is named by what it holds, is written beside its place and renamed into it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use lfsfs_common::durable::TempFile;
use lfsfs_types::{DirId, VersionId};
use sha2::{Digest as _, Sha256};

use crate::chunk_file::Found;
use crate::sealed::{SEAL_LEN, seal};

const MAGIC: &[u8; 4] = b"LFSB";
const FORMAT: u8 = 1;
/// Magic, format and three zeros, the number of listings, and the checksum of these and the index.
const HEAD_LEN: usize = 16;
const ENTRY_LEN: usize = 32;

/// A listing that is to be kept.
pub(crate) type Stored = (DirId, VersionId, Bytes);

/// Where a listing lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) dir: DirId,
    pub(crate) version: VersionId,
    /// Of the hash in front of it.
    offset: u32,
    len: u32,
}

/// Returns where listings lie in their file; `None` if they are too long for one.
fn index_of(listings: &[Stored]) -> Option<Vec<Slot>> {
    let mut offset = HEAD_LEN + listings.len() * ENTRY_LEN;
    let mut slots = Vec::with_capacity(listings.len());
    for (dir, version, bytes) in listings.iter() {
        slots.push(Slot {
            dir: *dir,
            version: *version,
            offset: u32::try_from(offset).ok()?,
            len: u32::try_from(bytes.len()).ok()?,
        });
        offset = offset.checked_add(SEAL_LEN + bytes.len())?;
    }
    Some(slots)
}

/// Returns what a file with these listings is called.
pub(crate) fn name_of(listings: &[Stored]) -> String {
    let mut hash = Sha256::new();
    for (dir, version, _) in listings {
        hash.update(dir.0.to_be_bytes());
        hash.update(version.as_bytes());
    }
    let hash = hash.finalize();
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Puts listings into the order of their file.
pub(crate) fn sort(listings: &mut [Stored]) {
    listings.sort_by_key(|(dir, version, _)| (*dir, *version));
}

/// Writes the file at `path`, called `name`, with sorted listings, and returns where they lie.
pub(crate) fn write(path: &Path, name: &[u8], listings: &[Stored]) -> io::Result<Vec<Slot>> {
    let too_many = || io::Error::other("too many listings for one file");
    let slots = index_of(listings).ok_or_else(too_many)?;
    let count = u32::try_from(slots.len()).map_err(|_| too_many())?;
    let index: Vec<u8> = slots.iter().flat_map(entry).collect();
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut temp = TempFile::create_in(dir).map_err(|error| error.source)?;
    let mut bytes = Vec::from(head(name, count, &index));
    bytes.extend_from_slice(&index);
    for ((_, _, listing), slot) in listings.iter().zip(&slots) {
        bytes.extend_from_slice(&seal(&sealed_name(name, slot), listing));
        bytes.extend_from_slice(listing);
    }
    temp.file_mut().write_all(&bytes)?;
    temp.persist_without_sync(path)
        .map_err(|error| error.source)?;
    Ok(slots)
}

/// Reads which listings the file at `path` has.
pub(crate) fn read_index(path: &Path, name: &[u8]) -> io::Result<Found<Vec<Slot>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        other => other?,
    };
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut first = [0; HEAD_LEN];
    if len < HEAD_LEN {
        return Ok(Found::Damaged);
    }
    file.read_exact_at(&mut first, 0)?;
    let count = u32::from_be_bytes([first[8], first[9], first[10], first[11]]);
    let index_len = count as usize * ENTRY_LEN;
    if index_len > len - HEAD_LEN {
        return Ok(Found::Damaged);
    }
    let mut index = vec![0; index_len];
    file.read_exact_at(&mut index, HEAD_LEN as u64)?;
    if head(name, count, &index) != first {
        return Ok(Found::Damaged);
    }
    let slots = index.chunks_exact(ENTRY_LEN).map(slot);
    Ok(Found::Whole(slots.collect()))
}

/// Reads one listing of the file at `path`.
pub(crate) fn read(
    path: &Path,
    name: &[u8],
    slot: &Slot,
) -> io::Result<(Found<Bytes>, Option<File>)> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Found::Absent, None)),
        other => other?,
    };
    let end = u64::from(slot.offset) + SEAL_LEN as u64 + u64::from(slot.len);
    if end > file.metadata()?.len() {
        return Ok((Found::Damaged, None));
    }
    let mut bytes = vec![0; SEAL_LEN + slot.len as usize];
    file.read_exact_at(&mut bytes, u64::from(slot.offset))?;
    let (found, listing) = bytes.split_at(SEAL_LEN);
    if seal(&sealed_name(name, slot), listing) != found {
        return Ok((Found::Damaged, None));
    }
    Ok((
        Found::Whole(Bytes::from(bytes).slice(SEAL_LEN..)),
        Some(file),
    ))
}

fn head(name: &[u8], count: u32, index: &[u8]) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[..4].copy_from_slice(MAGIC);
    head[4] = FORMAT;
    head[8..12].copy_from_slice(&count.to_be_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(name), &head[..12]);
    let sum = crc32c::crc32c_append(sum, index);
    head[12..].copy_from_slice(&sum.to_be_bytes());
    head
}

fn entry(slot: &Slot) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..8].copy_from_slice(&slot.dir.0.to_be_bytes());
    entry[8..24].copy_from_slice(slot.version.as_bytes());
    entry[24..28].copy_from_slice(&slot.offset.to_be_bytes());
    entry[28..].copy_from_slice(&slot.len.to_be_bytes());
    entry
}

fn slot(entry: &[u8]) -> Slot {
    let number = |at: usize| {
        let bytes: [u8; 4] = std::array::from_fn(|index| entry[at + index]);
        u32::from_be_bytes(bytes)
    };
    Slot {
        dir: DirId(u64::from(number(0)) << 32 | u64::from(number(4))),
        version: VersionId(std::array::from_fn(|index| entry[8 + index])),
        offset: number(24),
        len: number(28),
    }
}

/// What the hash of a listing covers beside its bytes: where it belongs.
fn sealed_name(name: &[u8], slot: &Slot) -> Vec<u8> {
    let mut sealed = name.to_vec();
    sealed.push(0);
    sealed.extend_from_slice(&slot.dir.0.to_be_bytes());
    sealed.extend_from_slice(slot.version.as_bytes());
    sealed
}
