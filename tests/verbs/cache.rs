//! `lfsfs cache`: a version comes before a mount asks for it, and goes again.

use std::fs;
use std::path::Path;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Numbers, World, read_all};
use serde_json::Value;

use crate::support::write;

fn cache(world: &World, words: &[&str]) -> Value {
    let words: Vec<_> = ["cache"].iter().chain(words).chain(&["--json"]).collect();
    world.lfsfs(words).json()
}

#[test]
fn a_mount_of_a_warm_version_asks_for_nothing() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let _ = TreeSpec::app(300)
        .generate(&tree.join("app"))
        .expect("a tree");
    fs::write(tree.join("large"), Numbers(3).bytes(5_000_000)).expect("a file");
    world.import(&tree, "app");
    assert_eq!(cache(&world, &["status"])["bytes"], 0);

    let warmed = cache(&world, &["warm", "app@v1"]);
    assert_eq!(
        (&warmed["version"], &warmed["failed"]),
        (&1.into(), &0.into())
    );
    assert!(
        warmed["fetched_bytes"].as_u64() > Some(5_000_000),
        "{warmed}"
    );
    assert!(cache(&world, &["status"])["bytes"].as_u64() > Some(5_000_000));
    let again = cache(&world, &["warm", "app"]);
    assert_eq!(again["fetched_bytes"], 0, "{again}");
    assert_eq!(
        (&again["bytes"], &again["entries"]),
        (&warmed["bytes"], &warmed["entries"])
    );

    let mounted = world.mount("app@v1", "ro");
    assert_eq!(read_all(mounted.path()), read_all(&tree));
    let stats = world.lfsfs([
        "stats".as_ref(),
        mounted.path().as_os_str(),
        "--json".as_ref(),
    ]);
    let stats = stats.json();
    for counter in ["listings", "resolves", "reads", "bytes"] {
        let found = &stats["counters"][format!("remote_{counter}")];
        assert_eq!(found, 0, "{counter}: {stats}");
    }

    // A mount goes on when all is gone.
    let cleared = cache(&world, &["clear"]);
    assert_eq!(cleared["left_bytes"], 0);
    assert_eq!(read_all(mounted.path()), read_all(&tree));
}

#[test]
fn a_directory_is_warmed_alone_and_the_oldest_is_pruned() {
    let world = World::new();
    let tree = world.make_dir("tree");
    for dir in ["one", "two"] {
        fs::create_dir(tree.join(dir)).expect("a directory");
        fs::write(tree.join(dir).join("file"), Numbers(3).bytes(300_000)).expect("a file");
        write(&tree.join(dir), "name", dir);
    }
    world.import(&tree, "app");
    let warmed = cache(&world, &["warm", "app:one"]);
    assert_eq!(
        (&warmed["entries"], &warmed["bytes"]),
        (&2.into(), &300_003.into())
    );
    let shown = world.lfsfs(["cache", "warm", "app:one", "app"]).ok();
    assert_eq!(shown, "app@v1\napp@v1");
    let pruned = cache(&world, &["prune", "--size", "100K"]);
    assert!(pruned["left_bytes"].as_u64() <= Some(100 << 10), "{pruned}");
    let status = world.lfsfs(["cache", "status"]).ok();
    assert!(
        status.contains("chunks") && status.contains("listings"),
        "{status}"
    );
}

#[test]
fn what_cannot_be_warmed_says_why() {
    let world = World::new();
    world.import(&world.make_dir("tree"), "app");
    world
        .lfsfs(["cache", "warm", "absent"])
        .fails(1, &["absent"]);
    world
        .lfsfs(["cache", "warm", "app:gone"])
        .fails(1, &["gone"]);
    world.lfsfs(["cache", "warm"]).fails(2, &["SOURCE"]);
    world
        .lfsfs(["cache", "prune", "--size", "much"])
        .fails(2, &["2G"]);
}

/// Makes a tree with packages of these names, each with a file that tells how large it is.
fn packages(tree: &Path, names: &[(&str, usize)]) {
    for (name, len) in names {
        let dir = tree.join("node_modules").join(name).join("lib");
        fs::create_dir_all(&dir).expect("a directory");
        let seed = name.bytes().map(u64::from).sum();
        fs::write(dir.join("index.js"), Numbers(seed).bytes(*len)).expect("a file");
    }
}

#[test]
fn a_cache_version_has_the_packages_that_most_projects_use() {
    let world = World::new();
    let sizes = [("common", 200_000), ("often", 100_000), ("rare", 50_000)];
    for (project, count) in [("one", 3), ("two", 2), ("three", 1)] {
        let tree = world.make_dir(project);
        packages(&tree, &sizes[..count]);
        world.import(&tree, project);
    }
    world.lfsfs(["cache", "make", "pool"]).fails(1, &["pool"]);
    let made = world
        .lfsfs(["cache", "make", "pool", "--packs", "2", "--create"])
        .ok();
    assert_eq!(made, "pool@v1");
    assert_eq!(world.lfsfs(["ls", "pool"]).ok().lines().count(), 2);
    let again = world
        .lfsfs(["cache", "make", "pool", "--packs", "2", "--json"])
        .json();
    assert_eq!(
        (&again["version"], &again["new"]),
        (&1.into(), &false.into())
    );

    // What is warm of the pool, a mount of another project does not fetch.
    let warmed = cache(&world, &["warm", "pool"]);
    assert_eq!(warmed["bytes"], 300_000, "{warmed}");
    let mounted = world.mount("two", "ro");
    assert_eq!(read_all(mounted.path()), 300_000);
    assert_eq!(mounted.counters()["remote_bytes"], 0);
    mounted.umount();

    // A package that fewer use goes, one that stays is the same directory.
    let first = world.lfsfs(["ls", "pool"]).ok();
    let _ = world.lfsfs(["project", "delete", "two", "--yes"]).ok();
    assert_eq!(
        world.lfsfs(["cache", "make", "pool", "--packs", "1"]).ok(),
        "pool@v2"
    );
    let left = world.lfsfs(["ls", "pool"]).ok();
    assert_eq!(left.lines().count(), 1);
    assert!(first.contains(&left), "{first} {left}");
    world
        .lfsfs(["cache", "make", "pool", "--packs", "0"])
        .fails(2, &["--packs"]);
}
