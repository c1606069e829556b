//! Which listing each directory has at a version: an append-only log of fixed records.
//!
//! A record is a directory id (8 bytes), a listing version (16) and a CRC-32C (4). Several
//! processes append at once; each record goes out in one write. Whatever does not check is skipped
//! byte by byte, so a torn or damaged record costs itself and nothing behind it.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use lfsfs_types::{DirId, VersionId};

const PAYLOAD_LEN: usize = 24;
const RECORD_LEN: usize = PAYLOAD_LEN + 4;

/// What a log says, and whether parts of it do not check.
pub(crate) struct Index {
    pub(crate) listings: HashMap<DirId, VersionId>,
    pub(crate) damaged: bool,
}

/// Reads the log at `path`; one that is missing is empty.
pub(crate) fn read(path: &Path) -> io::Result<Index> {
    match fs::read(path) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse(&[])),
        Err(error) => Err(error),
    }
}

/// Appends records, each whole or not at all unless the machine stops meanwhile.
pub(crate) fn append(path: &Path, entries: &[(DirId, VersionId)]) -> io::Result<()> {
    let bytes: Vec<u8> = entries.iter().flat_map(record).collect();
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(&bytes)
}

fn parse(bytes: &[u8]) -> Index {
    let mut listings = HashMap::new();
    let mut rest = bytes;
    let mut damaged = false;
    while let Some(record) = rest.first_chunk::<RECORD_LEN>() {
        if let Some((dir, version)) = check(record) {
            listings.insert(dir, version);
            rest = &rest[RECORD_LEN..];
        } else {
            damaged = true;
            rest = &rest[1..];
        }
    }
    // What is left is a record that was torn, or that somebody is appending at this moment.
    Index { listings, damaged }
}

fn check(record: &[u8; RECORD_LEN]) -> Option<(DirId, VersionId)> {
    let (payload, sum) = record.split_at(PAYLOAD_LEN);
    if crc32c::crc32c(payload).to_be_bytes() != sum {
        return None;
    }
    let (dir, version) = payload.split_first_chunk::<8>()?;
    Some((
        DirId(u64::from_be_bytes(*dir)),
        VersionId::from_slice(version)?,
    ))
}

fn record((dir, version): &(DirId, VersionId)) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    record[..8].copy_from_slice(&dir.0.to_be_bytes());
    record[8..PAYLOAD_LEN].copy_from_slice(version.as_bytes());
    let sum = crc32c::crc32c(&record[..PAYLOAD_LEN]);
    record[PAYLOAD_LEN..].copy_from_slice(&sum.to_be_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<(DirId, VersionId)> {
        (1..=5u8)
            .map(|n| (DirId(u64::from(n)), VersionId([n; 16])))
            .collect()
    }

    fn encoded() -> Vec<u8> {
        entries().iter().flat_map(record).collect()
    }

    #[test]
    fn a_log_reads_back() {
        let index = parse(&encoded());
        assert_eq!(index.listings, entries().into_iter().collect());
        assert!(!index.damaged);
    }

    #[test]
    fn a_flipped_bit_costs_one_record_wherever_it_is() {
        for position in 0..encoded().len() {
            let mut bytes = encoded();
            bytes[position] ^= 0x10;
            let index = parse(&bytes);
            assert_eq!(index.listings.len(), 4, "byte {position}");
            assert!(index.damaged);
            for (dir, version) in index.listings {
                assert!(entries().contains(&(dir, version)));
            }
        }
    }

    #[test]
    fn records_behind_a_torn_one_are_found() {
        for cut in 1..RECORD_LEN {
            let mut bytes = encoded();
            bytes.truncate(4 * RECORD_LEN + cut);
            assert_eq!(parse(&bytes).listings.len(), 4);
            bytes.extend_from_slice(&record(&entries()[0]));
            bytes.extend_from_slice(&record(&(DirId(9), VersionId([9; 16]))));
            assert_eq!(parse(&bytes).listings.len(), 5, "cut at {cut}");
        }
    }
}
