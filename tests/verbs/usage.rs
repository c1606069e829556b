//! `lfsfs du`: what projects take.

use std::fs;

use lfsfs_tests::{Numbers, World};
use serde_json::Value;

/// Returns what `lfsfs du` tells of a project.
fn usage(world: &World, name: &str) -> Value {
    world.lfsfs(["du", "--json", name]).json()
}

#[test]
fn what_a_project_shares_is_told_and_what_is_its_own_comes_back() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let mut numbers = Numbers(3);
    fs::write(tree.join("large"), numbers.bytes(3_000_000)).expect("a file");
    fs::write(tree.join("zeros"), vec![0; 100_000]).expect("a file");
    world.import(&tree, "app");
    fs::write(tree.join("own"), numbers.bytes(500_000)).expect("a file");
    fs::hard_link(tree.join("own"), tree.join("name")).expect("a second name");
    fs::remove_file(tree.join("zeros")).expect("a removed file");
    world.import(&tree, "other");

    let (app, other) = (usage(&world, "app"), usage(&world, "other"));
    assert_eq!(app["logical_bytes"], 3_100_000, "{app}");
    assert_eq!(app["content_bytes"], 3_100_000);
    assert_eq!(other["logical_bytes"], 4_000_000, "{other}");
    assert_eq!(other["content_bytes"], 3_500_000);
    let number = |usage: &Value, name: &str| usage[name].as_u64().expect("a number");
    // Noise is stored as it is; zeros take nearly nothing.
    let near = |found: u64, expected: u64| found.abs_diff(expected) < expected / 20;
    assert!(near(number(&app, "stored_bytes"), 3_000_000), "{app}");
    assert!(near(number(&other, "stored_bytes"), 3_500_000), "{other}");
    assert_eq!(app["shared_bytes"], other["shared_bytes"]);
    assert!(near(number(&app, "shared_bytes"), 3_000_000), "{app}");

    let shown = world.lfsfs(["du"]).ok();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(
        lines[0].starts_with("PROJECT") && lines[2].starts_with("other"),
        "{shown}"
    );
    let deleted = world.lfsfs(["project", "delete", "other", "--yes"]);
    assert_eq!(deleted.ok(), "");
    assert_eq!(usage(&world, "app")["shared_bytes"], 0);
    world.lfsfs(["du", "absent"]).fails(1, &["absent"]);
    world.lfsfs(["du", "../x"]).fails(2, &["../x"]);
}
