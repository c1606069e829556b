//! Backups of metadata: what an operator gives `lfsfsd restore`.
//!
//! The input is tried as a whole file, and as bytes that replace some of a right one.

#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use lfsfs_meta_store::{BackupHead, BackupReader, BackupWriter};
use lfsfs_types::{ClusterId, Timestamp};
use libfuzzer_sys::fuzz_target;

static RIGHT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let head = BackupHead {
        cluster: ClusterId([1; 16]),
        time: Timestamp::default(),
        program: "0.1.0".to_owned(),
    };
    let mut file = Vec::new();
    let mut writer = BackupWriter::new(&mut file, &head).expect("a backup");
    for row in 0..40_u8 {
        writer.row(&[row], &[row; 100]).expect("a row");
    }
    writer.finish().expect("a backup");
    file
});

fn read(file: &[u8]) -> bool {
    BackupReader::open(Cursor::new(file)).is_ok_and(|reader| reader.verify().is_ok())
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let _ = read(bytes);
    let mut changed = RIGHT.clone();
    let at = usize::from(at).min(changed.len());
    for (place, byte) in changed[at..].iter_mut().zip(bytes) {
        *place = *byte;
    }
    assert_eq!(read(&changed), changed == *RIGHT, "a change is found");
});
