use lfsfs_client::{RepairStatus, RestoredFrom};
use lfsfs_types::{ClusterId, NodeId, Timestamp};

use super::*;

fn node(number: u8, zone: &str, state: NodeState) -> ClusterNode {
    ClusterNode {
        id: NodeId([number; 16]),
        address: format!("host{number}:5051"),
        zone: zone.to_owned(),
        state,
        is_draining: false,
        generation: 1,
        chunks: 10,
        stored_bytes: 1 << 30,
        capacity_bytes: 4 << 30,
        used_bytes: 2 << 30,
        last_seen: Timestamp { secs: 0, nanos: 0 },
    }
}

fn status(under_replicated: u64, missing: u64) -> ClusterStatus {
    ClusterStatus {
        id: ClusterId([5; 16]),
        nodes: (1..=3)
            .map(|number| node(number, "", NodeState::Available))
            .collect(),
        copies: 3,
        copies_min: 2,
        scan: Some(ChunkScan {
            chunks: 12_345,
            under_replicated,
            missing,
            over_replicated: 0,
            age_secs: 60,
        }),
        repair: RepairStatus::default(),
        is_scanning: false,
        restored: None,
        found: 0,
    }
}

#[test]
fn a_cluster_is_read_in_one_look() {
    let text = lines(&status(0, 0), None).join("\n");
    let expected = "\
All is well: every chunk had its copies at the last scan.

cluster   05050505050505050505050505050505
copies    3 of each chunk; a write waits for 2
nodes     3 available
capacity  6.00 GiB of 12.00 GiB used (50 %), by chunks 3.00 GiB
chunks    12,345, scanned 60 seconds ago
          0 under-replicated
          0 missing
          0 over-replicated
repair    0 waiting, 0 copying, 0 B left
          0 copied (0 B), 0 failed, since the coordinator started";
    assert_eq!(text, expected);
}

#[test]
fn missing_chunks_are_told_first_and_plainly() {
    let mut status = status(4, 1);
    let first = |status: &ClusterStatus| verdict(status)[..2].join(" ");
    let told = first(&status);
    assert!(told.starts_with("1 chunk is MISSING"), "{told}");
    assert!(told.contains("import the files again"), "{told}");
    status.nodes[0].state = NodeState::Offline;
    assert!(first(&status).ends_with("One datanode is offline: start it."));
}

#[test]
fn what_is_done_about_too_few_copies_is_told() {
    let mut status = status(4, 0);
    let told = |status: &ClusterStatus| verdict(status).join(" ");
    assert!(told(&status).contains("Nothing waits"));
    status.nodes[0].is_draining = true;
    assert!(told(&status).contains("Only 2 datanodes"));
    status.is_scanning = true;
    assert!(told(&status).contains("Another scan is under way"));
    status.repair.waiting = 1;
    assert!(told(&status).contains("Repair is at work"));
    status.scan = None;
    assert!(told(&status).contains("no scan has ended"));
}

#[test]
fn a_silent_datanode_is_told_before_its_chunks_are_copied() {
    let mut status = status(0, 0);
    status.nodes[1].state = NodeState::Suspect;
    let told = verdict(&status);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("1 datanode is silent"), "{told:?}");
}

#[test]
fn zones_are_told_where_there_are_some() {
    let all = [
        node(1, "r1", NodeState::Available),
        node(2, "r1", NodeState::Offline),
        node(3, "", NodeState::Suspect),
    ];
    let expected = [
        "nodes     3: 1 available, 1 suspect, 1 offline",
        "  zone    without: 1 suspect",
        "  zone    r1: 2: 1 available, 1 offline",
    ];
    assert_eq!(nodes(&all), expected);
}

#[test]
fn a_rate_is_told_while_there_is_something_to_do() {
    let pace = Pace {
        bytes_per_second: 1 << 20,
        left: Some(Duration::from_secs(120)),
    };
    let mut status = status(4, 0);
    assert_eq!(repair(&status, Some(pace)).len(), 2);
    status.repair.waiting = 7;
    let shown = repair(&status, Some(pace)).join("\n");
    assert!(
        shown.contains("1.00 MiB a second, done in 2 minutes"),
        "{shown}"
    );
}

#[test]
fn chunks_that_move_are_told_without_alarm() {
    let mut status = status(0, 0);
    status.repair.to_move = 1200;
    status.repair.moved = 34;
    let text = lines(&status, None).join("\n");
    assert!(
        text.starts_with("Chunks move to emptier datanodes."),
        "{text}"
    );
    assert!(
        text.contains("1,200 to move to emptier datanodes, 34 moved"),
        "{text}"
    );
}

#[test]
fn a_restored_cluster_says_from_when_it_is() {
    let mut cluster = status(0, 0);
    let at = |secs| Timestamp { secs, nanos: 0 };
    cluster.restored = Some(RestoredFrom {
        backup: at(1_700_000_000),
        restored: at(1_700_003_600),
    });
    cluster.found = 1;
    let text = lines(&cluster, None).join("\n");
    let expected =
        "restored  2023-11-14T23:13:20Z, from a backup of 2023-11-14T22:13:20Z: later versions";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("found     1 chunk that"), "{text}");
}
