//! Discards: paths are as the version has them again, other changes stay, and the kernel is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_types::{Kind, Link, LinkId, ObjectPath, VersionId};
use lfsfs_vfs::{DiscardError, KernelCache, Privileges, Vfs};
use proptest::prelude::*;

use crate::local_changes::{config, lines};
use crate::trees::{Mounted, Step, Tree, path, step, walk};
use crate::writable_support::{Machine, ROOT, find, ino, read_all};

/// What a kernel was told.
#[derive(Debug, Default)]
struct Told {
    entries: Mutex<BTreeSet<(u64, Vec<u8>)>>,
    data: Mutex<BTreeSet<u64>>,
}

impl KernelCache for Told {
    fn drop_entry(&self, parent: u64, name: &[u8]) {
        self.entries.lock().unwrap().insert((parent, name.to_vec()));
    }

    fn drop_attributes(&self, _ino: u64) {}

    fn drop_data(&self, ino: u64) {
        self.data.lock().unwrap().insert(ino);
    }
}

async fn discard(vfs: &Vfs, paths: &[&str]) -> Result<u64, DiscardError> {
    let paths: Vec<_> = paths.iter().map(|path| object_path(path)).collect();
    let exclusive = vfs.exclusive().await;
    exclusive.discard(&paths, Arc::new(Told::default())).await
}

fn object_path(path: &str) -> ObjectPath {
    ObjectPath::new(path.as_bytes()).unwrap()
}

async fn after(steps: &[Step]) -> Mounted {
    let mounted = Mounted::new().await;
    for step in steps {
        mounted.must(step).await;
    }
    mounted
}

fn rename(from: &str, to: &str) -> Step {
    Step::Rename(from.into(), to.into())
}

fn write(path: &str) -> Step {
    Step::Write(path.into(), 0, 1)
}

/// What of a tree does not depend on numbers.
fn seen(tree: &Tree) -> Tree {
    let plain = tree.iter().map(|(path, node)| {
        let mut node = node.clone();
        node.ino = 0;
        (path.clone(), node)
    });
    plain.collect()
}

#[tokio::test]
async fn everything_goes_back_and_numbers_stay() {
    let mounted = Mounted::new().await;
    let before = walk(&mounted.vfs).await;
    for step in [
        write("a/c"),
        rename("a/a", "e"),
        write("e/a"),
        Step::Create("new".into()),
        Step::RemoveAll("b".into()),
    ] {
        mounted.must(&step).await;
    }
    let file = ino(&mounted.vfs, "new").await;
    mounted
        .vfs
        .write(file, 0, b"open", Privileges::Keep)
        .await
        .unwrap();
    assert!(discard(&mounted.vfs, &[]).await.unwrap() > 0);
    assert_eq!(mounted.vfs.changes_len(), 0);
    let now = walk(&mounted.vfs).await;
    assert_eq!(seen(&now), seen(&before));
    for path in ["a/c", "a/a", "a/a/a", "d"] {
        assert_eq!(now[path].ino, before[path].ino, "{path}");
    }
    assert_eq!(
        read_all(&mounted.vfs, file).await,
        b"open",
        "it is open and goes on"
    );
    assert_eq!(discard(&mounted.vfs, &[]).await.unwrap(), 0);
    let mounted = mounted.remount().await;
    assert_eq!(seen(&walk(&mounted.vfs).await), seen(&before));
}

#[tokio::test]
async fn one_path_goes_back_and_others_stay() {
    let steps = [
        write("a/c"),
        write("d"),
        Step::Create("a/new".into()),
        Step::Remove("b/b".into()),
    ];
    let mounted = after(&steps).await;
    assert_eq!(discard(&mounted.vfs, &["a/c"]).await.unwrap(), 1);
    assert_eq!(lines(&mounted.vfs).await, ["A a/new", "D b/b", "M d"]);
    assert_eq!(discard(&mounted.vfs, &["b"]).await.unwrap(), 1);
    assert_eq!(lines(&mounted.vfs).await, ["A a/new", "M d"]);
    discard(&mounted.vfs, &["a/new", "d"]).await.unwrap();
    assert!(lines(&mounted.vfs).await.is_empty());
    assert_eq!(mounted.vfs.changes_len(), 0);
}

#[tokio::test]
async fn a_moved_directory_goes_back_by_either_path() {
    for path in ["a/a", "e"] {
        let steps = [rename("a/a", "e"), write("e/a"), Step::Create("e/n".into())];
        let mounted = after(&steps).await;
        discard(&mounted.vfs, &[path]).await.unwrap();
        assert!(lines(&mounted.vfs).await.is_empty(), "{path}");
        assert_eq!(mounted.vfs.changes_len(), 0, "{path}");
        find(&mounted.vfs, "a/a/b/a").await.unwrap();
    }
}

