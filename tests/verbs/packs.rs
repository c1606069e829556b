//! Packs: packages that are kept as one row, and show in nothing but what they cost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use lfsfs_tests::listing::{assert_same_listing, assert_version_is_dir, listing_of_version};
use lfsfs_tests::{World, eventually};

/// Makes a tree with packages, one in a scope, one in another package, and files beside them.
fn make_tree(dir: &Path) {
    for package in ["a", "a/node_modules/b", "@scope/c", ".bin"] {
        let package = dir.join("node_modules").join(package);
        fs::create_dir_all(package.join("lib")).expect("a package");
        for number in 0..30 {
            let name = format!("lib/f{number}.js");
            fs::write(package.join(name), format!("{package:?} {number}")).expect("a file");
        }
        fs::write(package.join("package.json"), "{}").expect("a file");
    }
    symlink("../a/lib/f1.js", dir.join("node_modules/.bin/tool")).expect("a link");
    fs::write(dir.join("index.js"), "run").expect("a file");
}

#[test]
fn a_new_project_packs_packages_unless_told_otherwise() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    make_tree(&tree);
    for (name, more) in [("app", None), ("plain", Some("--pack-nothing"))] {
        let words = ["project", "new", name].into_iter().chain(more);
        let _ = world.lfsfs(words).ok();
        let _ = world
            .lfsfs(["import", tree.to_str().expect("text"), name])
            .ok();
        assert_version_is_dir(&world, name, &tree);
    }
    let patterns =
        world.lfsfs(["project", "inspect", "app", "--json"]).json()["pack_patterns"].clone();
    assert!(
        patterns[0]
            .as_str()
            .is_some_and(|it| it.contains("node_modules")),
        "{patterns}"
    );
    let inspected = world
        .lfsfs(["project", "inspect", "plain", "--json"])
        .json();
    assert_eq!(inspected["pack_patterns"], serde_json::json!([]));
    // A change in a package, one that moves out of one, and a package that goes.
    fs::write(tree.join("node_modules/a/lib/f3.js"), "changed").expect("a change");
    rustix::fs::rename(
        tree.join("node_modules/a/node_modules/b"),
        tree.join("node_modules/b"),
    )
    .expect("a move");
    fs::remove_dir_all(tree.join("node_modules/@scope")).expect("a removal");
    for name in ["app", "plain"] {
        let _ = world
            .lfsfs(["import", tree.to_str().expect("text"), name])
            .ok();
        assert_version_is_dir(&world, name, &tree);
    }
    let [packed, plain] = ["app", "plain"].map(|name| {
        let [old, new] = ["v1", "v2"].map(|version| format!("{name}@{version}"));
        world.lfsfs(["diff", &old, &new]).ok()
    });
    assert_eq!(packed, plain);
    assert!(packed.contains("M node_modules/a/lib/f3.js"), "{packed}");
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn packs_follow_patterns_and_no_version_shows_it() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    make_tree(&tree);
    let _ = world
        .lfsfs(["project", "new", "app", "--pack-nothing"])
        .ok();
    let _ = world
        .lfsfs(["import", tree.to_str().expect("text"), "app"])
        .ok();
    let shown = listing_of_version(&world, "app@v1");
    let steps = [
        ("--pack", Some("(^|/)node_modules/[^/]+/$"), 2),
        ("--pack", Some("^node_modules/$"), 3),
        ("--pack-nothing", None, 4),
    ];
    for (flag, pattern, version) in steps {
        let words = ["project", "set", "app", flag].into_iter().chain(pattern);
        let _ = world.lfsfs(words).ok();
        let follows = || world.head("app") == version;
        assert!(eventually(Duration::from_secs(20), follows), "{pattern:?}");
        for number in 1..=version {
            let found = listing_of_version(&world, &format!("app@v{number}"));
            assert_same_listing(&found, &shown);
        }
        let (first, last) = ("app@v1", format!("app@v{version}"));
        assert_eq!(world.lfsfs(["diff", first, &last]).ok(), "");
    }
    let _ = world
        .lfsfs(["gc", "app", "--keep", "1", "--grace", "0s"])
        .ok();
    assert_same_listing(&listing_of_version(&world, "app"), &shown);
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn what_is_no_pattern_is_refused() {
    let world = World::new();
    world
        .lfsfs(["project", "new", "app", "--pack", "("])
        .fails(2, &["pack pattern", "("]);
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world
        .lfsfs(["project", "set", "app", "--pack", "a{100000}{100000}"])
        .fails(2, &["pack pattern"]);
    world
        .lfsfs(["project", "set", "app", "--pack", "a", "--pack-nothing"])
        .fails(2, &["--pack"]);
    world.lfsfs(["project", "set", "app"]).fails(2, &["--pack"]);
}
