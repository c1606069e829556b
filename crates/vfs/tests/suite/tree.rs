//! Names, attributes, links, directories, inodes.

use lfsfs_types::nodeid;
use lfsfs_vfs::{FileKind, VfsError};

use crate::support::{Setup, at_once, find, lasting, list, walk};

#[tokio::test]
async fn everything_is_there_as_it_was_served() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let seen = walk(&vfs).await.unwrap();
    assert_eq!(seen.len() as u64, vfs.statfs().files - 1);
    assert_eq!(seen["bin/tool"].bytes, "../lib/tool.js");
    assert_eq!(seen["lib/tool.js"].bytes, "console.log('tool')\n");
    assert_eq!(seen["large"].bytes, crate::support::noise(1, 9 << 20));
    assert_eq!(seen["fifo"].attr.kind, FileKind::Fifo);
    let null = seen["null"].attr;
    assert_eq!((null.kind, null.rdev), (FileKind::CharDevice, 0x103));
    let dir = seen["attributed"].attr;
    assert_eq!((dir.mode, dir.nlink, dir.uid), (0o1777, 1, 1000));
    assert_eq!(dir.mtime.nanos, 123_456_789);
}

#[tokio::test]
async fn names_of_a_hard_link_are_one_inode() {
    let vfs = Setup::new().mount().await;
    let first = find(&vfs, "bin/link-a").await.unwrap();
    let second = find(&vfs, "lib/link-b").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.nlink, 2);
    vfs.forget(first.ino, 1);
    assert!(vfs.getattr(first.ino).await.is_ok());
    vfs.forget(first.ino, 1);
    assert!(matches!(vfs.getattr(first.ino).await, Err(VfsError::Stale)));
}

#[tokio::test]
async fn inodes_are_the_same_after_a_remount_whatever_the_order() {
    let setup = Setup::new();
    let first = walk(&setup.mount().await).await.unwrap();
    let vfs = setup.mount().await;
    for (path, seen) in first.iter().rev() {
        let attr = find(&vfs, path).await.unwrap();
        assert_eq!(lasting(attr), seen.attr, "{path}");
    }
}

#[tokio::test]
async fn a_walk_that_is_forgotten_leaves_only_the_root() {
    let vfs = Setup::new().mount().await;
    for seen in walk(&vfs).await.unwrap().values() {
        vfs.forget(seen.attr.ino, 1);
    }
    assert_eq!(
        (vfs.base().stats().inodes, vfs.base().stats().directories),
        (1, 1)
    );
}

#[tokio::test]
async fn offsets_of_a_directory_are_stable_and_dots_come_first() {
    let vfs = Setup::new().mount().await;
    let lib = find(&vfs, "lib").await.unwrap();
    let mut all = Vec::new();
    vfs.readdir(lib.ino, 0, false, &mut |entry| {
        all.push((entry.name.to_vec(), entry.ino, entry.offset));
        true
    })
    .await
    .unwrap();
    assert_eq!((&all[0].0[..], all[0].1), (&b"."[..], lib.ino));
    assert_eq!((&all[1].0[..], all[1].1), (&b".."[..], nodeid::ROOT));
    for position in 0..all.len() {
        let mut rest = Vec::new();
        let offset = all[position].2;
        vfs.readdir(lib.ino, offset, false, &mut |entry| {
            rest.push((entry.name.to_vec(), entry.ino, entry.offset));
            true
        })
        .await
        .unwrap();
        assert_eq!(rest, all[position + 1..]);
    }
    // Plain entries count no lookup, so only the looked up directory and the root are known.
    assert_eq!(vfs.base().stats().inodes, 2);
    let plus = list(&vfs, lib.ino).await.unwrap();
    assert!(plus.iter().zip(&all[2..]).all(|(a, b)| a.1.ino == b.1));
}

#[tokio::test]
async fn an_entry_that_finds_no_room_counts_no_lookup() {
    let vfs = Setup::new().mount().await;
    let before = vfs.base().stats().inodes;
    vfs.readdir(nodeid::ROOT, 2, true, &mut |_| false)
        .await
        .unwrap();
    assert_eq!(vfs.base().stats().inodes, before);
}

#[tokio::test]
async fn wrong_kinds_and_names_are_typed_errors() {
    let vfs = Setup::new().mount().await;
    let file = find(&vfs, "lib/tool.js").await.unwrap().ino;
    let (root, long) = (nodeid::ROOT, [b'x'; 256]);
    assert!(matches!(
        vfs.lookup(root, b"absent").await,
        Err(VfsError::NotFound)
    ));
    assert!(matches!(
        vfs.lookup(root, b"..").await,
        Err(VfsError::Invalid)
    ));
    assert!(matches!(
        vfs.lookup(root, &long).await,
        Err(VfsError::NameTooLong)
    ));
    assert!(matches!(
        vfs.lookup(root, &long[1..]).await,
        Err(VfsError::NotFound)
    ));
    assert!(matches!(
        vfs.lookup(file, b"x").await,
        Err(VfsError::NotDirectory)
    ));
    assert!(matches!(vfs.lookup(999, b"x").await, Err(VfsError::Stale)));
    assert!(matches!(
        vfs.read(root, 0, 1).await,
        Err(VfsError::IsDirectory)
    ));
    assert!(matches!(vfs.readlink(file).await, Err(VfsError::Invalid)));
    let fifo = find(&vfs, "fifo").await.unwrap().ino;
    assert!(matches!(vfs.read(fifo, 0, 1).await, Err(VfsError::Invalid)));
}

#[tokio::test]
async fn attributes_come_from_records_and_contents() {
    let vfs = Setup::new().mount().await;
    let ino = find(&vfs, "attributed").await.unwrap().ino;
    assert_eq!(vfs.listxattr(ino).await.unwrap(), "user.big\0user.small\0");
    assert_eq!(vfs.getxattr(ino, b"user.small").await.unwrap(), "value");
    assert!(at_once(vfs.getxattr(ino, b"user.big")).is_none());
    let big = vfs.getxattr(ino, b"user.big").await.unwrap();
    assert_eq!(big, crate::support::noise(77, 5000));
    assert!(matches!(
        vfs.getxattr(ino, b"user.no").await,
        Err(VfsError::NoAttribute)
    ));
    let version = vfs.getxattr(nodeid::ROOT, b"user.lfsfs.version").await;
    assert_eq!(version.unwrap(), "app@v1");
    assert_eq!(vfs.listxattr(nodeid::ROOT).await.unwrap(), "");
}
