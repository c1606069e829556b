//! A full disk under the overlay, on a disk of the test's own.

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_vfs::{Existing, Privileges, Vfs, VfsError};

use crate::support::noise;
use crate::writable_support::{Machine, OWNER, ROOT, ino, list, read_all};

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_full_disk_fails_the_change_alone_and_writing_goes_on_when_there_is_space() {
    if require_loop_devices().is_err() {
        return;
    }
    let name =
        "full_disk::a_full_disk_fails_the_change_alone_and_writing_goes_on_when_there_is_space";
    in_private_namespace(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(fill());
    });
}

async fn fill() {
    let disk = LoopDisk::new(32 * MEBIBYTE).unwrap();
    let (machine, overlay) = (Machine::new(), disk.path().join("overlay"));
    let vfs = machine.try_mount(&overlay).await.unwrap();
    assert!(vfs.statfs().blocks_free > 0);

    // There is no space for the overlay itself.
    disk.fill_up(0).unwrap();
    let file = ino(&vfs, "a/b").await;
    let first = vfs.write(file, 0, b"first", Privileges::Keep).await;
    assert!(matches!(first, Err(VfsError::NoSpace)), "{first:?}");
    assert_eq!(read_all(&vfs, file).await, noise(2, 5000));

    // There is no space for its log.
    disk.free().unwrap();
    vfs.write(file, 0, b"first", Privileges::Keep)
        .await
        .unwrap();
    disk.fill_up(MEBIBYTE / 2).unwrap();
    let at = write_until_full(&vfs, file).await;
    let before = (vfs.getattr(file).await.unwrap(), read_all(&vfs, file).await);
    assert_eq!(before.0.size, at);
    for _ in 0..3 {
        let data = [9; 100_000];
        let refused = vfs.write(file, 0, &data, Privileges::Keep).await;
        assert!(matches!(refused, Err(VfsError::NoSpace)), "{refused:?}");
    }
    assert!((vfs.getattr(file).await.unwrap(), read_all(&vfs, file).await) == before);

    disk.free().unwrap();
    vfs.create(ROOT, b"after", 0o600, OWNER, Existing::Refuse)
        .await
        .unwrap();
    drop(vfs);
    let vfs = machine.try_mount(&overlay).await.unwrap();
    assert!(read_all(&vfs, ino(&vfs, "a/b").await).await == before.1);
    assert_eq!(list(&vfs, ROOT).await, ["a", "after", "b", "c", "d"]);
}

/// Appends until there is no space, and returns where the file ends.
async fn write_until_full(vfs: &Vfs, file: u64) -> u64 {
    let data = noise(3, 100_000);
    let mut at = 5000;
    loop {
        match vfs.write(file, at, &data, Privileges::Keep).await {
            Ok(_) => at += data.len() as u64,
            Err(VfsError::NoSpace) => return at,
            Err(error) => panic!("{error:?}"),
        }
    }
}
