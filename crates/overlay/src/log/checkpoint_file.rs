//! Files that hold a whole state.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use lfsfs_common::PathError;

use crate::base::Base;
use crate::checkpoint::{self, Restorer, Snapshot};
use crate::durability::Durability;
use crate::error::{Damage, OverlayError};
use crate::log::record::{self, RECORD_LEN_MAX, Record};
use crate::log::segment::{self, SegmentHeader};
use crate::state::State;

const BUFFER_LEN: usize = 1024 * 1024;

/// Writes a state; durable on return unless volatile. On an error no file is left.
pub(crate) fn write(
    dir: &Path,
    header: &SegmentHeader,
    state: &State,
    durability: Durability,
) -> Result<u64, OverlayError> {
    let path = dir.join(header.kind.file_name(header.number));
    let written = write_records(&path, header, state, durability);
    written.map_err(|error| {
        // Best effort: a checkpoint that is not current is swept at the next start.
        let _ = fs::remove_file(&path);
        OverlayError::of_write(error)
    })
}

fn write_records(
    path: &Path,
    header: &SegmentHeader,
    state: &State,
    durability: Durability,
) -> Result<u64, PathError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(PathError::wrap("create", path))?;
    let mut buffered = BufWriter::with_capacity(BUFFER_LEN, file);
    let mut len = segment::HEADER_LEN as u64;
    let mut bytes = header.encode();
    let mut sequence = 0;
    let mut write_all = || -> std::io::Result<()> {
        buffered.write_all(&bytes)?;
        checkpoint::write(state, &mut |snapshot| {
            sequence += 1;
            bytes.clear();
            let operation = snapshot.encode();
            let record = Record {
                sequence,
                synced: 0,
                operation: &operation,
                data: &[],
            };
            if record.len() > RECORD_LEN_MAX {
                return Err(ErrorKind::FileTooLarge.into());
            }
            record.put(header.seed(), &mut bytes);
            len += bytes.len() as u64;
            buffered.write_all(&bytes)
        })?;
        buffered.flush()?;
        match durability {
            Durability::Synced => buffered.get_ref().sync_all(),
            Durability::Volatile => Ok(()),
        }
    };
    write_all().map_err(PathError::wrap("write", path))?;
    Ok(len)
}

/// Reads a state; also returns the sequence number of the first operation after it.
pub(crate) fn read(
    path: &Path,
    expected: (u32, [u8; 16]),
    base: Base,
) -> Result<(State, u64), OverlayError> {
    let damaged = |position, problem| OverlayError::Damaged {
        path: path.to_owned(),
        position,
        problem,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(damaged(0, Damage::Missing));
        }
        Err(error) => return Err(PathError::new("open", path, error).into()),
    };
    let mut reader = BufReader::with_capacity(BUFFER_LEN, file);
    let mut bytes = vec![0; segment::HEADER_LEN];
    reader
        .read_exact(&mut bytes)
        .map_err(|_| damaged(0, Damage::Header))?;
    let header = SegmentHeader::parse(&bytes)
        .filter(|it| it.kind == segment::SegmentKind::Checkpoint)
        .filter(|it| (it.number, it.overlay) == expected)
        .ok_or_else(|| damaged(0, Damage::Header))?;
    let mut restorer = Restorer::new(base);
    let mut position = segment::HEADER_LEN as u64;
    let mut sequence = 0;
    while next_record(&mut reader, &mut bytes).map_err(|problem| damaged(position, problem))? {
        sequence += 1;
        let snapshot = parse(&header, &bytes, sequence);
        let taken = snapshot.and_then(|snapshot| restorer.take(snapshot));
        taken.map_err(|problem| damaged(position, problem))?;
        position += bytes.len() as u64;
    }
    let state = restorer
        .finish()
        .map_err(|problem| damaged(position, problem))?;
    Ok((state, header.first_sequence))
}

/// Reads the bytes of the next record; false at the end of the file.
fn next_record(reader: &mut impl Read, bytes: &mut Vec<u8>) -> Result<bool, Damage> {
    bytes.resize(record::HEADER_LEN, 0);
    let mut first = [0; 1];
    match reader.read(&mut first) {
        Ok(0) => return Ok(false),
        Ok(_) => bytes[0] = first[0],
        Err(_) => return Err(Damage::Record),
    }
    reader
        .read_exact(&mut bytes[1..])
        .map_err(|_| Damage::Record)?;
    let len = record::number32(bytes, 0).unwrap_or(0) as usize;
    if !(record::HEADER_LEN..=RECORD_LEN_MAX).contains(&len) {
        return Err(Damage::Record);
    }
    bytes.resize(len, 0);
    reader
        .read_exact(&mut bytes[record::HEADER_LEN..])
        .map_err(|_| Damage::Record)?;
    Ok(true)
}

fn parse(header: &SegmentHeader, bytes: &[u8], sequence: u64) -> Result<Snapshot, Damage> {
    let record = record::parse(header.seed(), bytes).filter(|it| it.sequence == sequence);
    let record = record.ok_or(Damage::Record)?;
    Ok(Snapshot::decode(record.operation)?)
}
