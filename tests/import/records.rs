//! A version holds what the directory held.

use std::collections::BTreeSet;
use std::fs;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;
use lfsfs_tests::listing::{assert_version_is_dir, listing_of_version};

fn assert_imported_faithfully(spec: &TreeSpec) {
    let world = World::new();
    let tree = world.path("tree");
    let summary = spec.generate(&tree).expect("a tree");
    let source = world.import(&tree, "app");
    assert_eq!(source, "app@v1");
    assert_version_is_dir(&world, &source, &tree);
    let listed = listing_of_version(&world, &source).len();
    assert_eq!(listed as u64, summary.entries());
}

#[test]
fn every_object_of_a_small_tree() {
    assert_imported_faithfully(&TreeSpec::small());
}

#[test]
fn every_odd_object() {
    assert_imported_faithfully(&TreeSpec::torture());
}

#[test]
fn an_empty_directory_is_a_version_or_the_empty_one() {
    let world = World::new();
    let empty = world.make_dir("empty");
    let source = world.import(&empty, "app");
    assert!(listing_of_version(&world, &source).is_empty());
    assert_eq!(world.import(&empty, "app"), source);
}

#[test]
fn equal_files_are_sent_and_stored_once() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let bytes: Vec<u8> = (0..300_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    for name in ["a", "b", "c", "d"] {
        fs::write(tree.join(name), &bytes).expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let report = world.import_json(&tree, "app", &[]);
    let sent = report["bytes_sent"].as_u64().expect("a number");
    assert!(sent < bytes.len() as u64 + 100_000, "{report}");
    let listed = world.lfsfs(["ls", "--json", "app"]).ok();
    let contents: BTreeSet<_> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|object| object["content"].to_string())
        .collect();
    assert_eq!(contents.len(), 1);
    let _ = world.lfsfs(["project", "new", "other"]).ok();
    let other = world.import_json(&tree, "other", &[]);
    assert_eq!(other["bytes_sent"], 0, "{other}");
}

#[test]
fn what_compresses_is_sent_and_stored_small() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let text: String = (0..200_000)
        .map(|line| format!("line {line} of a log\n"))
        .collect();
    fs::write(tree.join("log"), &text).expect("a file");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let report = world.import_json(&tree, "app", &[]);
    let sent = report["bytes_sent"].as_u64().expect("a number");
    assert!(sent < text.len() as u64 / 4, "{report}");
    assert_version_is_dir(&world, "app@v1", &tree);
}
