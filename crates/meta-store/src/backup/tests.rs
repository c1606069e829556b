//! A backup is read as it was written, and each other file is refused.

use std::io::Write as _;

use super::*;
use crate::{Batch, MemoryStore, MetaStore as _, MetaStoreExt as _, Row};

fn head() -> BackupHead {
    BackupHead {
        cluster: ClusterId([7; 16]),
        time: Timestamp {
            secs: 1_700_000_000,
            nanos: 5,
        },
        program: "0.1.0".to_owned(),
    }
}

/// Rows that compress and rows that do not, in more than one block.
fn rows() -> Vec<Row> {
    let noise = |number: u32| number.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..3000_u32)
        .map(|number| {
            let bytes = (0..number % 90).flat_map(|it| noise(number * 90 + it));
            (number.to_be_bytes().to_vec(), bytes.collect())
        })
        .collect()
}

fn backup_of(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = BackupWriter::new(&mut bytes, &head()).unwrap();
    for (key, value) in rows {
        writer.row(key, value).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.rows, rows.len() as u64);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Row>, BackupError> {
    let mut reader = BackupReader::open(bytes)?;
    assert_eq!(reader.head(), &head());
    let mut rows = Vec::new();
    while let Some(more) = reader.next_rows()? {
        rows.extend(more);
    }
    assert!(reader.next_rows()?.is_none(), "the end stays the end");
    assert_eq!(reader.summary().rows, rows.len() as u64);
    Ok(rows)
}

#[test]
fn a_backup_is_read_as_it_was_written() {
    for rows in [Vec::new(), rows()[..1].to_vec(), rows()] {
        let bytes = backup_of(&rows);
        assert_eq!(read(&bytes).unwrap(), rows);
    }
    let bytes = backup_of(&rows());
    let summary = BackupReader::open(&*bytes).unwrap().verify().unwrap();
    assert!(summary.blocks > 1, "{summary:?}");
}

#[test]
fn all_rows_of_a_snapshot_are_in_it() {
    let store = MemoryStore::new();
    for part in rows().chunks(1000) {
        let mut batch = Batch::new();
        for (key, value) in part {
            batch.put(key.as_slice(), value.as_slice());
        }
        store.write(batch).unwrap();
    }
    let mut bytes = Vec::new();
    let mut writer = BackupWriter::new(&mut bytes, &head()).unwrap();
    let mut told = 0;
    let snapshot = store.snapshot().unwrap();
    let progress = &mut |rows| told = rows;
    writer.rows_of(snapshot.as_ref(), progress).unwrap();
    writer.finish().unwrap();
    assert_eq!((read(&bytes).unwrap(), told), (rows(), 3000));
}

#[test]
fn a_file_that_is_cut_is_refused_wherever_that_is() {
    let bytes = backup_of(&rows()[..40]);
    for len in 0..bytes.len() {
        match read(&bytes[..len]).unwrap_err() {
            BackupError::NotABackup => assert!(len < MAGIC.len()),
            BackupError::Cut { offset } => assert_eq!(offset, len as u64),
            error => panic!("{len}: {error}"),
        }
    }
    // Between two blocks, too.
    let bytes = backup_of(&rows());
    let whole = BackupReader::open(&*bytes).unwrap().verify().unwrap();
    assert!(whole.blocks > 1);
    for part in 1..100 {
        let error = read(&bytes[..bytes.len() * part / 100]).unwrap_err();
        assert!(matches!(error, BackupError::Cut { .. }), "{error}");
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let rows = &rows()[..20];
    let bytes = backup_of(rows);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = read(&flipped).unwrap_err();
        assert!(error.is_damage(), "bit {bit}: {error}");
    }
}

#[test]
fn blocks_of_another_backup_and_bytes_behind_the_end_are_refused() {
    let (first, mut second) = (rows(), rows());
    second[2999].1.push(1);
    let (first, second) = (backup_of(&first), backup_of(&second));
    // The end of the second one behind the rows of the first. Six bytes are its counts.
    let end_len = block::PREFIX_LEN + block::SUM_LEN + 6;
    let rows_of_first = &first[..first.len() - end_len];
    let mixed = [rows_of_first, &second[second.len() - end_len..]].concat();
    let error = read(&mixed).unwrap_err();
    assert!(error.to_string().contains("its hash"), "{error}");
    let longer = [&first[..], b"x"].concat();
    let error = read(&longer).unwrap_err();
    assert!(error.to_string().contains("behind its end"), "{error}");
    let twice = [&first[..], &first].concat();
    assert!(read(&twice).unwrap_err().is_damage());
}

#[test]
fn other_files_are_told_from_damaged_ones() {
    for bytes in [&b""[..], b"LFSB", b"LFSC\x01\0\0\0 a chunk", &[0; 100]] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, BackupError::NotABackup), "{error}");
    }
    let error = read(b"LFSB\x02\0\0\0 of the future").unwrap_err();
    assert!(matches!(error, BackupError::Format { found: 2 }), "{error}");
}

/// A length that no block has must not reserve memory.
#[test]
fn a_block_that_claims_too_much_is_refused() {
    let mut bytes = MAGIC.to_vec();
    bytes.write_all(&[1, 1]).unwrap();
    bytes.write_all(&u32::MAX.to_be_bytes()).unwrap();
    bytes.write_all(&(u32::MAX - 1).to_be_bytes()).unwrap();
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn a_row_that_fits_no_block_is_an_error() {
    let mut writer = BackupWriter::new(Vec::new(), &head()).unwrap();
    let error = writer.row(b"key", &vec![0; block::RAW_LEN_MAX]);
    assert!(matches!(error, Err(BackupError::TooLarge { .. })));
}

#[test]
fn a_backup_of_format_1_is_read_for_ever() {
    let golden = include_bytes!("../../tests/golden/backup-1");
    assert_eq!(read(golden).unwrap(), rows()[..60]);
}
