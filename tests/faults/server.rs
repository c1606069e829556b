//! Starting, stopping and starting again.

use std::ffi::OsStr;
use std::fs;
use std::time::{Duration, Instant};

use lfsfs_tests::listing::{assert_version_is_dir, listing_of_version};
use lfsfs_tests::{Numbers, Run, World};

use crate::support::{start_import, world_with_version};

#[test]
fn a_data_directory_serves_one_server() {
    let world = World::new();
    let mut second = world.lfsfsd(["all", "--listen", "127.0.0.1:0", "--data"]);
    second.arg(world.data());
    Run::of(second).fails(1, &["is in use by another lfsfsd"]);
    world.check().fails(1, &["is in use by another lfsfsd"]);
    assert!(world.lfsfs(["project", "list"]).ok().is_empty());
}

#[test]
fn an_address_serves_one_server() {
    let world = World::new();
    let mut second = world.lfsfsd(["all", "--listen", world.address(), "--data"]);
    second.arg(world.path("other"));
    Run::of(second).fails(1, &["cannot listen on", world.address()]);
}

#[test]
fn an_address_that_others_reach_needs_a_word() {
    let mut world = World::without_server();
    let mut refused = world.lfsfsd(["all", "--listen", "0.0.0.0:0", "--data"]);
    refused.arg(world.data());
    Run::of(refused).fails(1, &["0.0.0.0:0", "--insecure-listen"]);
    assert!(!world.data().exists(), "refused before anything was made");
    let mut nameless = world.lfsfsd([
        "all",
        "--listen",
        "0.0.0.0:0",
        "--insecure-listen",
        "--data",
    ]);
    nameless.arg(world.data());
    Run::of(nameless).fails(1, &["--advertise"]);
    world.start_server(&["--insecure-listen"]);
    world.stop_server();
}

#[test]
fn a_directory_that_holds_no_data_is_not_checked() {
    let world = World::without_server();
    world.check().fails(1, &["holds no data of lfsfsd"]);
    assert!(!world.data().exists());
}

#[test]
fn projects_versions_and_contents_are_there_after_a_restart() {
    let (mut world, tree) = world_with_version();
    let _ = world.lfsfs(["project", "new", "empty"]).ok();
    fs::write(tree.join("later"), "later").expect("a file");
    let _ = world.import(&tree, "app");
    let tell = |world: &World| {
        let verbs: [&[&str]; 4] = [
            &["project", "list", "--json"],
            &["log", "app", "--json"],
            &["diff", "app@v1", "app@v2"],
            &["ls", "-R", "--json", "app@v1"],
        ];
        verbs.map(|words| world.lfsfs(words).ok())
    };
    let before = tell(&world);
    for _ in 0..2 {
        world.stop_server();
        world.assert_check_is_clean();
        world.start_server(&[]);
        assert_eq!(tell(&world), before);
        assert_version_is_dir(&world, "app@v2", &tree);
    }
    // Nor does a kill change anything that was answered.
    world.kill_server();
    world.start_server(&[]);
    assert_eq!(tell(&world), before);
    assert_eq!(world.import(&tree, "app"), "app@v2");
}

#[test]
fn a_server_that_is_told_to_stop_ends_in_time() {
    let (mut world, tree) = world_with_version();
    let before = listing_of_version(&world, "app");
    for number in 0..4 {
        let bytes = Numbers(number + 1).bytes(15_000_000);
        fs::write(tree.join(format!("large-{number}")), bytes).expect("a file");
    }
    let mut import = start_import(&world, &tree, "app");
    std::thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    // Checks the exit code too.
    world.stop_server();
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let status = import
        .wait(Duration::from_secs(60))
        .expect("the import ends");
    assert!(matches!(status.code(), Some(0 | 1)), "{}", import.output());
    world.assert_check_is_clean();
    world.start_server(&[]);
    assert_eq!(listing_of_version(&world, "app@v1"), before);
    if !status.success() {
        assert_eq!(world.head("app"), 1);
    }
    assert_eq!(world.import(&tree, "app"), "app@v2");
    assert_version_is_dir(&world, "app@v2", &tree);
}

#[test]
fn a_server_that_waits_for_no_call_ends_at_once() {
    let (mut world, _) = world_with_version();
    let start = Instant::now();
    world.stop_server();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_project_of_a_name_is_made_once() {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world.lfsfs(["project", "new", "app"]).fails(1, &["app"]);
    let wrong = OsStr::new("no/name");
    world
        .lfsfs([OsStr::new("project"), OsStr::new("new"), wrong])
        .fails(2, &["no/name"]);
}
