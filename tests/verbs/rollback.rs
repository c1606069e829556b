//! `lfsfs rollback` and `lfsfs clone`: versions that are made of versions.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use lfsfs_testkit::chunks;
use lfsfs_tests::World;
use lfsfs_tests::listing::{assert_same_listing, assert_version_is_dir, listing_of_version};
use serde_json::json;

use crate::support::world_of_changes;

/// A world with app@v1 to app@v3, and the tree of the last one.
fn world() -> (World, PathBuf) {
    world_of_changes(3, 40)
}

fn assert_same_versions(world: &World, found: &str, expected: &str) {
    let [found, expected] = [found, expected].map(|source| listing_of_version(world, source));
    assert_same_listing(&found, &expected);
}

#[test]
fn a_rollback_is_a_version_with_the_tree_of_an_earlier_one() {
    let (world, tree) = world();
    let words = ["rollback", "app@v1", "-m", "v3 is bad", "--author", "me"];
    assert_eq!(world.lfsfs(words).ok(), "app@v4");
    assert_same_versions(&world, "app", "app@v1");
    let log = world.lfsfs(["log", "app", "-n", "1", "--json"]).json();
    assert_eq!(log["message"], "v3 is bad", "{log}");
    assert_eq!(log["author"], "me", "{log}");
    // It can be rolled back, and what is there already is no version.
    let _ = world.lfsfs(["tag", "app@v3", "good"]).ok();
    assert_eq!(world.lfsfs(["rollback", "app@good"]).ok(), "app@v5");
    assert_version_is_dir(&world, "app", &tree);
    let again = world.lfsfs(["rollback", "app@v3", "--json"]).json();
    assert_eq!(again, json!({"project": "app", "version": 5, "new": false}));
    assert_eq!(world.lfsfs(["rollback", "app@v0"]).ok(), "app@v6");
    assert_eq!(world.lfsfs(["ls", "app"]).ok(), "");
}

#[test]
fn a_rollback_needs_a_version_that_is_there() {
    let (world, _) = world();
    world
        .lfsfs(["rollback", "app"])
        .fails(2, &["no version to go back to", "app@vN"]);
    world.lfsfs(["rollback", "app@v9"]).fails(1, &["v9"]);
    world.lfsfs(["rollback", "none@v1"]).fails(1, &["none"]);
    world
        .lfsfs(["rollback", "app@v1", "--author", "a\nb"])
        .fails(2, &["author"]);
    assert_eq!(world.head("app"), 3);
}

#[test]
fn a_clone_has_the_tree_and_sends_nothing() {
    let (world, tree) = world();
    let before = chunks::files_in(world.data());
    world
        .lfsfs(["clone", "app@v2", "trial"])
        .fails(1, &["trial", "--create"]);
    let words = ["clone", "app@v2", "trial", "--create", "-m", "try it"];
    assert_eq!(world.lfsfs(words).ok(), "trial@v1");
    assert_same_versions(&world, "trial", "app@v2");
    // Up and down, onto what is there.
    assert_eq!(world.lfsfs(["clone", "app", "trial"]).ok(), "trial@v2");
    assert_version_is_dir(&world, "trial", &tree);
    assert_eq!(world.lfsfs(["clone", "app@v1", "trial"]).ok(), "trial@v3");
    assert_same_versions(&world, "trial", "app@v1");
    let again = world.lfsfs(["clone", "app@v1", "trial", "--json"]).json();
    assert_eq!(
        again,
        json!({"project": "trial", "version": 3, "new": false})
    );
    assert_eq!(chunks::files_in(world.data()), before);
    let shown = world.lfsfs(["show", "trial@v1"]).ok();
    assert!(shown.contains("try it"), "{shown}");
}

#[test]
fn a_clone_brings_every_kind_over_every_other() {
    let world = World::new();
    let kinds: [fn(&std::path::Path); 4] = [
        |path| fs::write(path, "text").expect("a file"),
        |path| {
            fs::create_dir(path).expect("a directory");
            fs::write(path.join("below"), "below").expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(0o750)).expect("a mode");
        },
        |path| symlink("nowhere", path).expect("a symlink"),
        |path| {
            fs::write(path, "linked").expect("a file");
            fs::hard_link(path, path.with_extension("link")).expect("a link");
        },
    ];
    for (number, make) in kinds.into_iter().enumerate() {
        let tree = world.make_dir(&format!("tree-{number}"));
        make(&tree.join("name"));
        let _ = world.import(&tree, &format!("kind-{number}"));
    }
    let _ = world.lfsfs(["project", "new", "copy"]).ok();
    for from in 0..kinds.len() {
        for onto in 0..kinds.len() {
            for number in [from, onto] {
                let source = format!("kind-{number}");
                let _ = world.lfsfs(["clone", &source, "copy"]).ok();
                assert_same_versions(&world, "copy", &source);
            }
        }
    }
}

#[test]
fn a_clone_into_its_own_project_is_a_rollback() {
    let (world, _) = world();
    world
        .lfsfs(["clone", "app@v1", "app"])
        .fails(2, &["app", "lfsfs rollback"]);
    world.lfsfs(["clone", "none", "trial"]).fails(1, &["none"]);
    world
        .lfsfs(["clone", "app@v9", "trial", "--create"])
        .fails(1, &["v9"]);
    // What is refused after the project was made leaves none, either.
    world
        .lfsfs(["clone", "app", "trial", "--create", "--author", "a\nb"])
        .fails(2, &["author"]);
    world
        .lfsfs(["project", "inspect", "trial"])
        .fails(1, &["trial"]);
}
