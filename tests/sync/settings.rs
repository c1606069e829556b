//! Settings: layers, and what is refused before anything is done.

use std::fs;

use lfsfs_tests::{Run, World};

fn config(world: &World, text: &str, more: &[(&str, &str)]) -> Run {
    let file = world.path("lfsfs-sync.toml");
    fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("text");
    let mut command = world.command(["sync", "config", "--config", file]);
    command.envs(more.iter().copied());
    Run::of(command)
}

const GOOD: &str = "sync_dirs = [\"/srv/me/notes\"]\nremote_root = \"work\"\n";

#[test]
fn each_value_says_where_it_is_from() {
    let world = World::without_server();
    let prod = world.path("lfsfs-sync.prod.toml");
    fs::write(prod, "poll_interval = 9\nconcurrency = 9\n").expect("a file");
    let told = config(
        &world,
        &format!("{GOOD}concurrency = 3\n"),
        &[("LFSFS_ENV", "prod"), ("LFSFS_SYNC_DEBOUNCE_MS", "70")],
    );
    let told = told.ok();
    let line = |key: &str| {
        let line = told.lines().find(|line| line.starts_with(key));
        line.expect(key).to_owned()
    };
    assert!(line("poll_interval").starts_with("poll_interval = 9  # "));
    assert!(line("poll_interval").ends_with("lfsfs-sync.prod.toml"));
    assert!(line("concurrency").contains("= 3  # "), "{told}");
    assert_eq!(line("debounce_ms"), "debounce_ms = 70  # environment");
    assert_eq!(line("direction"), "direction = \"both\"  # default");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_done() {
    let world = World::without_server();
    for (text, words) in [
        (
            "sync_dirs = [\"notes\"]\nremote_root = \"work\"",
            "must be absolute",
        ),
        ("remote_root = \"work\"", "sync_dirs is not set"),
        ("sync_dirs = [\"/a\"]", "remote_root is not set"),
        (
            "sync_dirs = [\"/a\", \"/a/b\"]\nremote_root = \"work\"",
            "lies in the other",
        ),
        (
            "sync_dirs = [\"/a\"]\nremote_root = \"work\"\npoll = 3",
            "a key \"poll\"",
        ),
        (
            "sync_dirs = [\"/a\"]\nremote_root = \"work\"\npoll_interval = 0",
            "from 1 to 86400",
        ),
        ("sync_dirs", "is not TOML"),
    ] {
        config(&world, text, &[]).fails(2, &[words]);
    }
    config(&world, GOOD, &[("LFSFS_ENV", "stage")]).fails(2, &["LFSFS_ENV", "dev, test, prod"]);
    config(&world, GOOD, &[("LFSFS_SYNC_DIRECTION", "up")])
        .fails(2, &["environment", "push, pull, both"]);
    config(&world, GOOD, &[("LFSFS_SYNC_NONSENSE", "1")]).fails(2, &["nonsense"]);
    let missing = world.lfsfs(["sync", "once", "--config", "/nowhere/x.toml"]);
    missing.fails(2, &["cannot read /nowhere/x.toml"]);
    let set = [
        "sync",
        "once",
        "--dir",
        "/a",
        "--remote",
        "work",
        "--set",
        "direction",
    ];
    world.lfsfs(set).fails(2, &["KEY=VALUE"]);
    assert!(!world.path("state").exists());
}

#[test]
fn what_is_not_enabled_is_not_synced() {
    let world = World::without_server();
    let dir = world.make_dir("notes");
    let dir = dir.to_str().expect("text");
    let words = [
        "sync",
        "once",
        "--dir",
        dir,
        "--remote",
        "work",
        "--set",
        "enabled=false",
    ];
    world.lfsfs(words).fails(1, &["enabled is false"]);
}

#[test]
fn every_key_is_documented() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = fs::read_to_string(pages).expect("docs/configuration.md");
    let told = config(&World::without_server(), GOOD, &[]).ok();
    assert!(told.lines().count() >= 12);
    for line in told.lines() {
        let (key, _) = line.split_once(" = ").expect("a key");
        assert!(
            page.contains(&format!("| `{key}` |")),
            "{key} is not in docs/configuration.md"
        );
    }
}
