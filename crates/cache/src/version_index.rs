//! Which listing each directory has at a version: an append-only log of fixed records.
//!
//! A record is a directory id (8 bytes), a listing version (16) and a CRC-32C (4) of the log's name
//! and these. Several processes append at once; each record goes out in one write. Whatever does
//! not check is skipped byte by byte, so a torn or damaged record costs itself and nothing behind it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use lfsfs_types::{DirId, VersionId};

const PAYLOAD_LEN: usize = 24;
const RECORD_LEN: usize = PAYLOAD_LEN + 4;

/// What a log says, and whether parts of it do not check.
pub(crate) struct Index {
    pub(crate) listings: HashMap<DirId, VersionId>,
    pub(crate) damaged: bool,
    /// Where the next reading goes on.
    pub(crate) end: u64,
}

/// Reads the log at `path`, which is called `name`, from `start` on; one that is missing is empty.
pub(crate) fn read(path: &Path, name: &[u8], start: u64) -> io::Result<Index> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(parse(name, &[], 0)),
        other => other?,
    };
    // A shorter one was deleted and begun again.
    let start = if start > file.metadata()?.len() {
        0
    } else {
        start
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(parse(name, &bytes, start))
}

/// Appends records, each whole or not at all unless the machine stops meanwhile.
pub(crate) fn append(path: &Path, name: &[u8], entries: &[(DirId, VersionId)]) -> io::Result<()> {
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| record(name, entry))
        .collect();
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&bytes)
}

fn parse(name: &[u8], bytes: &[u8], start: u64) -> Index {
    let mut listings = HashMap::new();
    let mut rest = bytes;
    let mut damaged = false;
    while let Some(record) = rest.first_chunk::<RECORD_LEN>() {
        if let Some((dir, version)) = check(name, record) {
            listings.insert(dir, version);
            rest = &rest[RECORD_LEN..];
        } else {
            damaged = true;
            rest = &rest[1..];
        }
    }
    // What is left is a record that was torn, or that another process appends at this moment.
    Index {
        listings,
        damaged,
        end: start + (bytes.len() - rest.len()) as u64,
    }
}

fn sum(name: &[u8], payload: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(name), payload).to_be_bytes()
}

fn check(name: &[u8], record: &[u8; RECORD_LEN]) -> Option<(DirId, VersionId)> {
    let (payload, found) = record.split_at(PAYLOAD_LEN);
    if sum(name, payload) != found {
        return None;
    }
    let (dir, version) = payload.split_first_chunk::<8>()?;
    Some((
        DirId(u64::from_be_bytes(*dir)),
        VersionId::from_slice(version)?,
    ))
}

fn record(name: &[u8], (dir, version): &(DirId, VersionId)) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    record[..8].copy_from_slice(&dir.0.to_be_bytes());
    record[8..PAYLOAD_LEN].copy_from_slice(version.as_bytes());
    let sum = sum(name, &record[..PAYLOAD_LEN]);
    record[PAYLOAD_LEN..].copy_from_slice(&sum);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"versions/p/v";

    fn parsed(bytes: &[u8]) -> Index {
        parse(NAME, bytes, 0)
    }

    fn entries() -> Vec<(DirId, VersionId)> {
        (1..=5u8)
            .map(|n| (DirId(u64::from(n)), VersionId([n; 16])))
            .collect()
    }

    fn encoded() -> Vec<u8> {
        entries()
            .iter()
            .flat_map(|entry| record(NAME, entry))
            .collect()
    }

    #[test]
    fn a_log_reads_back() {
        let index = parsed(&encoded());
        assert_eq!(index.listings, entries().into_iter().collect());
        assert!(!index.damaged);
    }

    #[test]
    fn a_flipped_bit_costs_one_record_wherever_it_is() {
        for position in 0..encoded().len() {
            let mut bytes = encoded();
            bytes[position] ^= 0x10;
            let index = parsed(&bytes);
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
            assert_eq!(parsed(&bytes).listings.len(), 4);
            bytes.extend_from_slice(&record(NAME, &entries()[0]));
            bytes.extend_from_slice(&record(NAME, &(DirId(9), VersionId([9; 16]))));
            assert_eq!(parsed(&bytes).listings.len(), 5, "cut at {cut}");
        }
    }

    #[test]
    fn the_log_of_another_version_says_nothing() {
        let index = parse(b"versions/p/w", &encoded(), 0);
        assert!(index.listings.is_empty() && index.damaged);
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, NAME, &entries()[..2]).unwrap();
        let first = read(&path, NAME, 0).unwrap();
        append(&path, NAME, &entries()[2..]).unwrap();
        let second = read(&path, NAME, first.end).unwrap();
        assert_eq!((first.listings.len(), second.listings.len()), (2, 3));

        std::fs::remove_file(&path).unwrap();
        append(&path, NAME, &entries()[..1]).unwrap();
        assert_eq!(read(&path, NAME, second.end).unwrap().listings.len(), 1);
    }
}
