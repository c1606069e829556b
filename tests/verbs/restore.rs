//! `lfsfs restore`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{World, in_namespace};

use crate::support::{read, typed_in, world, write};

/// app@v1, and app@v2 in which everything is another way.
fn two_versions() -> World {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "one", "newer");
    write(&tree, "new", "new");
    fs::remove_dir_all(tree.join("dir")).expect("a directory");
    write(&tree, "dir", "a file now");
    let _ = world.import(&tree, "app");
    world
}

#[test]
fn a_path_is_what_it_was_and_a_change_like_any_other() {
    in_namespace(
        "restore::a_path_is_what_it_was_and_a_change_like_any_other",
        || {
            let world = two_versions();
            let mount = world.mount_writable("app", "");
            let restore = |words: &[&str]| {
                let words: Vec<_> = ["restore"].iter().chain(words).copied().collect();
                typed_in(&world, mount.path(), &words)
            };
            let run = restore(&["one", "--from", "v1"]);
            assert_eq!(run.ok(), "1 written, 0 removed, as in app@v1");
            assert_eq!(
                (read(mount.path(), "one"), mount.diff()),
                ("one".into(), vec!["M one".into()])
            );
            // A file where a directory was.
            let _ = restore(&["dir", "--from", "app@v1"]).ok();
            assert_eq!(read(mount.path(), "dir/three"), "dir/three");
            assert_eq!(mount.verb(["commit"]).ok(), "app@v3");
            assert_eq!(world.lfsfs(["diff", "app@v1", "app@v3"]).ok(), "A new");
            assert_eq!(
                world.lfsfs(["cat", "app@v3", "dir/three"]).ok(),
                "dir/three"
            );
            mount.umount();
        },
    );
}

#[test]
fn everything_can_be_brought_back() {
    in_namespace("restore::everything_can_be_brought_back", || {
        let world = World::new();
        let tree = world.path("tree");
        let _ = TreeSpec::small().generate(&tree).expect("a tree");
        let _ = world.import(&tree, "app");
        let mount = world.mount_writable("app", "");
        for entry in fs::read_dir(mount.path()).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                fs::remove_dir_all(entry.path()).expect("a directory");
            }
        }
        write(mount.path(), "extra", "extra");
        let _ = mount.commit("");
        let run = typed_in(&world, mount.path(), &["restore", ".", "--from", "v1"]);
        let _ = run.ok();
        assert_same_trees(&tree, mount.path(), &CompareOptions::default());
        // What is the same costs nothing.
        let again = typed_in(
            &world,
            mount.path(),
            &["restore", ".", "--from", "v1", "--yes", "--json"],
        );
        let again = again.json();
        assert_eq!(
            (&again["written"], &again["removed"]),
            (&0.into(), &0.into())
        );
        let _ = mount.commit("");
        assert_eq!(world.lfsfs(["diff", "app@v1", "app"]).ok(), "");
        mount.umount();
    });
}

#[test]
fn uncommitted_changes_are_not_overwritten_unasked() {
    in_namespace(
        "restore::uncommitted_changes_are_not_overwritten_unasked",
        || {
            let world = two_versions();
            let mount = world.mount_writable("app", "");
            write(mount.path(), "one", "mine");
            fs::remove_file(mount.path().join("two")).expect("a file");
            let one = ["restore", "one", "--from", "v1"];
            typed_in(&world, mount.path(), &one).fails(2, &["1 uncommitted change", "--yes"]);
            assert_eq!(read(mount.path(), "one"), "mine");
            // What was removed is only brought back.
            let _ = typed_in(&world, mount.path(), &["restore", "two", "--from", "v2"]).ok();
            assert_eq!(mount.diff(), ["M one"]);
            let yes = ["restore", "one", "--from", "v1", "--yes"];
            let _ = typed_in(&world, mount.path(), &yes).ok();
            assert_eq!(read(mount.path(), "one"), "one");
            mount.umount();
        },
    );
}

#[test]
fn what_is_the_same_keeps_its_inode_number() {
    in_namespace("restore::what_is_the_same_keeps_its_inode_number", || {
        let world = two_versions();
        let mount = world.mount_writable("app", "");
        let inode = || {
            fs::metadata(mount.path().join("two"))
                .expect("a file")
                .ino()
        };
        let before = inode();
        let _ = typed_in(&world, mount.path(), &["restore", ".", "--from", "v1"]).ok();
        assert_eq!(inode(), before);
        assert!(!mount.path().join("new").exists());
        mount.umount();
    });
}

#[test]
fn what_cannot_be_restored_is_told_and_nothing_done() {
    in_namespace(
        "restore::what_cannot_be_restored_is_told_and_nothing_done",
        || {
            let world = two_versions();
            let _ = world.import(&world.path("tree"), "other");
            let mount = world.mount_writable("app", "");
            let restore = |words: &[&str]| {
                let words: Vec<_> = ["restore"].iter().chain(words).copied().collect();
                typed_in(&world, mount.path(), &words)
            };
            restore(&["new", "--from", "v1"]).fails(1, &["new", "this version"]);
            restore(&["one", "--from", "v9"]).fails(1, &["v9"]);
            restore(&["one", "--from", "other@v1"]).fails(2, &["other", "app"]);
            restore(&["one"]).fails(2, &["--from"]);
            assert_eq!(mount.changes(), 0);
            mount.umount();
            let read_only = world.mount("app", "");
            typed_in(
                &world,
                read_only.path(),
                &["restore", "one", "--from", "v1"],
            )
            .fails(1, &["read-only"]);
            read_only.umount();
            let outside = world.make_dir("outside");
            typed_in(&world, &outside, &["restore", "x", "--from", "v1"])
                .fails(1, &["not in a mount"]);
        },
    );
}
