//! Two mounts of one version commit.

use std::sync::Arc;

use lfsfs_types::{Timestamp, VersionId};
use lfsfs_vfs::{CommitError, CommitOutcome, SetAttr, SetTime};

use super::kinds::assert_same;
use crate::commit_support::{Cluster, Mount};

/// Two mounts of a version with `shared/file`, `mine/file`, `theirs/file` and `deep/below/file`.
async fn two() -> (Cluster, Mount, Mount) {
    let cluster = Cluster::new().await;
    let first = cluster.mount("app@v0", "first").await;
    for dir in ["shared", "mine", "theirs", "deep", "deep/below"] {
        first.mkdir(dir).await;
    }
    for dir in ["shared", "mine", "theirs", "deep/below"] {
        first.write(&format!("{dir}/file"), dir.as_bytes()).await;
    }
    first.commit().await.unwrap();
    let mine = cluster.mount("app@v1", "mine").await;
    let theirs = cluster.mount("app@v1", "theirs").await;
    (cluster, mine, theirs)
}

/// Returns the paths of a conflict.
fn conflict(result: Result<CommitOutcome, CommitError>) -> Vec<String> {
    match result {
        Err(CommitError::Conflict { paths, count }) => {
            assert_eq!(count, paths.len() as u64);
            let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
            paths.into_iter().map(text).collect()
        }
        other => panic!("no conflict: {other:?}"),
    }
}

#[tokio::test]
async fn changes_that_do_not_touch_are_both_in_the_version() {
    let (cluster, mine, theirs) = two().await;
    theirs.write("theirs/file", b"theirs, new").await;
    theirs.mkdir("theirs/dir").await;
    theirs.commit().await.unwrap();
    mine.write("mine/file", b"mine, new").await;
    mine.rename("shared", "mine/shared").await;
    let outcome = mine.commit().await.unwrap();
    assert!(outcome.is_new && outcome.rebased, "{outcome:?}");
    assert_eq!((outcome.version.base.0, outcome.version.number.0), (1, 3));
    let version = cluster.version("app@v3").await;
    assert_eq!(version["theirs/file"].bytes, b"theirs, new");
    assert_eq!(version["mine/file"].bytes, b"mine, new");
    assert_eq!(version["mine/shared/file"].bytes, b"shared");
    assert!(version.contains_key("theirs/dir") && !version.contains_key("shared"));
    assert_same(&mine.tree().await, &version);
}

#[tokio::test]
async fn what_touches_is_a_conflict_and_nothing_is_lost() {
    let (cluster, mine, theirs) = two().await;
    theirs.write("shared/file", b"theirs").await;
    theirs.commit().await.unwrap();
    mine.write("shared/file", b"mine").await;
    mine.write("mine/file", b"mine too").await;
    let before = mine.tree().await;
    for _ in 0..2 {
        assert_eq!(conflict(mine.commit().await), ["shared/file"]);
        assert_same(&mine.tree().await, &before);
    }
    let version = cluster.version("app@latest").await;
    assert_eq!(version["shared/file"].bytes, b"theirs");
    assert_eq!(version["mine/file"].bytes, b"mine");

    let outcome = mine.force().await.unwrap();
    assert_eq!(outcome.version.number.0, 3);
    let version = cluster.version("app@v3").await;
    assert_same(&mine.tree().await, &version);
    assert_eq!(version["shared/file"].bytes, b"mine");
    assert_eq!(version["mine/file"].bytes, b"mine too");
    let version = cluster.version("app@v2").await;
    assert_eq!(version["shared/file"].bytes, b"theirs");
}

#[tokio::test]
async fn an_edit_below_a_directory_that_they_moved_removed_or_replaced_is_a_conflict() {
    for what in 0..3 {
        let (cluster, mine, theirs) = two().await;
        match what {
            0 => theirs.rename("deep", "moved").await,
            1 => theirs.remove_all("deep").await,
            _ => {
                theirs.remove_all("deep").await;
                theirs.write("deep", b"a file").await;
            }
        }
        theirs.commit().await.unwrap();
        mine.write("deep/below/file", b"mine").await;
        let paths = conflict(mine.commit().await);
        assert!(!paths.is_empty(), "{what}");
        assert_eq!(mine.read("deep/below/file").await, b"mine");

        mine.force().await.unwrap();
        let version = cluster.version("app@latest").await;
        assert_same(&mine.tree().await, &version);
        let path = if what == 0 {
            ["deep/below/file", "moved/below/file"]
        } else {
            ["deep/below/file"; 2]
        };
        let mut found = path.iter().filter_map(|path| version.get(*path));
        assert!(
            found.any(|seen| seen.bytes == b"mine"),
            "{what}: {:?}",
            version.keys()
        );
    }
}

#[tokio::test]
async fn what_both_made_alike_is_no_conflict() {
    let (cluster, mine, theirs) = two().await;
    for mount in [&theirs, &mine] {
        mount.write("shared/file", b"the same").await;
        mount.mkdir("shared/new").await;
    }
    theirs.commit().await.unwrap();
    mine.write("mine/more", b"more").await;
    mine.write("shared/new/mine", b"below").await;
    mine.commit().await.unwrap();
    let version = cluster.version("app@latest").await;
    assert_eq!(version["shared/file"].bytes, b"the same");
    assert_eq!(version["shared/new/mine"].bytes, b"below");
    assert_same(&mine.tree().await, &version);
}

