//! Large files: what an edit costs does not depend on their size.

use std::sync::Arc;

use lfsfs_upload::Progress;

use crate::commit_support::{Cluster, Mount};
use crate::support::noise;

const MIB: u64 = 1 << 20;

async fn fill(mount: &Mount, path: &str, len: u64) -> u64 {
    let ino = mount.write(path, b"").await;
    for part in 0..len / (4 * MIB) {
        mount
            .write_at(ino, part * 4 * MIB, &noise(part + 1, 4 << 20))
            .await;
    }
    ino
}

#[tokio::test]
async fn one_byte_of_a_large_file_costs_its_neighbourhood() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    fill(&mount, "file", 96 * MIB).await;
    let whole = mount.commit().await.unwrap();
    assert!(whole.bytes_sent > 90 * MIB, "{whole:?}");
    drop(mount);

    let mount = cluster.mount("app@v1", "second").await;
    let ino = mount.ino("file").await;
    mount.write_at(ino, 50 * MIB + 12_345, b"x").await;
    let expected = mount.read("file").await;
    let progress = Arc::new(Progress::default());
    let outcome = mount.commit_with(false, &progress).await.unwrap();
    let hashed = progress.figures().bytes_read;
    assert!(hashed <= 8 * MIB, "{hashed} bytes hashed");
    assert!(outcome.bytes_sent <= 8 * MIB, "{outcome:?}");
    drop(mount);
    let version = cluster.version("app@v2").await;
    assert!(version["file"].bytes == expected);
}

#[tokio::test]
async fn a_large_hole_costs_nothing_like_its_size() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    mount.write("file", b"at the front").await;
    mount.resize("file", 4096 * MIB).await;
    let ino = mount.ino("file").await;
    mount.write_at(ino, 4096 * MIB, b"at the end").await;
    let progress = Arc::new(Progress::default());
    let outcome = mount.commit_with(false, &progress).await.unwrap();
    assert!(progress.figures().bytes_read <= 32 * MIB, "{outcome:?}");
    drop(mount);
    let mount = cluster.mount("app@v1", "second").await;
    let ino = mount.ino("file").await;
    let read = |offset| mount.vfs.read(ino, offset, 12);
    assert_eq!(read(0).await.unwrap(), &b"at the front"[..]);
    assert_eq!(read(2048 * MIB).await.unwrap(), &[0; 12][..]);
    assert_eq!(read(4096 * MIB).await.unwrap(), &b"at the end"[..]);
}

#[tokio::test]
async fn what_is_written_again_as_it_was_is_no_change() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    fill(&mount, "large", 8 * MIB).await;
    mount.write("small", b"bytes").await;
    mount.commit().await.unwrap();
    drop(mount);
    let mount = cluster.mount("app@v1", "second").await;
    let (large, small) = (mount.ino("large").await, mount.ino("small").await);
    for (ino, bytes) in [(large, noise(1, 1 << 20)), (small, b"bytes".to_vec())] {
        let mtime = mount.vfs.getattr(ino).await.unwrap().mtime;
        mount.write_at(ino, 0, &bytes).await;
        let time = lfsfs_vfs::SetAttr {
            mtime: Some(lfsfs_vfs::SetTime::At(mtime)),
            ..lfsfs_vfs::SetAttr::default()
        };
        mount.vfs.setattr(ino, time).await.unwrap();
    }
    let outcome = mount.commit().await.unwrap();
    assert!(!outcome.is_new, "{outcome:?}");
    assert_eq!((outcome.bytes_sent, outcome.version.number.0), (0, 1));
}
