//! Every limit of docs/semantics.md "Limits": what is at it is in a version, what is above it is refused by
//! the mount, so that no commit meets it.

use lfsfs_types::Timestamp;
use lfsfs_types::limits::{
    FILE_SIZE_MAX, NAME_LEN_MAX, PATH_LEN_MAX, TARGET_LEN_MAX, XATTR_LEN_MAX, XATTR_NAME_LEN_MAX,
    XATTR_NAMES_LEN_MAX, XATTRS_MAX,
};
use lfsfs_vfs::{
    CommitError, Existing, Privileges, RenameMode, SetAttr, SetTime, SpecialFile, VfsError,
    XattrMode,
};

use super::kinds::assert_same;
use crate::commit_support::{Cluster, Mount};
use crate::writable_support::{OWNER, ROOT};

/// Directories in each other, whose names are as long as names can be.
fn deep(top: &str, levels: usize) -> String {
    let name = "n".repeat(NAME_LEN_MAX);
    let names = (0..levels).map(|_| name.clone());
    let all: Vec<_> = [top.to_owned()].into_iter().chain(names).collect();
    all.join("/")
}

/// Makes all directories of a path.
async fn make(mount: &Mount, path: &str) {
    let mut at = String::new();
    for name in path.split('/') {
        at = match at.as_str() {
            "" => name.to_owned(),
            above => format!("{above}/{name}"),
        };
        mount.mkdir(&at).await;
    }
}

async fn try_rename(mount: &Mount, from: &str, to: &str, mode: RenameMode) -> Result<(), VfsError> {
    let split = |path: &str| match path.rsplit_once('/') {
        Some((dir, name)) => (dir.to_owned(), name.to_owned()),
        None => (String::new(), path.to_owned()),
    };
    let ((dir, name), (new_dir, new_name)) = (split(from), split(to));
    let (dir, new_dir) = (mount.ino(&dir).await, mount.ino(&new_dir).await);
    let vfs = &mount.vfs;
    vfs.rename(dir, name.as_bytes(), new_dir, new_name.as_bytes(), mode)
        .await
}

#[track_caller]
fn assert_too_long<T: std::fmt::Debug>(result: Result<T, VfsError>) {
    assert!(matches!(result, Err(VfsError::NameTooLong)), "{result:?}");
}

#[tokio::test]
async fn a_path_is_refused_where_it_is_made_and_not_by_the_commit() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    // 1 + 15 * 256 bytes leave room for a slash and 253 more.
    let dir = deep("a", 15);
    make(&mount, &dir).await;
    let room = PATH_LEN_MAX - dir.len() - 1;
    let name = "f".repeat(room);
    let file = mount.write(&format!("{dir}/{name}"), b"deepest").await;
    mount.mkdir(&format!("{dir}/{}", "d".repeat(room))).await;
    let over = "o".repeat(room + 1);
    let (ino, over) = (mount.ino(&dir).await, over.as_bytes());
    let vfs = &mount.vfs;
    assert_too_long(vfs.mkdir(ino, over, 0o755, OWNER).await);
    assert_too_long(vfs.create(ino, over, 0o644, OWNER, Existing::Refuse).await);
    assert_too_long(vfs.create(ino, over, 0o644, OWNER, Existing::Take).await);
    assert_too_long(vfs.symlink(ino, over, b"target", OWNER).await);
    assert_too_long(vfs.mknod(ino, over, SpecialFile::Fifo, 0o644, OWNER).await);
    assert_too_long(vfs.link(file, ino, over).await);
    let moved = vfs.rename(ino, name.as_bytes(), ino, over, RenameMode::Replace);
    assert_too_long(moved.await);
    let below = mount.ino(&format!("{dir}/{}", "d".repeat(room))).await;
    assert_too_long(vfs.mkdir(below, b"x", 0o755, OWNER).await);

    let outcome = mount.commit().await.unwrap();
    let told = outcome.version.counts.path_len;
    assert_eq!(told, Some(u32::try_from(PATH_LEN_MAX).unwrap()));
    let version = cluster.version("app@v1").await;
    assert_same(&mount.tree().await, &version);
    assert_eq!(version[&format!("{dir}/{name}")].bytes, b"deepest");
    assert!(vfs.changes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_directory_moves_only_to_where_all_below_it_fits() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    let dir = deep("a", 15);
    make(&mount, &dir).await;
    let room = PATH_LEN_MAX - dir.len() - 1;
    mount
        .write(&format!("{dir}/{}", "f".repeat(room)), b"x")
        .await;
    mount.mkdir("dir").await;
    mount.mkdir("longer").await;
    for name in ["dir/x", "longer/file"] {
        mount.write(name, b"x").await;
    }
    mount.commit().await.unwrap();
    // Committed and known; never looked at; and made anew above the version.
    let fresh = cluster.mount("app@v1", "second").await;
    let changed = cluster.mount("app@v1", "third").await;
    changed.write(&format!("{dir}/new"), b"new").await;
    drop(changed);
    let changed = cluster.mount("app@v1", "third").await;
    for mount in [&mount, &fresh, &changed] {
        check_moves_of(mount).await;
    }
    let outcome = mount.commit().await.unwrap();
    assert_same(&mount.tree().await, &cluster.version("app@v2").await);
    assert!(outcome.version.counts.path_len.unwrap() as usize <= PATH_LEN_MAX);
}