#[tokio::test]
async fn what_both_made_alike_and_nothing_else_is_no_version() {
    let (cluster, mine, theirs) = two().await;
    for mount in [&theirs, &mine] {
        mount.write("shared/file", b"the same").await;
        mount.mkdir("shared/new").await;
        mount.mkdir("shared/new/below").await;
    }
    theirs.write("theirs/file", b"theirs, new").await;
    theirs.commit().await.unwrap();
    let outcome = mine.commit().await.unwrap();
    assert_eq!((outcome.is_new, outcome.version.number.0), (false, 2));
    assert_eq!(mine.vfs.changes_len(), 0);
    assert_same(&mine.tree().await, &cluster.version("app@v2").await);
}

/// What changed here while a commit was under way that was rebased on another change of it.
#[tokio::test]
async fn a_change_after_the_seal_of_what_others_changed_before_is_a_conflict() {
    let (cluster, mine, theirs) = two().await;
    mine.write("mine/file", b"mine, sealed").await;
    let overlay = Arc::clone(mine.vfs.overlay().unwrap());
    overlay.seal(VersionId([9; 16])).unwrap();
    theirs.write("shared/file", b"theirs").await;
    theirs.commit().await.unwrap();
    mine.write("shared/file", b"mine, later").await;
    mine.write("mine/other", b"mine, later too").await;

    assert_eq!(conflict(mine.commit().await), ["shared/file"]);
    let version = cluster.version("app@latest").await;
    assert_eq!(version["mine/file"].bytes, b"mine, sealed");
    assert_eq!(version["shared/file"].bytes, b"theirs");
    assert!(!version.contains_key("mine/other"));
    assert_eq!(mine.read("shared/file").await, b"mine, later");

    let outcome = mine.force().await.unwrap();
    assert_eq!(outcome.version.number.0, 4);
    let version = cluster.version("app@v4").await;
    assert_eq!(version["shared/file"].bytes, b"mine, later");
    assert_eq!(version["mine/other"].bytes, b"mine, later too");
    assert_same(&mine.tree().await, &version);
}

#[tokio::test]
async fn of_two_times_the_later_wins() {
    let (cluster, mine, theirs) = two().await;
    let at = |secs| SetAttr {
        mtime: Some(SetTime::At(Timestamp { secs, nanos: 0 })),
        ..SetAttr::default()
    };
    theirs.set("shared/file", at(3_000_000_000)).await;
    theirs.commit().await.unwrap();
    mine.set("shared/file", at(2_900_000_000)).await;
    mine.write("mine/file", b"mine").await;
    mine.commit().await.unwrap();
    let version = cluster.version("app@latest").await;
    assert_eq!(version["shared/file"].attr.mtime.secs, 3_000_000_000);
}

/// What others do to one name of a hard-linked file while I move another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToLink {
    Touch,
    Chmod,
    Write,
}

#[tokio::test]
async fn names_of_a_hard_link_are_one_file_and_counted_whatever_both_sides_do() {
    for theirs_do in [ToLink::Touch, ToLink::Chmod, ToLink::Write] {
        let (cluster, first, _) = two().await;
        first.write("one", b"linked").await;
        first.link("one", "two").await;
        first.link("one", "shared/three").await;
        first.commit().await.unwrap();
        let theirs = cluster.mount("app@v2", "they").await;
        let mine = cluster.mount("app@v2", "i").await;
        let touched = SetTime::At(Timestamp {
            secs: 4_000_000_000,
            nanos: 7,
        });
        match theirs_do {
            ToLink::Touch => {
                let new = SetAttr {
                    mtime: Some(touched),
                    ..SetAttr::default()
                };
                theirs.set("one", new).await;
            }
            ToLink::Chmod => theirs.chmod("one", 0o600).await,
            ToLink::Write => {
                theirs.write("one", b"theirs").await;
            }
        }
        theirs.commit().await.unwrap();
        mine.rename("two", "moved").await;
        match theirs_do {
            ToLink::Touch => assert!(mine.commit().await.unwrap().rebased),
            _ => {
                assert!(!conflict(mine.commit().await).is_empty());
                mine.force().await.unwrap();
            }
        }
        let version = cluster.version("app@v4").await;
        assert_same(&mine.tree().await, &version);
        assert!(!version.contains_key("two"));
        let kept = ["one", "shared/three"].map(|path| version[path].clone());
        let moved = &version["moved"];
        match theirs_do {
            // The time that they set is on all names, the new one too.
            ToLink::Touch => {
                assert!(kept.iter().all(|seen| seen == moved), "{version:#?}");
                assert_eq!(
                    (moved.attr.nlink, moved.attr.mtime.secs),
                    (3, 4_000_000_000)
                );
            }
            // The link is given up: what they changed counts the names that it has left.
            _ => {
                assert!(kept.iter().all(|seen| seen.attr.nlink == 2), "{version:#?}");
                assert_eq!((moved.attr.nlink, &moved.bytes[..]), (1, &b"linked"[..]));
            }
        }
    }
}
