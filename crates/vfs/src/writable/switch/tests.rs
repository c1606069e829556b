//! Switches and ends of commits below a kernel that keeps everything it may keep.

mod kernel;
mod links;
mod model;
mod open;
mod threads;
mod world;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_remote::Call;
use lfsfs_remote::memory::MemoryTree;
use lfsfs_types::{DirId, Name};
use tokio::time::timeout;

use self::kernel::Told;
use self::world::{ROOT, World};
use crate::error::VfsError;
use crate::kernel::KernelCache;
use crate::verb_error::SwitchError;
use crate::writable::request::{Owner, Privileges, SetAttr};

const OWNER: Owner = Owner { uid: 0, gid: 0 };

fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.directory("a")
        .file("a/keep", b"kept")
        .file("a/other", b"one")
        .file("a/same", b"same")
        .directory("b")
        .file("b/file", b"in b")
        .directory("b/deep")
        .file("b/deep/leaf", b"leaf")
        .file("top", b"top");
    tree
}

/// The next version: of everything something.
fn next() -> MemoryTree {
    let mut tree = tree();
    tree.file("a/other", b"two, longer")
        .file("a/first", b"shifts the others")
        .remove("top")
        .rename("b", "c");
    tree
}

#[tokio::test]
async fn a_switch_shows_the_other_version_and_tells_the_kernel_only_what_differs() {
    let world = World::new(&tree()).await;
    let before = world.walk().await;
    let second = world.serve(&next());
    let report = world.switch(&second).await.unwrap();
    world.check().await;
    let after = world.walk().await;

    let number = |path: &str| (before[path].ino, after[path].ino);
    for path in ["a", "a/keep", "a/same"] {
        assert_eq!(number(path).0, number(path).1, "{path}");
    }
    assert_eq!(before["b"].ino, after["c"].ino);
    assert_eq!(before["b/deep/leaf"].ino, after["c/deep/leaf"].ino);
    assert_ne!(number("a/other").0, number("a/other").1);
    assert_eq!(after["a/other"].bytes, b"two, longer");

    let a = before["a"].ino;
    let entry = |parent: u64, name: &str| Told::Entry(parent, name.as_bytes().to_vec());
    let mut told = world.kernel.take_told();
    told.sort();
    told.dedup();
    let mut expected = vec![
        entry(ROOT, "b"),
        entry(ROOT, "c"),
        entry(ROOT, "top"),
        entry(a, "first"),
        entry(a, "other"),
        Told::Data(a),
        Told::Data(ROOT),
    ];
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!((report.entries, report.directories), (5, 2));
    assert_eq!(report.changed, 5);
}

