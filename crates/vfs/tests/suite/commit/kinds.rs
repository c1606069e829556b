//! Every kind of change is in the version, and nothing else.

use lfsfs_types::Timestamp;
use lfsfs_vfs::{Attr, RenameMode, SetAttr, SetTime, SpecialFile, XattrMode};

use crate::commit_support::{Cluster, Mount, Tree};
use crate::support::noise;
use crate::writable_support::OWNER;

/// Commits and checks that the version is what the mount showed, and shows afterwards.
async fn check(cluster: &Cluster, mount: &Mount, version: &str) {
    let expected = mount.tree().await;
    let outcome = mount.commit().await.unwrap();
    assert!(outcome.is_new && !outcome.rebased, "{outcome:?}");
    assert_eq!(format!("app@{}", outcome.version.number), version);
    assert_same(&cluster.version(version).await, &expected);
    assert_same(&mount.tree().await, &expected);
    assert_eq!(mount.vfs.changes_len(), 0);
}

/// Compares two trees and says where they differ first.
pub(super) fn assert_same(found: &Tree, expected: &Tree) {
    let paths = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(found), paths(expected));
    for (path, expected) in expected {
        let found = &found[path];
        assert!(found.bytes == expected.bytes, "bytes of {path:?}");
        assert_eq!(found.xattrs, expected.xattrs, "attributes of {path:?}");
        // No version has an access time, and none keeps holes.
        let attr = Attr {
            atime: found.attr.atime,
            blocks: found.attr.blocks,
            ..expected.attr
        };
        assert_eq!(found.attr, attr, "{path:?}");
    }
}

/// Makes something of everything and commits it as version 1.
async fn populate(cluster: &Cluster) -> Mount {
    let mount = cluster.mount("app@v0", "first").await;
    mount.mkdir("a").await;
    mount.mkdir("a/sub").await;
    mount.mkdir("a/sub/deep").await;
    mount.mkdir("b").await;
    mount.write("a/empty", b"").await;
    mount.write("a/small", b"a few bytes").await;
    mount.write("a/sub/file", &noise(1, 70_000)).await;
    mount.write("a/sub/deep/file", b"deep").await;
    mount.write("b/large", &noise(2, 5 << 20)).await;
    mount.write("b/edge", &noise(3, 1 << 20)).await;
    mount.write("b/linked", b"two names").await;
    mount.link("b/linked", "a/linked").await;
    let a = mount.ino("a").await;
    mount
        .vfs
        .symlink(a, b"link", b"sub/file", OWNER)
        .await
        .unwrap();
    for (name, kind) in [
        ("fifo", SpecialFile::Fifo),
        ("socket", SpecialFile::Socket),
        ("block", SpecialFile::BlockDevice(0x801)),
        ("char", SpecialFile::CharDevice(0x103)),
    ] {
        let made = mount.vfs.mknod(a, name.as_bytes(), kind, 0o600, OWNER);
        made.await.unwrap();
    }
    let small = mount.ino("a/small").await;
    for (name, len) in [
        ("user.short", 5),
        ("user.long", 1024),
        ("user.content", 30_000),
    ] {
        let value = noise(len, usize::try_from(len).unwrap());
        let set = mount
            .vfs
            .setxattr(small, name.as_bytes(), &value, XattrMode::Create);
        set.await.unwrap();
    }
    check(cluster, &mount, "app@v1").await;
    drop(mount);
    cluster.mount("app@v1", "second").await
}

#[tokio::test]
async fn what_is_new_is_in_the_version() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    let outcome = mount.commit().await.unwrap();
    assert!(!outcome.is_new, "nothing changed");
    assert_eq!(outcome.version.number.0, 1);
}

