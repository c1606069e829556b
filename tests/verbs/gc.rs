//! `lfsfs gc`: what no version needs goes, and its space comes back; all else stays and reads as before.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lfsfs_testkit::chunks;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Cluster, Numbers, World, eventually, in_namespace};
use serde_json::{Value, json};

use crate::support::{read, world, world_of_changes, write};

/// Datanodes drop chunks beside other calls.
const SOON: Duration = Duration::from_secs(60);

fn chunk_bytes(data: &Path) -> u64 {
    let files = chunks::files_in(data).into_iter();
    let lens = files
        .filter_map(|file| fs::metadata(file).ok())
        .map(|it| it.len());
    lens.sum()
}

fn gc(world: &World, words: &[&str]) -> Value {
    let words: Vec<_> = ["gc", "--json"].iter().chain(words).collect();
    world.lfsfs(words).json()
}

/// A world with app@v1, a file of random bytes, and app@v2, another one in its place.
fn two_versions(world: &World) -> std::path::PathBuf {
    let tree = world.make_dir("tree");
    let mut numbers = Numbers(3);
    for version in 1..=2 {
        fs::write(tree.join("bytes"), numbers.bytes(3_000_000)).expect("a file");
        assert_eq!(world.import(&tree, "app"), format!("app@v{version}"));
    }
    tree
}

