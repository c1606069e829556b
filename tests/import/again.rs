//! A second import costs what changed.

use std::fs;

use lfsfs_testkit::chunks;
use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::World;
use lfsfs_tests::listing::{assert_same_listing, assert_version_is_dir, listing_of_version};

#[test]
fn an_unchanged_tree_makes_no_row_and_no_version() {
    let world = World::new();
    let tree = world.path("tree");
    let mut spec = TreeSpec::torture();
    spec.features.large_file = None;
    let _ = spec.generate(&tree).expect("a tree");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    let again = world.lfsfs(["import".as_ref(), tree.as_os_str(), "app".as_ref()]);
    assert_eq!(again.ok(), "app@v1");
    let report = world.import_json(&tree, "app", &[]);
    for key in ["rows", "changes", "bytes_sent", "contents_sent"] {
        assert_eq!(report[key], 0, "{key} in {report}");
    }
    assert_eq!(report["new"], false, "{report}");
    assert_eq!(
        world.lfsfs(["log", "app", "--json"]).ok().lines().count(),
        1
    );
}

#[test]
fn an_import_stores_again_what_the_server_lost() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    let large: Vec<u8> = lfsfs_tests::Numbers(5).bytes(3_000_000);
    fs::write(tree.join("large"), large).expect("a file");
    fs::write(tree.join("small"), "small ".repeat(100)).expect("a file");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    let lose = |world: &World| {
        let files = chunks::files_in(world.data());
        assert!(!files.is_empty());
        files
            .into_iter()
            .for_each(|file| fs::remove_file(file).expect("a chunk"));
    };

    // While the server is down, and imported into the same project again.
    world.stop_server();
    lose(&world);
    world.start_server(&[]);
    let report = world.import_json(&tree, "app", &[]);
    assert_eq!(report["new"], false, "{report}");
    assert!(
        report["bytes_sent"].as_u64().expect("a number") > 3_000_000,
        "{report}"
    );
    assert_version_is_dir(&world, "app@v1", &tree);
    world.stop_server();
    world.assert_check_is_clean();

    // While it runs: the first program that reads finds out. Another project is imported.
    world.start_server(&[]);
    lose(&world);
    // What this machine read before would be read from its cache.
    fs::remove_dir_all(world.path("cache")).expect("a cache");
    for name in ["large", "small"] {
        world.lfsfs(["cat", "app@v1", name]).fails(1, &["lfsfs: "]);
    }
    assert_eq!(world.import(&tree, "other"), "other@v1");
    assert_version_is_dir(&world, "other@v1", &tree);
    assert_version_is_dir(&world, "app@v1", &tree);
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn times_of_directories_alone_make_no_version() {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    fs::write(tree.join("passing"), "by").expect("a file");
    fs::remove_file(tree.join("passing")).expect("a file to remove");
    assert_eq!(world.import(&tree, "app"), "app@v1");
}

/// Imports an application, changes a little, imports again: what that costs, and what it shows.
fn assert_cost_of_changes(files: usize, changes: usize) {
    let world = World::new();
    let tree = world.path("tree");
    let summary = TreeSpec::app(files).generate(&tree).expect("a tree");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let first = world.import_json(&tree, "app", &[]);
    assert_eq!(first["rows"], summary.entries(), "{first}");
    let before = listing_of_version(&world, "app@v1");
    let _ = mutate(&tree, 7, changes).expect("changes");
    let second = world.import_json(&tree, "app", &[]);
    assert_eq!(second["version"], 2, "{second}");
    assert_version_is_dir(&world, "app@v2", &tree);
    assert_same_listing(&listing_of_version(&world, "app@v1"), &before);
    let diff = world.lfsfs(["diff", "app@v1", "app@v2", "-z"]);
    let lines = diff.ok().split_terminator('\0').count() as u64;
    let number = |key: &str| second[key].as_u64().expect("a number");
    assert!(number("rows") <= 2 * lines + 10, "{lines} lines: {second}");
    let (sent, all) = (number("bytes_sent"), first["bytes_sent"].as_u64());
    let most = all.expect("a number") / 5;
    assert!(sent < most, "{sent} bytes sent, at most {most}: {second}");
}

#[test]
fn a_changed_tree_costs_its_changes() {
    assert_cost_of_changes(4_000, 40);
}

#[test]
#[ignore = "soak: many files"]
fn a_changed_large_tree_costs_its_changes() {
    assert_cost_of_changes(40_000, 40);
}

/// Imports a tree again and again while it changes, and looks at every version at the end.
fn assert_every_version_stays(seed: u64, versions: usize) {
    let world = World::new();
    let tree = world.path("tree");
    let mut spec = TreeSpec::torture();
    (spec.seed, spec.files, spec.features.large_file) = (seed, 300, None);
    let _ = spec.generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let mut listings = vec![listing_of_version(&world, "app")];
    for version in 2..=versions {
        let _ = mutate(&tree, seed + version as u64, 30).expect("changes");
        assert_eq!(world.import(&tree, "app"), format!("app@v{version}"));
        assert_version_is_dir(&world, "app", &tree);
        listings.push(listing_of_version(&world, "app"));
    }
    for (index, listing) in listings.iter().enumerate() {
        let source = format!("app@v{}", index + 1);
        assert_same_listing(&listing_of_version(&world, &source), listing);
    }
}

#[test]
fn every_version_stays_as_it_was() {
    assert_every_version_stays(1, 5);
}

#[test]
#[ignore = "soak: many versions"]
fn every_version_of_many_stays_as_it_was() {
    for seed in 1..=5 {
        assert_every_version_stays(seed, 30);
    }
}

#[test]
fn two_mounted_versions_are_the_old_tree_and_the_changed_one() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "again::two_mounted_versions_are_the_old_tree_and_the_changed_one";
    in_private_namespace(name, || {
        let world = World::new();
        let (old, new) = (world.path("old"), world.path("new"));
        for tree in [&old, &new] {
            let _ = TreeSpec::small().generate(tree).expect("a tree");
        }
        let first = world.import(&old, "app");
        let _ = mutate(&new, 3, 60).expect("changes");
        let second = world.import(&new, "app");
        let (first, second) = (world.mount(&first, ""), world.mount(&second, ""));
        let options = CompareOptions::default();
        assert_same_trees(&old, first.path(), &options);
        assert_same_trees(&new, second.path(), &options);
        first.umount();
        second.umount();
    });
}