/// A mount with something mounted below it asks which names would be replaced, before it goes on.
#[tokio::test]
async fn a_switch_that_looks_at_its_names_first_asks_the_server_no_more() {
    let mut asked = Vec::new();
    for looks_first in [false, true] {
        let world = World::new(&tree()).await;
        world.walk().await;
        let second = world.serve(&next());
        world.remote.take_calls();
        let exclusive = world.vfs.exclusive().await;
        let switch = exclusive.prepare_switch(second).await.unwrap();
        if looks_first {
            let replaced = switch.replaced(|it| it.dir == DirId::ROOT).await.unwrap();
            let names = replaced.iter().flat_map(|it| &it.name);
            let mut names: Vec<_> = names.map(Name::as_bytes).collect();
            names.sort_unstable();
            assert_eq!(names, [&b"b"[..], b"c", b"top"]);
        }
        let kernel: Arc<dyn KernelCache> = world.kernel.clone();
        assert_eq!(switch.run(&kernel).await.unwrap().changed, 5);
        asked.push(world.remote.take_calls());
    }
    assert_eq!(asked[0].of(Call::ChangedNames), 1);
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_switch_back_gives_everything_its_number_again() {
    let world = World::new(&tree()).await;
    let first = world.vfs.base().snapshot().clone();
    let before = world.walk().await;
    let second = world.serve(&next());
    world.switch(&second).await.unwrap();
    world.walk().await;
    world.switch(&first).await.unwrap();
    world.check().await;
    let after = world.walk().await;
    for (path, seen) in &before {
        assert_eq!(seen.ino, after[path].ino, "{path}");
    }
    assert_eq!(before.len(), after.len());
}

#[tokio::test]
async fn a_name_that_came_and_went_between_the_versions_empties_no_directory() {
    let world = World::new(&tree()).await;
    let before = world.walk().await;
    let mut between = tree();
    between.file("b/meanwhile", b"came");
    world.serve(&between);
    let mut last = tree();
    last.remove("b/file");
    let last = world.serve(&last);
    world.switch(&last).await.unwrap();
    world.check().await;
    let after = world.walk().await;
    assert_eq!(before["b/deep"].ino, after["b/deep"].ino);
}

#[tokio::test]
async fn what_is_open_keeps_what_was_opened() {
    let world = World::new(&tree()).await;
    let other = world.find("a/other").await;
    let top = world.find("top").await;
    let deep = world.find("b/deep").await;
    let mut tree = next();
    tree.remove("c/deep");
    let second = world.serve(&tree);
    world.switch(&second).await.unwrap();

    // Known by their numbers, although no name leads to them.
    assert_eq!(world.read(other).await, b"one");
    assert_eq!(world.read(top).await, b"top");
    assert_eq!(world.vfs.getattr(top).await.unwrap().size, 3);
    assert!(matches!(
        world.vfs.write(top, 0, b"x", Privileges::Keep).await,
        Err(VfsError::Stale)
    ));
    // A directory that is gone is empty, and nothing can be made in it.
    assert!(world.list(deep).await.is_empty());
    let made = world.vfs.mkdir(deep, b"x", 0o755, OWNER).await;
    assert!(matches!(made, Err(VfsError::NotFound)), "{made:?}");
    let found = world.vfs.lookup(deep, b"leaf").await;
    assert!(matches!(found, Err(VfsError::NotFound)), "{found:?}");

    // Forgotten, they are gone.
    world.vfs.forget(top, 1);
    assert!(matches!(world.vfs.getattr(top).await, Err(VfsError::Stale)));
}

#[tokio::test]
async fn a_switch_is_refused_while_there_are_changes() {
    let world = World::new(&tree()).await;
    let top = world.find("top").await;
    world
        .vfs
        .write(top, 0, b"new", Privileges::Keep)
        .await
        .unwrap();
    let second = world.serve(&next());
    let refused = world.switch(&second).await;
    assert!(
        matches!(refused, Err(SwitchError::HasChanges { count: 1 })),
        "{refused:?}"
    );
    assert_eq!(world.read(top).await, b"new");
    assert!(world.kernel.take_told().is_empty());
    assert!(world.vfs.may_keep(ROOT));
}

#[tokio::test]
async fn a_mount_goes_on_from_its_commit_with_its_numbers_and_tells_the_kernel_nothing() {
    let mut world = World::new(&tree()).await;
    world.walk().await;
    let made = world.vfs.mkdir(ROOT, b"made", 0o755, OWNER).await.unwrap();
    world.create("made/inner", b"inner").await;
    world.write("a/other", b"changed").await;
    world.rename("b", "moved").await;
    let before = world.walk().await;
    assert_eq!(before["made"].ino, made.attr.ino);
    world.kernel.take_told();

    world.commit().await;
    assert!(world.vfs.overlay().unwrap().state().is_unchanged());
    assert_eq!(world.kernel.take_told(), []);
    world.check().await;
    let after = world.walk().await;
    assert_eq!(before, after);
    // The numbers are kept even if the kernel forgets, until the mount ends.
    world.forget_all();
    let again = world.walk().await;
    for (path, seen) in &before {
        assert_eq!(seen.ino, again[path].ino, "{path}");
    }
}

#[tokio::test]
async fn what_changes_while_a_commit_is_under_way_stays_a_change() {
    let mut world = World::new(&tree()).await;
    world.walk().await;
    world.write("a/other", b"first").await;
    world.create("a/new", b"new").await;
    let sealed = world.seal().await;
    world.write("a/other", b"second").await;
    world.rename("a/new", "renamed").await;
    world.create("late", b"late").await;
    let before = world.walk().await;
    world.end_commit(sealed).await;
    world.check().await;
    assert_eq!(before, world.walk().await);
    assert!(!world.vfs.overlay().unwrap().state().is_unchanged());

    world.commit().await;
    world.check().await;
    assert_eq!(before, world.walk().await);
    let base = world.remount().await;
    assert_eq!(base.walk().await["a/other"].bytes, b"second");
    assert_eq!(base.walk().await["renamed"].bytes, b"new");
}

#[tokio::test]
async fn attributes_alone_are_told_alone() {
    let world = World::new(&tree()).await;
    let keep = world.find("a/keep").await;
    world.walk().await;
    let mut tree = tree();
    let mut record = lfsfs_remote::memory::plain(
        lfsfs_types::Kind::File {
            size: 4,
            content: tree.content(b"kept"),
        },
        0o600,
    );
    record.mtime.secs += 5;
    tree.add("a/keep", record);
    let second = world.serve(&tree);
    let report = world.switch(&second).await.unwrap();
    assert_eq!(world.kernel.take_told(), [Told::Attributes(keep)]);
    assert_eq!(
        (report.entries, report.attributes, report.directories),
        (0, 1, 0)
    );
    world.check().await;
    assert_eq!(world.vfs.getattr(keep).await.unwrap().mode, 0o600);
}

#[tokio::test]
async fn a_switch_without_an_overlay_makes_none_and_the_first_change_is_made_on_the_new_version() {
    let world = World::new(&tree()).await;
    let second = world.serve(&next());
    world.switch(&second).await.unwrap();
    assert!(world.vfs.overlay().is_none());
    let top = world.vfs.mkdir(ROOT, b"top", 0o755, OWNER).await.unwrap();
    assert_eq!(
        world.vfs.overlay().unwrap().state().base().number,
        second.version.number
    );
    world
        .vfs
        .setattr(top.attr.ino, SetAttr::default())
        .await
        .unwrap();
    let remounted = world.remount().await;
    remounted.find("top").await;
}

#[tokio::test]
async fn numbers_of_others_that_took_the_place_of_ours_are_new() {
    let mut world = World::new(&tree()).await;
    world.walk().await;
    world.write("top", b"mine").await;
    world.commit().await;
    let mine = world.find("top").await;
    // Back and forth: the same number must never show two contents while the kernel knows it.
    let first = world.snapshot(1);
    let second = world.snapshot(2);
    for snapshot in [&first, &second, &first] {
        world.switch(snapshot).await.unwrap();
        world.check().await;
        world.walk().await;
        assert_eq!(world.read(mine).await, b"mine");
    }
    assert_ne!(world.find("top").await, mine);
}

#[tokio::test]
async fn a_discard_waits_for_a_switch_or_a_commit() {
    let world = World::new(&tree()).await;
    let vfs = &world.vfs;
    vfs.mkdir(ROOT, b"new", 0o755, OWNER).await.unwrap();
    let exclusive = vfs.exclusive().await;
    assert!(vfs.try_exclusive().is_none());
    let kernel = world.kernel.clone();
    let mut discard = pin!(async { vfs.exclusive().await.discard(&[], kernel).await });
    assert!(
        timeout(Duration::from_millis(50), &mut discard)
            .await
            .is_err()
    );
    assert!(vfs.lookup(ROOT, b"new").await.is_ok());

    drop(exclusive);
    assert_eq!(discard.await.unwrap(), 1);
    assert!(vfs.try_exclusive().is_some());
    assert!(matches!(
        vfs.lookup(ROOT, b"new").await,
        Err(VfsError::NotFound)
    ));
}
