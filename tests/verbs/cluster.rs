//! `lfsfs cluster status`: how a cluster is, once and again and again.

use std::process::{Command, Stdio};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::Cluster;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::put;

const LIMIT: Duration = Duration::from_secs(20);

const KEYS: [&str; 21] = [
    "backup_time",
    "chunks",
    "cluster_id",
    "copied",
    "copied_bytes",
    "copies",
    "copies_min",
    "failed",
    "found",
    "missing",
    "moved",
    "nodes",
    "over_replicated",
    "repairing",
    "restored_time",
    "scan_age_seconds",
    "scanning",
    "to_move",
    "under_replicated",
    "waiting",
    "waiting_bytes",
];

fn keys(status: &Value) -> Vec<&str> {
    let keys = status.as_object().expect("an object").keys();
    let mut keys: Vec<_> = keys.map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_status_has_fixed_keys() {
    let cluster = Cluster::new(2, &[]);
    let status = cluster.wait_for_repair(LIMIT);
    assert_eq!(keys(&status), KEYS);
    assert_eq!(
        (&status["copies"], &status["copies_min"]),
        (&3.into(), &2.into())
    );
    assert_eq!(status["nodes"], Value::from(cluster.nodes()));
    assert_eq!(status["chunks"], 0);
    let text = cluster.world.lfsfs(["cluster", "status"]).ok();
    for words in [
        "All is well",
        "3 of each chunk",
        "waits for 2",
        "2 available",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_lost_datanode_is_told_and_repaired_by_a_new_one() {
    let mut cluster = Cluster::new(2, &["--replication", "2", "--repair-after", "6"]);
    let world = &cluster.world;
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let file = world.path("file");
    std::fs::write(&file, "text").expect("a file");
    let _ = put(world, &file, "app:file").ok();
    cluster.stop_node(0);
    let few = |status: &Value| status["under_replicated"] == 1 && status["waiting"] == 0;
    let _ = cluster.wait_for(LIMIT, few);
    let text = cluster.world.lfsfs(["cluster", "status"]).ok();
    for words in [
        "1 chunk had too few copies",
        "start another one",
        "1 offline",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let _ = cluster.start_node(&[]);
    let status = cluster.wait_for(LIMIT, |status| status["copied"] == 1);
    assert_eq!(
        (
            status["copied_bytes"].as_u64() > Some(0),
            &status["missing"]
        ),
        (true, &0.into())
    );

    // Both that have the chunk are silent: it cannot be read.
    cluster.stop_node(1);
    cluster.stop_node(2);
    let _ = cluster.wait_for(LIMIT, |status| status["missing"] == 1);
    let text = cluster.world.lfsfs(["cluster", "status"]).ok();
    assert!(text.starts_with("1 chunk is MISSING"), "{text}");
    assert!(
        text.contains("3 datanodes are offline: start them."),
        "{text}"
    );
}

#[test]
fn a_watch_goes_on_until_it_is_ended() {
    let cluster = Cluster::new(1, &[]);
    let watch = || {
        cluster
            .world
            .command(["cluster", "status", "--watch", "--json"])
    };
    let mut program = Program::start(watch()).expect("lfsfs starts");
    // The second answer has a rate; null is for what only two answers can tell.
    let second = program.wait_for_line("\"bytes_per_second\":0", LIMIT);
    let second: Value = serde_json::from_str(&second.expect("an answer")).expect("JSON");
    let rate = ["bytes_per_second", "seconds_left"].into_iter();
    let mut expected: Vec<_> = KEYS.into_iter().chain(rate).collect();
    expected.sort_unstable();
    assert_eq!(keys(&second), expected);
    let first = program.output();
    assert!(first.contains("\"bytes_per_second\":null"), "{first}");
    program.signal(Signal::INT).expect("it runs");
    let status = program.wait(LIMIT).expect("it ends");
    assert!(status.success(), "{status}: {}", program.output());
    assert_ends_with_its_reader(watch());
}

/// Checks that a command ends well when its reader goes away after the first line.
fn assert_ends_with_its_reader(mut command: Command) {
    use std::io::{BufRead as _, BufReader};
    command.stdout(Stdio::piped());
    let mut child = command.spawn().expect("lfsfs starts");
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    let _ = reader.read_line(&mut line).expect("a line");
    drop(reader);
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}: {line}");
}
