//! `lfsfs tag`.

use std::fs;

use lfsfs_tests::World;
use serde_json::json;

/// A world with app@v1 and app@v2.
fn world() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    for text in ["one", "two"] {
        fs::write(tree.join("file"), text).expect("a file");
        let _ = world.import(&tree, "app");
    }
    world
}

#[test]
fn a_tag_names_a_version_wherever_one_is_typed() {
    let world = world();
    assert_eq!(world.lfsfs(["tag", "app@v1", "stable"]).ok(), "app@stable");
    assert_eq!(world.lfsfs(["cat", "app@stable", "file"]).ok(), "one");
    assert_eq!(world.lfsfs(["diff", "app@stable", "app"]).ok(), "M file");
    // The newest version, if none is said; and a tag of a tag's version.
    let _ = world.lfsfs(["tag", "app", "newest"]).ok();
    let _ = world.lfsfs(["tag", "app@stable", "good"]).ok();
    assert_eq!(
        world.lfsfs(["tag", "app"]).ok(),
        "good    v1\nnewest  v2\nstable  v1"
    );
    assert_eq!(
        world.lfsfs(["tag", "app@v1"]).ok(),
        "good    v1\nstable  v1"
    );
}

#[test]
fn only_force_moves_a_tag() {
    let world = world();
    let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
    let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
    let refused = world.lfsfs(["tag", "app@v2", "stable"]);
    refused.fails(1, &["stable", "v1", "--force"]);
    assert_eq!(world.lfsfs(["cat", "app@stable", "file"]).ok(), "one");
    let moved = world.lfsfs(["tag", "app@v2", "stable", "--force", "--json"]);
    assert_eq!(moved.json(), json!({"tag": "stable", "version": 2}));
    assert_eq!(world.lfsfs(["cat", "app@stable", "file"]).ok(), "two");
}

#[test]
fn a_tag_that_is_forgotten_names_nothing() {
    let world = world();
    let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
    let run = world.lfsfs(["tag", "--delete", "app", "stable"]);
    assert_eq!((run.ok(), run.stderr()), (String::new(), String::new()));
    world.lfsfs(["ls", "app@stable"]).fails(1, &["stable"]);
    world
        .lfsfs(["tag", "app", "stable", "--delete"])
        .fails(1, &["stable"]);
    assert_eq!(world.lfsfs(["tag", "app"]).ok(), "");
    assert_eq!(world.lfsfs(["cat", "app@v1", "file"]).ok(), "one");
}

#[test]
fn what_is_no_tag_is_refused_before_anything_is_asked() {
    let world = World::without_server();
    for name in ["latest", "v7", "a/b", "", "-x"] {
        let run = world.lfsfs(["tag", "app@v1", "--", name]);
        assert_eq!(run.code(), Some(2), "{name:?}: {run:?}");
    }
    for words in [
        &["tag", "app", "--delete"][..],
        &["tag", "app", "--force"],
        &["tag", "app", "x", "--force", "--delete"],
        &["tag", "no project"],
    ] {
        assert_eq!(world.lfsfs(words).code(), Some(2), "{words:?}");
    }
    let version = world.lfsfs(["tag", "app@v1", "stable", "--delete"]);
    version.fails(2, &["lfsfs tag app stable --delete"]);
    world
        .lfsfs(["tag", "app", "stable"])
        .fails(1, &["no lfsfs server"]);
}

#[test]
fn tags_of_what_is_not_there_are_told_apart() {
    let world = world();
    world.lfsfs(["tag", "none"]).fails(1, &["none"]);
    world.lfsfs(["tag", "app@v9", "stable"]).fails(1, &["v9"]);
}
