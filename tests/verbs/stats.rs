//! `lfsfsd stats`: what an operator sees of a server.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Run, World};

use super::support::world;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `lfsfsd stats` against an address.
fn stats(world: &World, address: &str, options: &[&str]) -> Run {
    let mut command = world.lfsfsd(["stats", "--server", address]);
    command.args(options);
    Run::of(command)
}

#[test]
fn people_see_server_engine_nodes_and_projects() {
    let world = world();
    let _ = world.lfsfs(["project", "new", "empty"]).ok();
    let shown = stats(&world, world.address(), &[]).ok();
    let line = |start: &str| {
        let found = shown.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start}: {shown}"))
    };
    let version = format!("lfsfsd {}", env!("CARGO_PKG_VERSION"));
    assert!(line("server ").contains(world.address()), "{shown}");
    assert!(line("server ").contains(&version), "{shown}");
    assert!(line("engine ").contains("redb, "), "{shown}");
    assert!(line("cache ").contains("hit rate "), "{shown}");
    assert!(line("disk ").contains("write amplification "), "{shown}");
    assert!(line("slow ").contains("above 100 ms"), "{shown}");
    assert!(line(world.address()).contains("available"), "{shown}");
    let words = |start: &str| line(start).split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        words("PROJECT "),
        ["PROJECT", "OBJECTS", "SIZE", "STORED", "VERSIONS"]
    );
    let app = words("app ");
    assert_eq!((&app[..4], app.len()), (&["app", "5", "15", "B"][..], 7));
    assert_ne!(app[4], "0", "{shown}");
    assert_eq!(words("empty "), ["empty", "0", "0", "B", "0", "B", "0"]);
}

#[test]
fn programs_get_one_object_with_fixed_keys() {
    let world = world();
    let told = stats(&world, world.address(), &["--json"]);
    assert_eq!(told.ok().lines().count(), 1, "{told:?}");
    let told = told.json();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value.as_object().expect("an object").keys().collect();
        keys.sort();
        keys.into_iter().cloned().collect::<Vec<_>>().join(" ")
    };
    let expected = "chunk_bytes chunks engine nodes projects server";
    assert_eq!(keys(&told), expected);
    assert_eq!(
        keys(&told["server"]),
        "address cluster uptime_seconds version"
    );
    assert_eq!(
        keys(&told["engine"]),
        "batches bytes_written cache_bytes cache_bytes_max cache_evictions cache_hit_rate \
         cache_hits cache_misses conflicts device_bytes device_syncs file_bytes flushes name reads \
         rows_read rows_written slow_calls write_amplification"
    );
    assert_eq!(
        keys(&told["nodes"][0]),
        "address capacity_bytes chunk_bytes chunks id state used_bytes"
    );
    let app = &told["projects"][0];
    assert_eq!(keys(app), "bytes name objects stored_bytes versions");
    assert_eq!(app["name"], "app");
    let inspected = world.lfsfs(["project", "inspect", "app", "--json"]).json();
    for key in ["objects", "bytes"] {
        assert_eq!(app[key], inspected["version"][key], "{key}");
    }
    assert!(app["stored_bytes"].as_u64() > Some(0), "{app}");
    assert_eq!(app["stored_bytes"], inspected["stored_bytes"]);
}

#[test]
fn what_is_there_already_costs_a_project_nothing() {
    let mut world = world();
    let tree = world.path("tree");
    assert_eq!(world.import(&tree, "copy"), "copy@v1");
    let stored = |world: &World| {
        let told = stats(world, world.address(), &["--json"]).json();
        let projects = told["projects"].as_array().expect("a list").clone();
        let bytes = projects.iter().map(|project| &project["stored_bytes"]);
        bytes
            .map(|bytes| bytes.as_u64().expect("bytes"))
            .collect::<Vec<_>>()
    };
    let before = stored(&world);
    assert!(before[0] > 0, "{before:?}");
    assert_eq!(before[1], 0, "{before:?}");
    fs::write(tree.join("new"), "bytes that no version has").expect("a file");
    assert_eq!(world.import(&tree, "copy"), "copy@v2");
    let after = stored(&world);
    assert_eq!(after[0], before[0]);
    assert!(after[1] > 0, "{after:?}");
    world.kill_server();
    world.start_server(&[]);
    assert_eq!(stored(&world), after, "a version was published over it");
}

#[test]
fn what_is_wrong_is_named() {
    let world = world();
    stats(&world, "127.0.0.1:1", &[]).fails(1, &["no lfsfs server at 127.0.0.1:1", "lfsfsd all"]);
    stats(&world, "a/b", &[]).fails(2, &["expected HOST or HOST:PORT"]);
}

#[test]
fn a_datanode_is_told_from_a_coordinator() {
    let world = World::without_server();
    let start = |role: &str, more: &[&str]| {
        let mut command = world.lfsfsd([role, "--listen", "127.0.0.1:0", "--data"]);
        command.arg(world.path(role)).args(more);
        let server = Program::start(command).expect("it starts");
        let address = server.wait_for_word("listening on ", TIMEOUT);
        (server, address.expect("it listens"))
    };
    let (_coordinator, address) = start("coordinator", &[]);
    let (_datanode, other) = start("datanode", &["--coordinator", &address]);
    stats(&world, &other, &[]).fails(1, &[&other, "is no coordinator", "--server"]);
    let told = stats(&world, &address, &["--json"]).json();
    assert_eq!(told["nodes"][0]["address"], other.as_str());
    assert_eq!(told["projects"], serde_json::json!([]));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let world = World::without_server();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let asked = stats(&world, &address, &["--timeout", "1"]);
    asked.fails(1, &[&address, "no answer within 1 s"]);
}
