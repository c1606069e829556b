//! Two mounts of one project: what touches conflicts, what does not lands, and nothing is lost.

use std::fs;
use std::path::Path;

use lfsfs_tests::{Mounted, World, in_namespace};

use crate::support::{assert_version_is_mount, write};

fn world() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    for name in [
        "a",
        "b",
        "dir/one",
        "dir/two",
        "dir/deep/three",
        "other/file",
    ] {
        write(&tree.join(name), format!("first of {name}"));
    }
    assert_eq!(world.import(&tree, "app"), "app@v1");
    world
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| error.kind().to_string())
}

/// Runs a change in each of two mounts of `app@v1`, and commits the first.
fn two_sides<'a>(
    world: &'a World,
    theirs: impl FnOnce(&Path),
    mine: impl FnOnce(&Path),
) -> (Mounted<'a>, Mounted<'a>) {
    let (first, second) = (
        world.mount_writable("app@v1", ""),
        world.mount_writable("app@v1", ""),
    );
    theirs(first.path());
    mine(second.path());
    assert_eq!(first.commit("theirs")["version"], 2);
    (first, second)
}

#[test]
fn what_does_not_touch_lands() {
    in_namespace("two_mounts::what_does_not_touch_lands", || {
        let world = world();
        let theirs = |dir: &Path| {
            fs::write(dir.join("a"), "theirs").expect("a file");
            fs::write(dir.join("dir/new"), "theirs").expect("a file");
            fs::remove_file(dir.join("other/file")).expect("a file to remove");
        };
        let mine = |dir: &Path| {
            fs::write(dir.join("b"), "mine").expect("a file");
            fs::write(dir.join("dir/one"), "mine").expect("a file");
            fs::create_dir(dir.join("made")).expect("a directory");
        };
        let (first, second) = two_sides(&world, theirs, mine);
        // What is looked at before is asked for again after others changed it.
        assert_eq!(text(second.path(), "a"), "first of a");
        assert_eq!(text(second.path(), "dir/new"), "entity not found");
        let commit = second.commit("mine");
        assert_eq!(
            (&commit["version"], &commit["rebased"]),
            (&3.into(), &true.into())
        );
        let dir = second.path();
        let expected = [
            ("a", "theirs"),
            ("dir/new", "theirs"),
            ("b", "mine"),
            ("dir/one", "mine"),
            ("dir/two", "first of dir/two"),
            ("other/file", "entity not found"),
        ];
        for (name, expected) in expected {
            assert_eq!(text(dir, name), expected, "{name}");
        }
        assert!(dir.join("made").is_dir());
        assert_version_is_mount(&world, "app@v3", dir);
        first.switch("v3");
        for (name, expected) in expected {
            assert_eq!(text(first.path(), name), expected, "{name}");
        }
        first.umount();
        second.umount();
    });
}

/// Checks that the second mount cannot commit, that the paths are told and nothing has changed on
/// either side, and that afterwards it can force its changes.
#[track_caller]
fn assert_conflict(
    world: &World,
    (first, second): (Mounted<'_>, Mounted<'_>),
    paths: &[&str],
    mine: (&str, &str),
) {
    let theirs = world.lfsfs(["ls", "-R", "--json", "app@v2"]).ok();
    for _ in 0..2 {
        let refused = second.verb(["commit"]);
        assert_eq!(refused.code(), Some(3), "{refused:?}");
        let told = refused.stdout();
        assert_eq!(told.lines().collect::<Vec<_>>(), paths, "{refused:?}");
        assert!(refused.stderr().contains("--force"), "{refused:?}");
        assert_eq!(world.head("app"), 2, "no version was made");
        assert!(second.changes() > 0);
        assert_eq!(text(second.path(), mine.0), mine.1, "my change is here");
        assert_eq!(second.source(), "app@v1");
    }
    assert_eq!(world.lfsfs(["ls", "-R", "--json", "app@v2"]).ok(), theirs);
    // It is still here after a crash, and what does not touch can be written on.
    second.kill_and_mount();
    assert_eq!(text(second.path(), mine.0), mine.1);
    fs::write(second.path().join("later"), "later").expect("a file");
    let forced = second.verb(["commit", "--force"]).ok();
    assert_eq!(forced, "app@v3");
    assert_eq!(text(second.path(), mine.0), mine.1);
    assert_eq!(text(second.path(), "later"), "later");
    assert_version_is_mount(world, "app@v3", second.path());
    first.umount();
    second.umount();
}

