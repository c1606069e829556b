//! Power loss and a full disk, on a disk of the test's own.

use lfsfs_overlay::{NewNode, OverlayError};
use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_loop_devices;

use crate::common::{ROOT, create, open, read, with_file, write};

const MEBIBYTE: u64 = 1024 * 1024;

#[test]
fn power_loss_keeps_everything_synced() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("disk::power_loss_keeps_everything_synced", || {
        let mut disk = LoopDisk::new(64 * MEBIBYTE).unwrap();
        let dir = disk.path().join("overlay");
        let mut expected = Vec::new();
        drop(with_file(&dir));
        for round in 1..=5_u8 {
            let overlay = open(&dir);
            for _ in 0..50 {
                overlay
                    .apply(&[write(2, expected.len() as u64, &[round; 3000])])
                    .unwrap();
                expected.resize(expected.len() + 3000, round);
            }
            overlay.sync().unwrap();
            if round == 3 {
                overlay.compact().unwrap();
            }
            overlay
                .apply(&[write(2, expected.len() as u64, &[99; 70_000])])
                .unwrap();
            disk.shutdown_without_log().unwrap();
            drop(overlay);
            disk.remount().unwrap();
            let content = read(&open(&dir), 2);
            assert!(content.len() >= expected.len(), "round {round}");
            assert!(content[..expected.len()] == expected, "round {round}");
            let lost = &content[expected.len()..];
            assert!(lost.iter().all(|byte| *byte == 99));
            expected = content;
        }
    });
}

#[test]
fn a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_space() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace(
        "disk::a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_space",
        || {
            let disk = LoopDisk::new(32 * MEBIBYTE).unwrap();
            let dir = disk.path().join("overlay");
            let overlay = with_file(&dir);
            overlay.apply(&[write(2, 0, b"before")]).unwrap();
            disk.fill_up(MEBIBYTE / 4).unwrap();
            let data = vec![1; 100_000];
            let mut written = 0;
            let error = loop {
                let at = 6 + written * data.len() as u64;
                match overlay.apply(&[write(2, at, &data)]) {
                    Ok(()) => written += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, OverlayError::NoSpace(_)), "{error}");
            let full = overlay.compact();
            assert!(
                !matches!(full, Err(OverlayError::Damaged { .. })),
                "{full:?}"
            );
            let expected = read(&overlay, 2);
            assert_eq!(expected.len() as u64, 6 + written * data.len() as u64);
            disk.free().unwrap();
            overlay
                .apply(&[create(ROOT, "after", 3, NewNode::File).into()])
                .unwrap();
            overlay.apply(&[write(3, 0, b"after")]).unwrap();
            drop(overlay);
            let overlay = open(&dir);
            assert!(read(&overlay, 2) == expected);
            assert_eq!(read(&overlay, 3), b"after");
            drop(overlay);
        },
    );
}