#[tokio::test]
async fn what_is_below_a_moved_directory_goes_back_without_it() {
    let steps = [rename("a", "e"), write("e/c"), Step::Remove("e/a/a".into())];
    let mounted = after(&steps).await;
    assert_eq!(lines(&mounted.vfs).await, ["D a/a/a", "M e/c", "R a e"]);
    discard(&mounted.vfs, &["a/a/a", "e/c"]).await.unwrap();
    assert_eq!(lines(&mounted.vfs).await, ["R a e"]);
}

#[tokio::test]
async fn a_place_that_others_took_must_be_discarded_too() {
    let steps = [rename("a/c", "e"), Step::Create("a/c".into())];
    let mounted = after(&steps).await;
    let blocked = discard(&mounted.vfs, &["e"]).await;
    assert!(
        matches!(&blocked, Err(DiscardError::Blocked { path }) if path.as_bytes() == b"a/c"),
        "{blocked:?}"
    );
    assert_eq!(lines(&mounted.vfs).await, ["A e", "M a/c"]);
    discard(&mounted.vfs, &["e", "a/c"]).await.unwrap();
    assert!(lines(&mounted.vfs).await.is_empty());
}

#[tokio::test]
async fn what_was_below_a_removed_directory_needs_that_directory() {
    let mounted = after(&[Step::RemoveAll("a".into())]).await;
    let blocked = discard(&mounted.vfs, &["a/a/a"]).await;
    assert!(
        matches!(&blocked, Err(DiscardError::Blocked { path }) if path.as_bytes() == b"a"),
        "{blocked:?}"
    );
    discard(&mounted.vfs, &["a"]).await.unwrap();
    assert!(lines(&mounted.vfs).await.is_empty());
}

#[tokio::test]
async fn a_path_that_neither_side_has_is_an_error_and_one_without_changes_is_none() {
    let mounted = after(&[write("d")]).await;
    assert_eq!(discard(&mounted.vfs, &["a/c"]).await.unwrap(), 0);
    let missing = discard(&mounted.vfs, &["d", "a/nothing"]).await;
    assert!(
        matches!(&missing, Err(DiscardError::NoSuchPath { path }) if path.as_bytes() == b"a/nothing"),
        "{missing:?}"
    );
    assert_eq!(lines(&mounted.vfs).await, ["M d"]);
    let untouched = Mounted::new().await;
    assert_eq!(discard(&untouched.vfs, &[]).await.unwrap(), 0);
    assert!(untouched.vfs.overlay().is_none());
}