#[test]
fn a_file_that_both_changed_conflicts() {
    in_namespace("two_mounts::a_file_that_both_changed_conflicts", || {
        let world = world();
        let sides = two_sides(
            &world,
            |dir| fs::write(dir.join("a"), "theirs").expect("a file"),
            |dir| {
                fs::write(dir.join("a"), "mine").expect("a file");
                fs::write(dir.join("b"), "mine").expect("a file");
            },
        );
        assert_conflict(&world, sides, &["a"], ("a", "mine"));
    });
}

#[test]
fn a_conflict_ends_when_the_change_is_discarded() {
    in_namespace(
        "two_mounts::a_conflict_ends_when_the_change_is_discarded",
        || {
            let world = world();
            let (first, second) = two_sides(
                &world,
                |dir| fs::write(dir.join("a"), "theirs").expect("a file"),
                |dir| {
                    fs::write(dir.join("a"), "mine").expect("a file");
                    fs::write(dir.join("b"), "mine").expect("a file");
                },
            );
            let path = second.path().join("a");
            let discard = ["discard".as_ref(), "--yes".as_ref(), path.as_os_str()];
            let _ = world.lfsfs(discard).ok();
            assert_eq!(second.commit("the rest")["version"], 3);
            assert_eq!(text(second.path(), "a"), "theirs");
            assert_eq!(text(second.path(), "b"), "mine");
            first.umount();
            second.umount();
        },
    );
}

#[test]
fn a_file_below_a_directory_that_was_renamed_conflicts() {
    let name = "two_mounts::a_file_below_a_directory_that_was_renamed_conflicts";
    in_namespace(name, || {
        let world = world();
        let sides = two_sides(
            &world,
            |dir| rustix::fs::rename(dir.join("dir"), dir.join("moved")).expect("a rename"),
            |dir| fs::write(dir.join("dir/deep/three"), "mine").expect("a file"),
        );
        // By its path in the newest version, where it has to be looked for.
        assert_conflict(
            &world,
            sides,
            &["moved/deep/three"],
            ("dir/deep/three", "mine"),
        );
    });
}

#[test]
fn a_file_below_a_directory_that_was_removed_conflicts() {
    let name = "two_mounts::a_file_below_a_directory_that_was_removed_conflicts";
    in_namespace(name, || {
        let world = world();
        let sides = two_sides(
            &world,
            |dir| fs::remove_dir_all(dir.join("dir")).expect("a directory"),
            |dir| fs::write(dir.join("dir/deep/three"), "mine").expect("a file"),
        );
        assert_conflict(
            &world,
            sides,
            &["dir/deep/three"],
            ("dir/deep/three", "mine"),
        );
    });
}

#[test]
fn a_file_below_a_directory_that_was_replaced_conflicts() {
    let name = "two_mounts::a_file_below_a_directory_that_was_replaced_conflicts";
    in_namespace(name, || {
        let world = world();
        let sides = two_sides(
            &world,
            |dir| {
                fs::remove_dir_all(dir.join("dir")).expect("a directory");
                fs::write(dir.join("dir"), "now a file").expect("a file");
            },
            |dir| fs::write(dir.join("dir/deep/new"), "mine").expect("a file"),
        );
        assert_conflict(&world, sides, &["dir/deep/new"], ("dir/deep/new", "mine"));
    });
}

#[test]
fn what_both_made_alike_is_no_conflict() {
    in_namespace("two_mounts::what_both_made_alike_is_no_conflict", || {
        let world = world();
        let alike = |dir: &Path| {
            fs::write(dir.join("a"), "alike").expect("a file");
            fs::create_dir(dir.join("made")).expect("a directory");
        };
        let theirs = |dir: &Path| {
            alike(dir);
            fs::write(dir.join("made/theirs"), "").expect("a file");
        };
        let mine = |dir: &Path| {
            alike(dir);
            fs::write(dir.join("made/mine"), "").expect("a file");
        };
        let (first, second) = two_sides(&world, theirs, mine);
        assert_eq!(second.commit("mine")["version"], 3);
        let names = fs::read_dir(second.path().join("made")).expect("a directory");
        assert_eq!(names.count(), 2);
        assert_version_is_mount(&world, "app@v3", second.path());
        first.umount();
        second.umount();
    });
}