#[tokio::test]
async fn attributes_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.chmod("a/small", 0o4711).await;
    mount.chmod("a/fifo", 0o644).await;
    mount.chmod("b", 0o1777).await;
    mount.chmod("", 0o700).await;
    let owner = SetAttr {
        uid: Some(12),
        gid: Some(34),
        ..SetAttr::default()
    };
    mount.set("a/link", owner).await;
    let time = Timestamp { secs: 7, nanos: 8 };
    let old = SetAttr {
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    mount.set("a/sub/file", old).await;
    let small = mount.ino("a/small").await;
    mount.vfs.removexattr(small, b"user.content").await.unwrap();
    let value = noise(9, 2000);
    let set = mount
        .vfs
        .setxattr(small, b"user.short", &value, XattrMode::Replace);
    set.await.unwrap();
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn contents_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.write("a/small", b"other bytes").await;
    mount.write("a/empty", b"not any more").await;
    let large = mount.ino("b/large").await;
    mount.write_at(large, 3 << 20, b"in the middle").await;
    mount.resize("b/edge", (1 << 20) + 1).await;
    mount.resize("a/sub/file", 100).await;
    mount.write("a/new", &noise(5, 2 << 20)).await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn sizes_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    // Below what is cut, a hole at the end, and a hole alone.
    mount.resize("b/large", 1 << 20).await;
    mount.resize("b/edge", 9 << 20).await;
    mount.resize("a/empty", 70 << 20).await;
    mount.resize("a/small", 0).await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn names_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.rename("a/sub/deep", "b/deep").await;
    mount.rename("a/small", "a/sub/small").await;
    mount.rename("a/fifo", "fifo").await;
    mount.rename_with("a/sub", "b", RenameMode::Exchange).await;
    mount.mkdir("new").await;
    mount.rename("b", "new/b").await;
    mount.remove("a/socket").await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn kinds_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.remove("a/small").await;
    mount.mkdir("a/small").await;
    mount.write("a/small/file", b"in a directory now").await;
    mount.remove_all("a/sub").await;
    mount.write("a/sub", b"a file now").await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn directories_are_removed_and_made_again() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.rename("a/sub/deep", "deep").await;
    mount.remove_all("a").await;
    mount.mkdir("a").await;
    mount.mkdir("a/sub").await;
    mount.write("a/sub/file", &noise(1, 70_000)).await;
    mount.rename("deep", "a/sub/deep").await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn hard_links_change() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.link("b/linked", "b/third").await;
    mount.link("a/empty", "b/empty").await;
    mount.link("a/link", "b/link").await;
    mount.write("new", b"new with two names").await;
    mount.link("new", "newer").await;
    check(&cluster, &mount, "app@v2").await;
    drop(mount);

    let mount = cluster.mount("app@v2", "third").await;
    mount.remove("a/linked").await;
    mount.rename("b/third", "third").await;
    mount.chmod("newer", 0o600).await;
    mount.remove("b/empty").await;
    check(&cluster, &mount, "app@v3").await;
}

#[tokio::test]
async fn the_other_names_of_a_link_follow() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    // Only one of its names was ever looked at.
    let ino = mount.ino("b/linked").await;
    mount.write_at(ino, 0, b"TWO").await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn a_link_of_which_the_known_name_goes() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    let ino = mount.ino("b/linked").await;
    mount.write_at(ino, 0, b"TWO").await;
    mount.remove("b/linked").await;
    check(&cluster, &mount, "app@v2").await;
}

#[tokio::test]
async fn times_of_directories_alone_make_no_version() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    mount.write("b/temporary", b"gone soon").await;
    mount.remove("b/temporary").await;
    let outcome = mount.commit().await.unwrap();
    assert_eq!((outcome.is_new, outcome.version.number.0), (false, 1));
    assert_eq!(mount.vfs.changes_len(), 0, "nothing is left to commit");
    assert_same(&mount.tree().await, &cluster.version("app@v1").await);
}

#[tokio::test]
async fn a_mount_commits_again_and_again() {
    let cluster = Cluster::new().await;
    let mount = populate(&cluster).await;
    for round in 2..6 {
        mount
            .write("a/small", format!("round {round}").as_bytes())
            .await;
        mount.mkdir(&format!("a/sub/round{round}")).await;
        let (old, new) = (format!("b/edge{}", round - 1), format!("b/edge{round}"));
        mount
            .rename(if round == 2 { "b/edge" } else { &old }, &new)
            .await;
        mount.link("a/sub/file", &format!("b/link{round}")).await;
        check(&cluster, &mount, &format!("app@v{round}")).await;
    }
}
