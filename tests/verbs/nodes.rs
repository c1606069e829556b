//! `lfsfs node`: datanodes are listed, drained and removed, as real processes.

use std::time::Duration;

use lfsfs_tests::{Cluster, Numbers, Run};

use crate::support::put;

const LIMIT: Duration = Duration::from_secs(20);
/// Two copies, and a datanode that is silent for 8 s is offline and lost.
const TWO_COPIES: &[&str] = &["--replication", "2", "--repair-after", "8"];
const FILES: u64 = 3;
const FILE_LEN: usize = 300_000;

fn file_name(number: u64) -> String {
    format!("file-{number}")
}

/// Puts files into a project `app`, each of which makes a chunk.
fn put_files(cluster: &Cluster) {
    let world = &cluster.world;
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    for number in 0..FILES {
        let file = world.path("file");
        std::fs::write(&file, Numbers(number + 1).bytes(FILE_LEN)).expect("a file");
        let _ = put(world, &file, format!("app:{}", file_name(number))).ok();
    }
}

/// Checks that the files are what they were.
#[track_caller]
fn assert_files(cluster: &Cluster) {
    for number in 0..FILES {
        let read = cluster.world.lfsfs(["cat", "app", &file_name(number)]);
        let is_same = read.stdout_bytes() == Numbers(number + 1).bytes(FILE_LEN);
        assert!(is_same, "{}: {}", file_name(number), read.stderr());
    }
}

fn remove(cluster: &Cluster, node: &str, options: &[&str]) -> Run {
    let words = ["node", "remove", node].into_iter();
    cluster.world.lfsfs(words.chain(options.iter().copied()))
}

#[test]
fn a_list_has_all_datanodes() {
    let mut cluster = Cluster::new(2, &[]);
    let far = cluster.start_node(&["--zone", "rack-7", "--capacity", "1GiB"]);
    let keys = [
        "address",
        "capacity_bytes",
        "chunks",
        "draining",
        "generation",
        "id",
        "last_seen",
        "state",
        "stored_bytes",
        "used_bytes",
        "zone",
    ];
    let nodes = cluster.nodes();
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        let found = node.as_object().expect("an object").keys();
        assert!(found.eq(keys), "{node}");
        assert_eq!(node["state"], "available");
        assert_eq!(node["id"].as_str().expect("text").len(), 32);
    }
    let node = cluster.node(far);
    assert_eq!(
        (&node["zone"], &node["capacity_bytes"]),
        (&"rack-7".into(), &(1_u64 << 30).into())
    );
    let text = cluster.world.lfsfs(["node", "list"]).ok();
    assert_eq!(text.lines().count(), 4, "{text}");
    let id = node["id"].as_str().expect("text");
    let line = text
        .lines()
        .find(|line| line.contains("rack-7"))
        .expect("a line");
    assert!(
        line.starts_with(&format!("{}  127.0.0.1:", &id[..8])),
        "{line}"
    );
}

