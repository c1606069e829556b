//! Files whose record tells more bytes than their content has: older servers took such records. Changed in
//! part, such a file is in no version; the commit says which one it is, and every way out of that works.

use std::collections::BTreeSet;
use std::sync::Arc;

use lfsfs_remote::RemoteRead;
use lfsfs_remote::memory::{AlteredListings, Listed};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{Kind, VersionNumber};
use lfsfs_vfs::{CommitError, LocalLine};

use crate::commit_support::{Cluster, Mount};
use crate::support::noise;

/// Returns a server whose first version tells so many bytes more of every file.
fn lying(server: Arc<dyn RemoteRead>, more: u64) -> Arc<dyn RemoteRead> {
    let alter = move |version, _, listed: Listed| {
        let mut listing = listed?;
        if version == VersionNumber(1) {
            for (_, record) in &mut listing.entries {
                if let Kind::File { size, .. } = &mut record.kind {
                    *size += more;
                }
            }
        }
        Ok(listing)
    };
    AlteredListings::around(server, Box::new(alter))
}

/// A change that leaves a part of the file to bytes that are not there.
#[derive(Debug, Clone, Copy)]
enum Change {
    Overwrite,
    CutAbove,
}

/// What makes a version possible again.
#[derive(Debug, Clone, Copy)]
enum Cure {
    Remove,
    Replace,
    Empty,
    CutWithin,
    CutToContent,
    WriteWhole,
    Discard,
}

const CHANGES: [Change; 2] = [Change::Overwrite, Change::CutAbove];
const CURES: [Cure; 7] = [
    Cure::Remove,
    Cure::Replace,
    Cure::Empty,
    Cure::CutWithin,
    Cure::CutToContent,
    Cure::WriteWhole,
    Cure::Discard,
];

async fn change(mount: &Mount, path: &str, (change, len): (Change, u64)) {
    match change {
        Change::Overwrite => mount.write_at(mount.ino(path).await, 1, b"O").await,
        Change::CutAbove => mount.resize(path, len + 10).await,
    }
}

/// Makes a file one that can be in a version, and returns what it has then.
async fn cure(mount: &Mount, path: &str, (cure, original): (Cure, &[u8])) -> Option<Vec<u8>> {
    let ino = mount.ino(path).await;
    let before = mount.vfs.read(ino, 0, 3).await.unwrap();
    let mut bytes = original.to_vec();
    bytes[..3].copy_from_slice(&before);
    match cure {
        Cure::Remove => {
            mount.remove(path).await;
            return None;
        }
        Cure::Replace => {
            mount.write("new", b"new").await;
            mount.rename("new", path).await;
            bytes = b"new".to_vec();
        }
        Cure::Empty => {
            mount.resize(path, 0).await;
            bytes.clear();
        }
        Cure::CutWithin => {
            mount.resize(path, 3).await;
            bytes.truncate(3);
        }
        Cure::CutToContent => mount.resize(path, original.len() as u64).await,
        Cure::WriteWhole => {
            let size = mount.vfs.getattr(ino).await.unwrap().size;
            bytes = noise(7, usize::try_from(size).unwrap());
            mount.write_at(ino, 0, &bytes).await;
        }
        Cure::Discard => {
            mount.discard(path).await;
            bytes = original.to_vec();
        }
    }
    Some(bytes)
}

/// Mounts the first version as one that tells so many bytes more of each file.
async fn mount_lying(cluster: &Cluster, more: u64) -> Mount {
    let server = cluster.servers.remote();
    let lying = lying(server, more);
    let mount = cluster.mount_through(lying, "app@v1", "lying").await;
    mount.unwrap()
}

