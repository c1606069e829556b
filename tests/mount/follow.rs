//! Mounts that follow: they show what `latest` or a tag names, soon after that changes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lfsfs_tests::{Mounted, World, eventually, in_namespace};

const LIMIT: Duration = Duration::from_secs(60);

/// A server with `app@v1`, and the directory that it was made of.
fn world() -> (World, std::path::PathBuf) {
    let world = World::new();
    let tree = world.make_dir("tree");
    publish(&world, &tree, "one");
    (world, tree)
}

/// Makes a version whose file says so.
#[track_caller]
fn publish(world: &World, tree: &Path, text: &str) {
    fs::write(tree.join("file"), text).expect("a file");
    world.import(tree, "app");
}

#[track_caller]
fn assert_comes_to(mount: &Mounted<'_>, source: &str, text: &str) {
    let is_there = || mount.source() == source;
    assert!(
        eventually(LIMIT, is_there),
        "{:?}",
        mount.status()["follow"]
    );
    let read = fs::read_to_string(mount.path().join("file")).expect("a file");
    assert_eq!(read, text);
}

/// Waits until the mount says why it cannot follow.
#[track_caller]
fn assert_says(mount: &Mounted<'_>, word: &str) {
    let failure = || mount.status()["follow"]["failure"].to_string();
    let says_so = || failure().contains(word);
    assert!(
        eventually(LIMIT, says_so),
        "{word:?} is not in {}",
        failure()
    );
}

#[test]
fn a_mount_follows_the_newest_version_also_over_a_restart_of_the_server() {
    let name = "follow::a_mount_follows_the_newest_version_also_over_a_restart_of_the_server";
    in_namespace(name, || {
        let (mut world, tree) = world();
        let client = world.another();
        let mount = client.mount("app", "follow,timeout=2");
        assert_eq!(mount.status()["follow"]["source"], "app@latest");
        publish(&client, &tree, "two");
        assert_comes_to(&mount, "app@v2", "two");
        // What is open stays what it was.
        let open = fs::File::open(mount.path().join("file")).expect("a file");
        world.kill_server();
        assert_eq!(mount.source(), "app@v2");
        world.start_server(&[]);
        publish(&client, &tree, "three");
        assert_comes_to(&mount, "app@v3", "three");
        let read = std::io::read_to_string(open).expect("it can be read");
        assert_eq!(read, "two");
        let lines = mount.verb(["status"]).ok();
        assert!(lines.contains("follows    app@latest"), "{lines}");
        mount.umount();
    });
}

#[test]
fn a_mount_follows_a_tag_up_and_down() {
    in_namespace("follow::a_mount_follows_a_tag_up_and_down", || {
        let (world, tree) = world();
        let tag = |version: &str| {
            let _ = world.lfsfs(["tag", version, "live", "--force"]).ok();
        };
        tag("app@v1");
        let mount = world.mount("app@live", "follow");
        publish(&world, &tree, "two");
        publish(&world, &tree, "three");
        tag("app@v3");
        assert_comes_to(&mount, "app@v3", "three");
        tag("app@v2");
        assert_comes_to(&mount, "app@v2", "two");
        let _ = world.lfsfs(["tag", "app", "live", "--delete"]).ok();
        assert_says(&mount, "live");
        assert_eq!(mount.source(), "app@v2");
        tag("app@v1");
        assert_comes_to(&mount, "app@v1", "one");
        assert!(mount.status()["follow"]["failure"].is_null());
        mount.umount();
    });
}

#[test]
fn a_mount_with_changes_stays_until_they_are_a_version_or_gone() {
    let name = "follow::a_mount_with_changes_stays_until_they_are_a_version_or_gone";
    in_namespace(name, || {
        let (world, tree) = world();
        let mount = world.mount_writable("app", "follow");
        fs::write(mount.path().join("mine"), "mine").expect("a file");
        publish(&world, &tree, "two");
        assert_says(&mount, "uncommitted");
        assert_eq!(mount.source(), "app@v1");
        let _ = mount.verb(["discard", "--yes"]).ok();
        assert_comes_to(&mount, "app@v2", "two");
        // Its own commits are the newest version, and others' come on top of them.
        fs::write(mount.path().join("mine"), "mine").expect("a file");
        mount.commit("mine");
        assert_eq!(mount.source(), "app@v3");
        publish(&world, &tree, "four");
        assert_comes_to(&mount, "app@v4", "four");
        mount.umount();
    });
}

#[test]
fn a_number_cannot_be_followed() {
    in_namespace("follow::a_number_cannot_be_followed", || {
        let (world, _) = world();
        let dir = world.make_dir("dir");
        let run = world.mount_at("app@v1", &dir, "ro,follow");
        run.fails(2, &["app@v1", "follow", "app@latest"]);
    });
}