/// Moves a directory whose longest path below has as many bytes as a path can have.
async fn check_moves_of(mount: &Mount) {
    use RenameMode::{Exchange, Replace};
    assert_too_long(try_rename(mount, "a", "bb", Replace).await);
    assert_too_long(try_rename(mount, "a", "dir/a", Replace).await);
    assert_too_long(try_rename(mount, "a", "longer", Exchange).await);
    assert_too_long(try_rename(mount, "longer", "a", Exchange).await);
    // What gets no longer moves, and back.
    try_rename(mount, "a", "b", Replace).await.unwrap();
    try_rename(mount, &deep("b", 1), "b2", Replace)
        .await
        .unwrap();
    try_rename(mount, "b2", "dir/b3", Replace).await.unwrap();
    let longest = "m".repeat(NAME_LEN_MAX);
    assert_too_long(try_rename(mount, "dir/b3", &format!("dir/{longest}"), Replace).await);
    try_rename(mount, "dir/b3", &format!("b/{longest}"), Replace)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_two_sides_make_too_long_together_is_a_conflict_with_a_path() {
    let cluster = Cluster::new().await;
    let first = cluster.mount("app@v0", "first").await;
    let dir = deep("top", 14);
    make(&first, &dir).await;
    first.commit().await.unwrap();
    let mine = cluster.mount("app@v1", "mine").await;
    let long = "l".repeat(NAME_LEN_MAX);
    mine.write(&format!("{dir}/{long}"), b"mine").await;
    first.mkdir(&long).await;
    first.rename("top", &format!("{long}/top")).await;
    first.commit().await.unwrap();
    for _ in 0..2 {
        let Err(CommitError::Conflict { paths, .. }) = mine.commit().await else {
            panic!("no conflict");
        };
        let text = String::from_utf8_lossy(&paths[0]);
        assert!(text.starts_with(&format!("{long}/top/nnn")), "{text}");
    }
    assert_eq!(mine.read(&format!("{dir}/{long}")).await, b"mine");
    // Nothing is blocked: a shorter way is a commit.
    mine.rename(&format!("{dir}/{long}"), "here").await;
    mine.commit().await.unwrap();
    assert_same(&mine.tree().await, &cluster.version("app@v3").await);
}

#[tokio::test]
async fn a_time_that_no_version_can_have_becomes_the_nearest() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    for (name, secs, expected) in [
        ("first", i64::MIN, Timestamp::SECS_MIN),
        ("last", i64::MAX, Timestamp::SECS_MAX),
        ("kept", Timestamp::SECS_MAX, Timestamp::SECS_MAX),
    ] {
        mount.write(name, b"file").await;
        let time = SetTime::At(Timestamp { secs, nanos: 0 });
        let new = SetAttr {
            mtime: Some(time),
            ..SetAttr::default()
        };
        mount.set(name, new).await;
        let attr = mount.vfs.getattr(mount.ino(name).await).await.unwrap();
        assert_eq!(attr.mtime.secs, expected, "{name}");
    }
    mount.commit().await.unwrap();
    assert_same(&mount.tree().await, &cluster.version("app@v1").await);
}

