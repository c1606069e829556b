//! `lfsfs log PROJECT PATH` and `lfsfs diff --no-renames`.

use std::fs;

use lfsfs_tests::World;

/// Versions of a log, as `v3 v1`.
fn numbers(world: &World, words: &[&str]) -> String {
    let log = world.lfsfs(words).ok();
    let numbers = log
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    numbers.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_log_of_a_path_has_the_versions_that_changed_it() {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    for (file, text) in [
        ("dir/a", "1"),
        ("b", "1"),
        ("dir/a", "2"),
        ("dir/c", "1"),
        ("b", "2"),
    ] {
        fs::write(tree.join(file), text).expect("a file");
        let _ = world.import(&tree, "app");
    }
    assert_eq!(numbers(&world, &["log", "app", "dir/a"]), "v3 v1");
    assert_eq!(numbers(&world, &["log", "app", "dir"]), "v4 v3 v1");
    assert_eq!(numbers(&world, &["log", "app", "/b", "-n", "1"]), "v5");
    assert_eq!(numbers(&world, &["log", "app"]), "v5 v4 v3 v2 v1");
    fs::remove_file(tree.join("b")).expect("a file");
    let _ = world.import(&tree, "app");
    assert_eq!(numbers(&world, &["log", "app", "b"]), "v6 v5 v2");
    world.lfsfs(["log", "app", "none"]).fails(1, &["none"]);
    world.lfsfs(["log", "app", "a//b"]).fails(2, &[]);
}