#[test]
fn space_of_expired_versions_comes_back() {
    let mut world = World::new();
    let tree = two_versions(&world);
    let before = chunk_bytes(world.data());
    assert!(before >= 6_000_000);
    let stored = |world: &World| {
        let inspected = world.lfsfs(["project", "inspect", "app", "--json"]).json();
        inspected["stored_bytes"].as_u64().expect("a number")
    };
    assert_eq!(stored(&world), before);

    let expired = gc(&world, &["app", "--keep", "1", "--grace", "0s"]);
    assert_eq!(expired["versions"], 1, "{expired}");
    let refused = world
        .lfsfs(["ls", "app@v1"])
        .fails(1, &["version v1", "app", "expired"]);
    assert!(refused.contains("lfsfs log app"), "{refused}");
    let log = world.lfsfs(["log", "app"]).ok();
    assert!(log.contains("v2") && !log.contains("v1"), "{log}");

    let collected = gc(&world, &["--grace", "0s"]);
    assert!(collected["content_bytes"].as_u64().expect("a number") >= 3_000_000);
    assert_eq!(collected["chunks"], 1, "{collected}");
    assert!(
        collected["chunk_bytes"].as_u64() >= Some(3_000_000),
        "{collected}"
    );
    let is_less = || chunk_bytes(world.data()) <= before - 3_000_000;
    assert!(eventually(SOON, is_less), "the space is not back");
    assert!(eventually(SOON, || stored(&world) == chunk_bytes(world.data())));
    assert_version_is_dir(&world, "app", &tree);
    assert_eq!(world.import(&tree, "app"), "app@v2");
    assert_eq!(gc(&world, &["--grace", "0s"])["contents"], 0);
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn what_a_deleted_project_alone_had_goes() {
    let world = World::new();
    let tree = two_versions(&world);
    let other = world.make_dir("other");
    fs::copy(tree.join("bytes"), other.join("same")).expect("a copy");
    let _ = world.import(&other, "other");
    let _ = world.lfsfs(["project", "delete", "app", "--yes"]).ok();
    let kept = gc(&world, &["--grace", "0s"]);
    assert_eq!(kept["contents"], 0, "it can be brought back");
    let purge = ["project", "delete", "app", "--purge", "--yes"];
    let _ = world.lfsfs(purge).ok();
    assert_eq!(gc(&world, &[])["contents"], 0, "they were just needed");
    let collected = gc(&world, &["--grace", "0s"]);
    assert!(collected["contents"].as_u64() > Some(0), "{collected}");
    assert_version_is_dir(&world, "other", &other);
    let is_less = || chunk_bytes(world.data()) < 4_000_000;
    assert!(eventually(SOON, is_less), "the space is not back");
}

#[test]
fn a_dry_run_tells_what_goes_and_removes_nothing() {
    let world = World::new();
    let tree = two_versions(&world);
    let before = chunks::files_in(world.data());
    let words = ["--keep", "1", "--grace", "0s"];
    let planned = gc(&world, &[&words[..], &["--dry-run"]].concat());
    assert_eq!(
        (&planned["versions"], &planned["dry_run"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(chunks::files_in(world.data()), before);
    let _ = world.lfsfs(["ls", "app@v1"]).ok();
    let told = world
        .lfsfs(["gc", "--keep", "1", "--grace", "0s", "-n"])
        .ok();
    assert!(
        told.starts_with("would expire 1 version of 1 project"),
        "{told}"
    );
    let done = gc(&world, &words);
    assert_eq!(done["versions"], planned["versions"]);
    assert_eq!(done["rows"], planned["rows"]);
    assert_version_is_dir(&world, "app", &tree);
}

#[test]
fn many_versions_expire_and_those_that_stay_are_what_they_were() {
    let (mut world, tree) = world_of_changes(12, 30);
    let export = |world: &World, source: &str, name: &str| {
        let dir = world.path(name);
        let _ = world
            .lfsfs(["export", source, dir.to_str().expect("UTF-8")])
            .ok();
        dir
    };
    let kept = export(&world, "app@v4", "v4");
    let _ = world.lfsfs(["tag", "app@v4", "release"]).ok();
    let diff = |world: &World| world.lfsfs(["diff", "app@v4", "app@v11"]).ok();
    let before = diff(&world);
    let words = ["gc", "app", "--keep", "2", "--grace", "0s"];
    assert!(
        world
            .lfsfs(words)
            .ok()
            .starts_with("expired 9 versions of 1 project")
    );
    let _ = gc(&world, &["--grace", "0s"]);
    assert_version_is_dir(&world, "app@release", &kept);
    assert_version_is_dir(&world, "app", &tree);
    assert_eq!(diff(&world), before);
    for gone in ["app@v3", "app@v5", "app@v10"] {
        world.lfsfs(["ls", gone]).fails(1, &["expired"]);
    }
    let _ = world.lfsfs(["rollback", "app@release"]).ok();
    assert_version_is_dir(&world, "app", &kept);
    let fsck = world.lfsfs(["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn age_counts_from_when_a_version_was_replaced() {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "one", "other");
    let _ = world.import(&tree, "app");
    let old = ["app", "--older-than", "1h", "--grace", "0s"];
    assert_eq!(gc(&world, &old)["versions"], 0);
    let young = ["app", "--older-than", "0s", "--from", "v2", "--grace", "0s"];
    assert_eq!(gc(&world, &young)["versions"], 0);
    let young = ["app", "--older-than", "0s"];
    assert_eq!(gc(&world, &young)["versions"], 0, "the grace is a day");
    let young = ["app", "--older-than", "0s", "--grace", "0s"];
    assert_eq!(gc(&world, &young)["versions"], 1);
}

#[test]
fn what_is_wrong_is_refused_and_removes_nothing() {
    let world = world();
    world
        .lfsfs(["gc", "app"])
        .fails(2, &["which versions stay", "--keep"]);
    world
        .lfsfs(["gc", "--from", "v1"])
        .fails(2, &["which versions stay"]);
    world
        .lfsfs(["gc", "none", "--keep", "1"])
        .fails(1, &["none"]);
    world.lfsfs(["gc", "a/b", "--keep", "1"]).fails(2, &["a/b"]);
    for wrong in [
        ["--keep", "0"],
        ["--keep", "-1"],
        ["--older-than", "soon"],
        ["--grace", "1 parsec"],
        ["--from", "latest"],
        ["--sample", "0"],
        ["--sample", "101"],
    ] {
        let run = world.lfsfs(["gc"].iter().chain(&wrong));
        assert_eq!(run.code(), Some(2), "{wrong:?}: {run:?}");
    }
    assert_eq!(world.head("app"), 1);
}

#[test]
fn a_mount_keeps_its_version_until_it_ends() {
    in_namespace("gc::a_mount_keeps_its_version_until_it_ends", || {
        let world = World::new();
        let tree = two_versions(&world);
        let first = world.mount("app@v1", "");
        let is_held = || {
            let expired = gc(&world, &["app", "--keep", "1", "--grace", "0s", "-n"]);
            expired["versions"] == 0
        };
        assert!(eventually(SOON, is_held), "it is not held");
        let collect = || {
            let expired = gc(&world, &["app", "--keep", "1", "--grace", "0s"]);
            let _ = gc(&world, &["--grace", "0s"]);
            expired["versions"].as_u64().expect("a number")
        };
        assert_eq!(collect(), 0);
        let bytes = fs::read(first.path().join("bytes")).expect("a file");
        assert_ne!(bytes, fs::read(tree.join("bytes")).expect("a file"));
        assert_eq!(bytes.len(), 3_000_000);
        first.umount();
        assert_eq!(collect(), 1, "the hold ends with the mount");
    });
}

#[test]
fn a_mount_that_is_switched_holds_the_version_that_it_shows() {
    in_namespace(
        "gc::a_mount_that_is_switched_holds_the_version_that_it_shows",
        || {
            let world = World::new();
            let tree = two_versions(&world);
            write(&tree, "more", "more");
            let _ = world.import(&tree, "app");
            let mount = world.mount("app@v1", "");
            mount.switch("v2");
            let is_held = || {
                let expired = gc(
                    &world,
                    &["app", "--keep", "1", "--from", "v2", "--grace", "0s", "-n"],
                );
                expired["versions"] == 0
            };
            assert!(eventually(SOON, is_held), "it is not held");
            let _ = gc(&world, &["app", "--keep", "1", "--grace", "0s"]);
            let _ = gc(&world, &["--grace", "0s"]);
            assert_eq!(fs::read_dir(mount.path()).expect("a directory").count(), 1);
            assert_eq!(read(&tree, "more"), "more");
            mount.umount();
        },
    );
}

#[test]
fn changes_on_a_version_are_committed_after_others_have_gone() {
    in_namespace(
        "gc::changes_on_a_version_are_committed_after_others_have_gone",
        || {
            let world = world();
            let mount = world.mount_writable("app@v1", "");
            write(mount.path(), "new", "new");
            let tree = world.path("tree");
            write(&tree, "one", "other");
            let _ = world.import(&tree, "app");
            write(&tree, "one", "another");
            let _ = world.import(&tree, "app");
            let is_held = || {
                let expired = gc(&world, &["app", "--keep", "1", "--grace", "0s"]);
                expired["versions"].as_u64() <= Some(1)
                    && world.lfsfs(["ls", "app@v1"]).code() == Some(0)
            };
            assert!(is_held());
            let _ = gc(&world, &["--grace", "0s"]);
            let committed = mount.commit("new");
            assert_eq!(committed["version"], 4, "{committed}");
            assert_eq!(read(mount.path(), "one"), "another");
            assert_eq!(read(mount.path(), "new"), "new");
            mount.umount();
        },
    );
}

#[test]
fn a_server_collects_by_itself() {
    let arguments = ["--gc-every", "1", "--gc-grace", "0", "--gc-keep", "1"];
    let world = World::with_server_arguments(&arguments);
    let tree = two_versions(&world);
    let is_gone = || world.lfsfs(["ls", "app@v1"]).code() == Some(1);
    assert!(eventually(SOON, is_gone), "nothing expires");
    let is_less = || chunk_bytes(world.data()) < 4_000_000;
    assert!(eventually(SOON, is_less), "the space is not back");
    assert_version_is_dir(&world, "app", &tree);
}

/// Every copy of a chunk goes, and those that are needed stay, while repair looks for missing copies.
#[test]
fn every_copy_of_a_chunk_goes() {
    let cluster = Cluster::new(3, &["--repair-after", "5"]);
    let tree = two_versions(&cluster.world);
    let on_all = || {
        (0..3)
            .map(|node| cluster.chunk_files(node).len())
            .collect::<Vec<_>>()
    };
    assert!(eventually(SOON, || on_all() == [2, 2, 2]), "{:?}", on_all());
    let _ = gc(&cluster.world, &["app", "--keep", "1", "--grace", "0s"]);
    let collected = gc(&cluster.world, &["--grace", "0s"]);
    assert_eq!(collected["chunks"], 1, "{collected}");
    assert!(eventually(SOON, || on_all() == [1, 1, 1]), "{:?}", on_all());
    cluster.wait_for_copies(3, SOON);
    assert_version_is_dir(&cluster.world, "app", &tree);
}
