//! Ranges that are copied inside a mount: what they cost, and what becomes of them.

use std::sync::Arc;

use lfsfs_overlay::FileData;
use lfsfs_upload::Progress;
use lfsfs_vfs::{CopyRange, Privileges, VfsError};

use crate::commit_support::{Cluster, Mount};
use crate::support::noise;

const MIB: usize = 1 << 20;

/// Copies all of a range, as a kernel does.
async fn copy(mount: &Mount, (from, offset): (&str, u64), (to, at): (&str, u64), len: usize) {
    let (from, to) = (mount.ino(from).await, mount.ino(to).await);
    let mut done = 0;
    while done < len as u64 {
        let copied = mount.vfs.copy_range(CopyRange {
            from,
            offset: offset + done,
            to,
            at: at + done,
            len: len as u64 - done,
            privileges: Privileges::Keep,
        });
        done += copied.await.unwrap().len;
    }
}

/// Returns how many bytes of the log the files of a mount have.
fn log_bytes(mount: &Mount) -> u64 {
    mount.vfs.overlay().unwrap().stats().unwrap().segment_bytes
}

#[tokio::test]
async fn a_copy_costs_nothing_here_and_in_the_commit() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    let bytes = noise(1, 24 * MIB);
    mount.write("large", &bytes).await;
    mount.write("small", b"a few bytes").await;
    mount.commit().await.unwrap();
    drop(mount);

    let mount = cluster.mount("app@v1", "second").await;
    for name in ["copy", "twice", "few", "mixed"] {
        mount.write(name, b"").await;
    }
    let before = log_bytes(&mount);
    copy(&mount, ("large", 0), ("copy", 0), 24 * MIB).await;
    copy(&mount, ("copy", 0), ("twice", 0), 24 * MIB).await;
    copy(&mount, ("small", 0), ("few", 0), 11).await;
    assert!(log_bytes(&mount) - before < 4096);
    assert!(mount.read("twice").await == bytes);
    let progress = Arc::new(Progress::default());
    mount.commit_with(false, &progress).await.unwrap();
    let figures = progress.figures();
    assert_eq!(
        (figures.bytes_read, figures.contents_sent),
        (0, 0),
        "{figures:?}"
    );

    // Each is its own.
    let (large, copied) = (mount.ino("large").await, mount.ino("copy").await);
    mount.write("mixed", b"").await;
    copy(&mount, ("copy", 7), ("mixed", 100), 9 * MIB).await;
    mount
        .write_at(copied, 8 * MIB as u64, b"written later")
        .await;
    mount.write_at(large, 3, b"here, too").await;
    copy(&mount, ("copy", 8 * MIB as u64), ("mixed", 5), 13).await;
    let mut mixed = [vec![0; 100], bytes[7..9 * MIB + 7].to_vec()].concat();
    mixed[5..18].copy_from_slice(b"written later");
    let mut changed = bytes.clone();
    changed[8 * MIB..][..13].copy_from_slice(b"written later");
    assert!(mount.read("mixed").await == mixed);
    assert!(mount.read("copy").await == changed);
    assert!(mount.read("twice").await == bytes);
    mount.commit().await.unwrap();
    assert!(mount.read("mixed").await == mixed);
    drop(mount);
    let version = cluster.version("app@v3").await;
    assert!(version["mixed"].bytes == mixed && version["copy"].bytes == changed);
    assert!(version["twice"].bytes == bytes);
    assert_eq!(version["few"].bytes, b"a few bytes");
}

#[tokio::test]
async fn a_copy_of_a_large_file_that_is_edited_costs_the_edit() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    let mut bytes = noise(3, 48 * MIB);
    mount.write("large", &bytes).await;
    mount.commit().await.unwrap();
    drop(mount);
    let mount = cluster.mount("app@v1", "second").await;
    let copied = mount.write("copy", b"").await;
    copy(&mount, ("large", 0), ("copy", 0), 48 * MIB).await;
    mount.write_at(copied, 20 * MIB as u64, b"an edit").await;
    bytes[20 * MIB..][..7].copy_from_slice(b"an edit");
    let progress = Arc::new(Progress::default());
    mount.commit_with(false, &progress).await.unwrap();
    let figures = progress.figures();
    assert!(figures.bytes_read <= 12 * MIB as u64, "{figures:?}");
    drop(mount);
    assert!(cluster.version("app@v2").await["copy"].bytes == bytes);
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_and_what_is_not_there_is_nothing() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    let file = mount.write("file", b"bytes").await;
    let dir = mount.mkdir("dir").await;
    let range = |from, offset, to, at| CopyRange {
        from,
        offset,
        to,
        at,
        len: 10,
        privileges: Privileges::Keep,
    };
    for (from, to) in [(file, dir), (dir, file)] {
        let copied = mount.vfs.copy_range(range(from, 0, to, 0)).await;
        assert!(matches!(copied, Err(VfsError::IsDirectory)), "{copied:?}");
    }
    let beyond = mount.vfs.copy_range(range(file, 0, file, 1 << 50)).await;
    assert!(matches!(beyond, Err(VfsError::FileTooLarge)), "{beyond:?}");
    for offset in [5, 6, u64::MAX] {
        let copied = mount.vfs.copy_range(range(file, offset, file, 20)).await;
        assert_eq!(copied.unwrap().len, 0, "{offset}");
    }
    let copied = mount.vfs.copy_range(range(file, 3, file, 20)).await;
    assert_eq!(copied.unwrap().len, 2);
    assert_eq!(
        mount.read("file").await,
        b"bytes\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0es"
    );
}

#[tokio::test]
async fn a_copy_outlives_the_version_that_it_is_of() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    let bytes = noise(2, 9 * MIB);
    mount.write("large", &bytes).await;
    mount.write(".lfsfsignore", b"out\n").await;
    mount.commit().await.unwrap();
    mount.mkdir("out").await;
    let ignored = mount.write("out/copy", b"").await;
    copy(&mount, ("large", 5), ("out/copy", 2), 8 * MIB).await;
    mount.vfs.own_shared().await.unwrap();
    let shared = |mount: &Mount| {
        let state = mount.vfs.overlay().unwrap().state();
        let file = state.inode(ignored).and_then(|it| it.file()).cloned();
        file.as_ref()
            .map_or(0, |file: &FileData| file.shared().count())
    };
    assert_eq!(shared(&mount), 1, "the version has it");

    // No commit takes it, and the next version does not have what it is of.
    mount.write("large", b"something else").await;
    mount.commit().await.unwrap();
    assert_eq!(shared(&mount), 1);
    mount.vfs.own_shared().await.unwrap();
    assert_eq!(shared(&mount), 0);
    let expected = [&[0; 2][..], &bytes[5..8 * MIB + 5]].concat();
    assert!(mount.read("out/copy").await == expected);
    assert!(log_bytes(&mount) > 8 * MIB as u64);
}