/// Goes through all changes and all cures with files of so many bytes whose records tell more.
async fn check(len: usize, more: u64, cures: &[Cure]) {
    let cluster = Cluster::new().await;
    let honest = cluster.mount("app@v0", "honest").await;
    honest.mkdir("dir").await;
    let original = noise(1, len);
    let mut files = Vec::new();
    for change in CHANGES {
        for cure in cures {
            let path = format!("dir/{change:?}-{cure:?}");
            honest.write(&path, &original).await;
            files.push((path, change, *cure));
        }
    }
    honest.commit().await.unwrap();
    let mount = mount_lying(&cluster, more).await;
    let mut blocked = BTreeSet::new();
    for (path, how, _) in &files {
        change(&mount, path, (*how, len as u64)).await;
        blocked.insert(path.clone());
    }
    mount.write("other", b"other").await;
    let mut expected = Vec::new();
    for (path, _, how) in files {
        let ino = mount.ino(&path).await;
        let beyond = mount.vfs.read(ino, len as u64, 5).await.unwrap_err();
        assert!(beyond.is_corrupt(), "{path}: {beyond:?}");
        let lines = mount.vfs.changes().await.unwrap();
        let modified = lines.iter().filter(|it| it.line == LocalLine::Modified);
        let modified: BTreeSet<_> = modified.map(|it| it.path.as_bytes()).collect();
        for path in &blocked {
            assert!(modified.contains(path.as_bytes()), "{path}: {lines:?}");
        }
        match mount.commit().await {
            Err(CommitError::Unreadable { path, .. }) => {
                assert!(blocked.contains(&path), "{path}");
            }
            other => panic!("{other:?}"),
        }
        let bytes = cure(&mount, &path, (how, &original)).await;
        blocked.remove(&path);
        expected.push((path, bytes));
    }
    mount.commit().await.unwrap();
    let version = cluster.version("app@v2").await;
    assert_eq!(version["other"].bytes, b"other");
    for (path, bytes) in expected {
        let found = version.get(&path).map(|seen| &seen.bytes);
        assert!(found == bytes.as_ref(), "{path}");
    }
    assert!(mount.vfs.changes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_small_file_that_tells_more_than_it_has_blocks_no_commit_for_good() {
    check(4, 1000, &CURES).await;
}

#[tokio::test]
async fn a_large_file_that_tells_more_than_it_has_blocks_no_commit_for_good() {
    let len = usize::try_from(SMALL_CONTENT_LEN_MAX).unwrap() + 100_000;
    check(len, 100_000, &CURES).await;
}

#[tokio::test]
async fn a_file_that_tells_more_than_any_file_can_have_blocks_no_commit_for_good() {
    let cures = CURES.into_iter();
    let cures: Vec<_> = cures.filter(|it| !matches!(it, Cure::WriteWhole)).collect();
    check(4, u64::MAX / 2, &cures).await;
}

#[tokio::test]
async fn the_path_that_is_told_is_the_one_in_the_mount() {
    let cluster = Cluster::new().await;
    let honest = cluster.mount("app@v0", "honest").await;
    for dir in ["dir", "dir/below"] {
        honest.mkdir(dir).await;
        honest.write(&format!("{dir}/file"), b"four").await;
    }
    honest.commit().await.unwrap();
    let mount = mount_lying(&cluster, 1000).await;
    let told = async |mount: &Mount| match mount.commit().await {
        Err(CommitError::Unreadable { path, .. }) => path,
        other => panic!("{other:?}"),
    };
    mount.resize("dir/below/file", 10).await;
    mount.rename("dir", "moved").await;
    assert_eq!(told(&mount).await, "moved/below/file");
    mount.rename("moved/below/file", "moved/renamed").await;
    assert_eq!(told(&mount).await, "moved/renamed");
    mount.link("moved/renamed", "moved/second").await;
    mount.remove("moved/renamed").await;
    assert_eq!(told(&mount).await, "moved/second");
    mount.resize("moved/second", 2).await;
    mount.commit().await.unwrap();
    let version = cluster.version("app@v2").await;
    assert_eq!(version["moved/second"].bytes, b"fo");
    assert_eq!(version["moved/file"].bytes, b"four");
}