#[tokio::test]
async fn nothing_is_discarded_while_a_commit_is_under_way() {
    let mounted = after(&[write("d")]).await;
    let overlay = mounted.vfs.overlay().unwrap();
    overlay.seal(VersionId([4; 16])).unwrap();
    for paths in [&[][..], &["d"]] {
        let refused = discard(&mounted.vfs, paths).await;
        assert!(
            matches!(refused, Err(DiscardError::CommitUnderWay)),
            "{refused:?}"
        );
    }
    overlay.aborted(VersionId([4; 16])).unwrap();
    assert_eq!(discard(&mounted.vfs, &["d"]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_name_of_a_hard_linked_file_comes_back_with_its_content() {
    let mut tree = MemoryTree::new();
    let content = tree.content(b"shared");
    let mut record = plain(Kind::File { size: 6, content }, 0o644);
    record.link = Some(Link {
        id: LinkId(5),
        nlink: 2,
    });
    tree.add("first", record.clone()).add("second", record);
    let machine = Machine::with(&tree);
    let vfs = machine.mount().await;
    let file = ino(&vfs, "second").await;
    vfs.write(file, 0, b"SHARED", Privileges::Keep)
        .await
        .unwrap();
    vfs.link(file, ROOT, b"third").await.unwrap();
    vfs.unlink(ROOT, b"first").await.unwrap();
    discard(&vfs, &["third"]).await.unwrap();
    assert_eq!(lines(&vfs).await, ["D first", "M second"]);
    discard(&vfs, &["first"]).await.unwrap();
    assert!(lines(&vfs).await.is_empty());
    assert_eq!(read_all(&vfs, file).await, b"shared");
    assert_eq!(vfs.getattr(file).await.unwrap().nlink, 2);
    assert_eq!(ino(&vfs, "first").await, file);
    assert_eq!(vfs.changes_len(), 0);
}

#[tokio::test]
async fn a_directory_that_comes_back_has_again_what_was_moved_out_of_it() {
    let steps = [
        rename("b/a", "e"),
        rename("b/b", "f"),
        Step::RemoveAll("b".into()),
    ];
    let mounted = after(&steps).await;
    discard(&mounted.vfs, &["b"]).await.unwrap();
    assert!(lines(&mounted.vfs).await.is_empty());
    assert_eq!(mounted.vfs.changes_len(), 0);
    find(&mounted.vfs, "b/a/a").await.unwrap();
    assert!(find(&mounted.vfs, "e").await.is_err());
}

#[tokio::test]
async fn a_directory_that_comes_back_brings_names_of_hard_linked_files() {
    let mut tree = MemoryTree::new();
    let content = tree.content(b"shared");
    let mut record = plain(Kind::File { size: 6, content }, 0o644);
    record.link = Some(Link {
        id: LinkId(5),
        nlink: 3,
    });
    tree.directory("a").directory("a/a");
    for path in ["a/a/one", "a/two", "three"] {
        tree.add(path, record.clone());
    }
    let machine = Machine::with(&tree);
    let mounted = Mounted {
        vfs: machine.mount().await,
        machine,
    };
    mounted.must(&Step::Chmod("three".into(), 1)).await;
    mounted.must(&Step::RemoveAll("a".into())).await;
    let file = ino(&mounted.vfs, "three").await;
    assert_eq!(mounted.vfs.getattr(file).await.unwrap().nlink, 1);
    discard(&mounted.vfs, &["a"]).await.unwrap();
    assert_eq!(mounted.vfs.getattr(file).await.unwrap().nlink, 3);
    assert_eq!(ino(&mounted.vfs, "a/a/one").await, file);
    assert_eq!(mounted.vfs.changes_len(), 0);
}

/// Fails unless the kernel was told of everything that a path showed and shows no more.
fn check_told(before: &Tree, after: &Tree, told: &Told) {
    let (entries, data) = (told.entries.lock().unwrap(), told.data.lock().unwrap());
    for (one, other) in [(before, after), (after, before)] {
        for (path, node) in one.iter().filter(|it| !it.0.is_empty()) {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let parent = one[above].ino;
            let Some((above, _)) = other.iter().find(|it| it.1.ino == parent) else {
                continue;
            };
            let slash = if above.is_empty() { "" } else { "/" };
            let there = other.get(&format!("{above}{slash}{name}"));
            let same = there.is_some_and(|it| it.ino == node.ino);
            let key = (parent, name.as_bytes().to_vec());
            assert!(same || entries.contains(&key), "the entry {path}");
        }
    }
    for (path, node) in before {
        let now = after.values().find(|it| it.ino == node.ino);
        let same = now.is_none_or(|now| now == node);
        assert!(same || data.contains(&node.ino), "the data of {path}");
    }
}

/// Returns true if a line is about something at or below a path.
fn is_below(line: &str, path: &str) -> bool {
    line[2..].split(' ').any(|it| {
        it.strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

async fn run(steps: Vec<Step>, wanted: Vec<String>) {
    let mut mounted = Mounted::new().await;
    let base = walk(&mounted.vfs).await;
    for step in &steps {
        mounted = mounted.step(step).await;
    }
    let (before, lines_before) = (walk(&mounted.vfs).await, lines(&mounted.vfs).await);
    let paths: Vec<_> = wanted.iter().map(|path| object_path(path)).collect();
    let told = Arc::new(Told::default());
    let result = mounted
        .vfs
        .exclusive()
        .await
        .discard(&paths, told.clone())
        .await;
    let (after, lines_after) = (walk(&mounted.vfs).await, lines(&mounted.vfs).await);
    check_told(&before, &after, &told);
    match result {
        Ok(_) if wanted.is_empty() => {
            assert_eq!(seen(&after), seen(&base));
            assert_eq!(mounted.vfs.changes_len(), 0);
        }
        Ok(_) => {
            for path in &wanted {
                let left: Vec<_> = lines_after.iter().filter(|it| is_below(it, path)).collect();
                assert!(left.is_empty(), "{path}: {left:?}");
            }
            for line in &lines_after {
                assert!(lines_before.contains(line), "{line} was no line before");
            }
        }
        Err(DiscardError::NoSuchPath { path }) => {
            let path = String::from_utf8(path.as_bytes().to_vec()).unwrap();
            assert!(!base.contains_key(&path) && !before.contains_key(&path));
            assert_eq!(after, before);
        }
        Err(DiscardError::Blocked { .. }) => {
            assert_eq!(after, before);
            assert_eq!(lines_after, lines_before);
        }
        Err(error) => panic!("{error}"),
    }
    let mounted = mounted.remount().await;
    assert_eq!(seen(&walk(&mounted.vfs).await), seen(&after));
    assert_eq!(lines(&mounted.vfs).await, lines_after);
}

#[test]
fn discarded_paths_are_as_in_the_version_and_nothing_else_changes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let steps = prop::collection::vec(step(), 1..25);
    let wanted = prop::collection::vec(path(), 0..3);
    proptest!(config(300), |(steps in steps, wanted in wanted)| {
        runtime.block_on(run(steps, wanted));
    });
}