/// One limit: how far something goes, and the error beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Name,
    Target,
    XattrName,
    XattrValue,
    XattrCount,
    XattrNames,
    Size,
}

const LIMITS: [Limit; 7] = [
    Limit::Name,
    Limit::Target,
    Limit::XattrName,
    Limit::XattrValue,
    Limit::XattrCount,
    Limit::XattrNames,
    Limit::Size,
];

/// Goes up to a limit, or one above it.
async fn reach(mount: &Mount, ino: u64, limit: Limit, more: usize) -> Result<(), VfsError> {
    let vfs = &mount.vfs;
    let set = async |name: &str, value: &[u8]| {
        let name = name.as_bytes();
        vfs.setxattr(ino, name, value, XattrMode::Set).await
    };
    match limit {
        Limit::Name => {
            let name = "x".repeat(NAME_LEN_MAX + more);
            vfs.mkdir(ROOT, name.as_bytes(), 0o755, OWNER)
                .await
                .map(drop)
        }
        Limit::Target => {
            let target = "t".repeat(TARGET_LEN_MAX + more);
            let name = format!("link{more}");
            let made = vfs.symlink(ROOT, name.as_bytes(), target.as_bytes(), OWNER);
            made.await.map(drop)
        }
        Limit::XattrName => {
            let rest = "x/".repeat(XATTR_NAME_LEN_MAX);
            let name = format!("user.{rest}");
            set(&name[..XATTR_NAME_LEN_MAX + more], b"value").await
        }
        Limit::XattrValue => set("user.large", &vec![7; XATTR_LEN_MAX + more]).await,
        Limit::XattrCount => {
            for number in 0..XATTRS_MAX + more {
                set(&format!("user.{number}"), b"").await?;
            }
            Ok(())
        }
        Limit::XattrNames => {
            // Each has 256 bytes with its NUL.
            for number in 0..XATTR_NAMES_LEN_MAX / 256 + more {
                set(&format!("user.{number:0>250}"), b"").await?;
            }
            Ok(())
        }
        Limit::Size => {
            let new = SetAttr {
                size: Some(FILE_SIZE_MAX + more as u64),
                privileges: Privileges::Keep,
                ..SetAttr::default()
            };
            vfs.setattr(ino, new).await.map(drop)
        }
    }
}

fn is_expected(limit: Limit, error: &VfsError) -> bool {
    match limit {
        Limit::Name | Limit::Target => matches!(error, VfsError::NameTooLong),
        Limit::XattrName => matches!(error, VfsError::AttributeNameTooLong),
        Limit::XattrValue => matches!(error, VfsError::AttributeTooLarge),
        Limit::XattrCount | Limit::XattrNames => matches!(error, VfsError::NoSpace),
        Limit::Size => matches!(error, VfsError::FileTooLarge),
    }
}

#[tokio::test]
async fn what_is_at_a_limit_is_committed_and_what_is_above_is_refused_at_once() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    for limit in LIMITS {
        let ino = mount.write(&format!("file{limit:?}"), b"file").await;
        // No test waits for the hash of a file that is as long as a file can be.
        if limit != Limit::Size {
            reach(&mount, ino, limit, 0).await.unwrap();
        }
        let other = mount.write(&format!("other{limit:?}"), b"other").await;
        let error = reach(&mount, other, limit, 1).await.unwrap_err();
        assert!(is_expected(limit, &error), "{limit:?}: {error:?}");
    }
    mount.commit().await.unwrap();
    assert_same(&mount.tree().await, &cluster.version("app@v1").await);
}
