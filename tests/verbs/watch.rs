//! `lfsfs watch`: each new version, none left out and none twice.

use std::fs;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::{World, eventually, is_running};

const SOON: Duration = Duration::from_secs(30);

/// Makes the next version of the project.
fn next(world: &World, text: &str) {
    let tree = world.path("tree");
    fs::create_dir_all(&tree).expect("a directory");
    fs::write(tree.join("file"), text).expect("a file");
    let _ = world.import(&tree, "app");
}

fn world() -> World {
    let world = World::new();
    next(&world, "one");
    world
}

/// Starts a watch, which goes on while the server is away.
fn watch(world: &World, words: &[&str]) -> Program {
    let words = ["--retry-for", "60", "watch"].iter().chain(words);
    Program::start(world.command(words)).expect("lfsfs starts")
}

/// Waits until the watch has written this line.
#[track_caller]
fn wait_for(watch: &Program, line: &str) {
    let has_line = || watch.output().lines().any(|found| found == line);
    assert!(eventually(SOON, has_line), "{line}: {}", watch.output());
}

/// The versions that a watch has shown, as `v2 v3`.
fn shown(watch: &Program) -> String {
    let output = watch.output();
    let versions = output
        .lines()
        .filter_map(|line| line.strip_prefix("version  app@"));
    versions.collect::<Vec<_>>().join(" ")
}

#[test]
fn versions_come_as_they_are_published_with_what_they_changed() {
    let world = world();
    let watched = watch(&world, &["app@v0"]);
    wait_for(&watched, "version  app@v1");
    wait_for(&watched, "A file");
    next(&world, "two");
    wait_for(&watched, "version  app@v2");
    wait_for(&watched, "M file");
    let _ = world.lfsfs(["rollback", "app@v1", "-m", "back"]).ok();
    wait_for(&watched, "    back");
    let _ = world.lfsfs(["rm", "app:file"]).ok();
    wait_for(&watched, "D file");
    assert_eq!(shown(&watched), "v1 v2 v3 v4");
}

#[test]
fn a_watch_goes_on_where_it_was_when_the_server_comes_back() {
    let mut world = world();
    let watched = watch(&world, &["app"]);
    let ended = watch(&world, &["app", "-n", "3"]);
    next(&world, "two");
    wait_for(&watched, "version  app@v2");
    world.kill_server();
    world.start_server(&[]);
    next(&world, "three");
    wait_for(&watched, "version  app@v3");
    // It ends in time, too: a watch does not hold it up.
    world.stop_server();
    world.start_server(&[]);
    for text in ["four", "five"] {
        next(&world, text);
    }
    wait_for(&watched, "version  app@v5");
    assert_eq!(shown(&watched), "v2 v3 v4 v5");
    assert!(eventually(SOON, || !is_running(ended.id())));
    assert_eq!(shown(&ended), "v2 v3 v4");
}

#[test]
fn a_command_runs_for_each_version_and_ends_the_watch_where_it_fails() {
    let world = world();
    next(&world, "two");
    let command = r#"echo "$LFSFS_SOURCE $LFSFS_PROJECT $LFSFS_VERSION""#;
    let words = ["watch", "app@v0", "-n", "2", "--exec", command];
    assert_eq!(world.lfsfs(words).ok(), "app@v1 app 1\napp@v2 app 2");
    let fails = ["watch", "app@v1", "--exec", "exit 3"];
    world
        .lfsfs(fails)
        .fails(1, &["app@v2", "3", "lfsfs watch app@v1"]);
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let world = world();
    world.lfsfs(["watch", "none"]).fails(1, &["none"]);
    world.lfsfs(["watch", "app@v9"]).fails(1, &["v9"]);
    let watched = watch(&world, &["app"]);
    next(&world, "two");
    wait_for(&watched, "version  app@v2");
    let _ = world.lfsfs(["project", "delete", "app", "--yes"]).ok();
    assert!(eventually(SOON, || !is_running(watched.id())));
    assert!(
        watched.output().contains("no project"),
        "{}",
        watched.output()
    );
}