#[test]
fn a_datanode_is_drained_stopped_and_removed_without_loss() {
    let mut cluster = Cluster::new(3, TWO_COPIES);
    put_files(&cluster);
    let has_chunks = |number: &usize| cluster.node(*number)["chunks"].as_u64() > Some(0);
    // A heartbeat tells how many chunks a datanode has.
    let _ = cluster.wait_for(LIMIT, |_| (0..3).any(|number| has_chunks(&number)));
    let gone = (0..3).find(has_chunks).expect("a datanode with chunks");
    let address = cluster.address_of(gone).to_owned();

    let drained = cluster.world.lfsfs(["node", "drain", &address]);
    assert!(drained.ok().contains("drains"), "{drained:?}");
    assert!(
        drained.stderr().contains("lfsfs cluster status"),
        "{drained:?}"
    );
    let node = cluster.node(gone);
    assert_eq!(
        (&node["state"], &node["draining"]),
        (&"draining".into(), &true.into())
    );
    // A running datanode would register again.
    remove(&cluster, &address, &[]).fails(1, &["still runs"]);
    let done = cluster.wait_for_repair(LIMIT);
    assert!(done["copied"].as_u64() > Some(0), "{done}");

    cluster.stop_node(gone);
    cluster.wait_for_silence(gone, LIMIT);
    let id = node["id"].as_str().expect("text");
    let removed = remove(&cluster, &id[..8], &[]).ok();
    assert!(removed.ends_with("no chunk is lost"), "{removed}");
    assert_eq!(cluster.nodes().len(), 2);
    assert_files(&cluster);
    let after = cluster.wait_for_repair(LIMIT);
    assert_eq!(
        (&after["under_replicated"], &after["missing"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_datanode_that_drains_can_be_kept() {
    let cluster = Cluster::new(1, &["--replication", "1"]);
    let address = cluster.address_of(0);
    let drained = cluster.world.lfsfs(["node", "drain", address]);
    let _ = drained.ok();
    assert!(drained.stderr().contains("only 0 datanodes"), "{drained:?}");
    let kept = cluster.world.lfsfs(["node", "undrain", address]).ok();
    assert!(kept.ends_with("takes chunks"), "{kept}");
    assert_eq!(cluster.node(0)["state"], "available");
    put_files(&cluster);
    assert_files(&cluster);
}

#[test]
fn only_copies_are_given_up_by_force_alone() {
    let mut cluster = Cluster::new(1, &["--replication", "1", "--repair-after", "8"]);
    put_files(&cluster);
    let address = cluster.address_of(0).to_owned();
    cluster.stop_node(0);
    cluster.wait_for_silence(0, LIMIT);
    let refused = remove(&cluster, &address, &[]);
    refused.fails(1, &["only copy", &FILES.to_string()]);
    let forced = remove(&cluster, &address, &["--force"]).ok();
    assert!(
        forced.ends_with(&format!("{FILES} chunks are lost")),
        "{forced}"
    );
    assert_eq!(cluster.nodes().len(), 0);
    let missing = |status: &serde_json::Value| status["missing"] == FILES;
    let _ = cluster.wait_for(LIMIT, missing);
}

#[test]
fn what_names_no_datanode_or_two_is_refused_with_candidates() {
    let mut cluster = Cluster::new(0, &[]);
    let ids = ["abcd01", "abcd02"].map(|start| format!("{start:0<32}"));
    for id in &ids {
        let _ = cluster.start_node_with_id(id);
    }
    let typed = |verb: &str, node: &str| cluster.world.lfsfs(["node", verb, node]);
    for verb in ["drain", "undrain", "remove"] {
        typed(verb, "abcd").fails(2, &["2 datanodes", &ids[0], &ids[1]]);
        typed(verb, "beef").fails(1, &["no datanode beef", &ids[0], &ids[1]]);
        typed(verb, "127.0.0.1:1").fails(1, &["no datanode 127.0.0.1:1", cluster.address_of(0)]);
        typed(verb, "abc").fails(2, &["\"abc\"", "4 digits"]);
    }
    let _ = typed("drain", "abcd02").ok();
    let states: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| node["state"].clone())
        .collect();
    assert_eq!(states, ["available", "draining"]);
}

#[test]
fn a_datanode_that_joins_gets_its_part() {
    // An eighth of this is a chunk, so that each one counts.
    const SMALL: &[&str] = &["--capacity", "60MiB"];
    let mut cluster = Cluster::new(0, TWO_COPIES);
    (0..2).for_each(|_| {
        cluster.start_node(SMALL);
    });
    let world = &cluster.world;
    let bytes = Numbers(1).bytes(22 << 20);
    let file = world.path("file");
    std::fs::write(&file, &bytes).expect("a file");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let _ = put(world, &file, "app:file").ok();
    cluster.wait_for_copies(2, LIMIT);
    let joined = cluster.start_node(SMALL);
    let _ = cluster.wait_for(LIMIT, |status| {
        let is_idle = |key: &str| status[key] == 0;
        status["moved"] != 0 && ["to_move", "waiting", "repairing"].into_iter().all(is_idle)
    });
    cluster.wait_for_copies(2, LIMIT);
    assert!(
        !cluster.chunk_files(joined).is_empty(),
        "{:?} {}",
        cluster.nodes(),
        cluster.status()
    );
    let read = cluster.world.lfsfs(["cat", "app", "file"]);
    assert!(read.stdout_bytes() == bytes, "{}", read.stderr());
}
