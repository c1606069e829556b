//! A cluster whose parts fail while it is used: no version is lost, no reader sees an error, and the copies
//! come back.

use std::fs;
use std::time::Duration;

use lfsfs_testkit::chunks;
use lfsfs_testkit::process::Program;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Cluster, Numbers, Run};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::start_import;
use crate::versions::{RETRY, Versions, new_project};

const NODES: usize = 5;
const COPIES: usize = 3;
/// How long repair may take on a machine with much else to do.
const REPAIR_MAX: Duration = Duration::from_secs(120);
/// Soon enough for a test.
const REPAIR_AFTER: [&str; 2] = ["--repair-after", "4"];
/// A cluster with three zones, which repairs soon and finds rot soon.
fn cluster_of(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(0, &REPAIR_AFTER);
    (0..nodes).for_each(|_| {
        add_node(&mut cluster);
    });
    cluster
}

fn add_node(cluster: &mut Cluster) {
    let zone = format!("zone-{}", cluster.nodes().len() % 3);
    cluster.start_node(&["--zone", &zone, "--scrub-period", "2"]);
}

#[test]
fn a_lost_datanode_is_made_up_for_and_its_copies_go_when_it_is_back() {
    let mut numbers = Numbers(5);
    let mut cluster = cluster_of(NODES);
    new_project(&cluster.world);
    let mut versions = Versions::default();
    versions.import_next(&cluster.world, &mut numbers);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    let holder = (0..NODES)
        .find(|node| !cluster.chunk_files(*node).is_empty())
        .expect("a holder");
    cluster.kill_node(holder);
    // The disk of the lost node still counts here.
    cluster.wait_for_copies(COPIES + 1, REPAIR_MAX);
    versions.check(&cluster.world, 0);
    cluster.start_node_again(holder);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    versions.check(&cluster.world, 0);
}

/// A damaged chunk is moved aside by the scrub, without a reader, and comes back from another datanode; so does
/// one that the disk does not give.
#[test]
fn what_a_disk_damages_is_found_without_a_reader_and_mended() {
    let mut numbers = Numbers(7);
    let cluster = cluster_of(4);
    new_project(&cluster.world);
    let mut versions = Versions::default();
    versions.import_next(&cluster.world, &mut numbers);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    let mut damaged = 0;
    for node in 0..4 {
        let Some(file) = cluster.chunk_files(node).pop() else {
            continue;
        };
        let whole = fs::read(&file).expect("a chunk");
        match damaged {
            0 => {
                let mut flipped = whole.clone();
                flipped[whole.len() / 2] ^= 4;
                fs::write(&file, flipped).expect("a chunk");
            }
            1 => {
                // Reading a directory fails as reading from a bad place of a disk does.
                fs::remove_file(&file).expect("a chunk");
                fs::create_dir(&file).expect("a directory");
            }
            // Two of three copies of each chunk may be damaged, and not more.
            _ => break,
        }
        damaged += 1;
        let is_mended = || {
            cluster.copies().values().all(|copies| *copies == COPIES) && no_damage(&cluster, &whole)
        };
        assert!(
            lfsfs_tests::eventually(REPAIR_MAX, is_mended),
            "{:?}",
            cluster.copies()
        );
    }
    assert_eq!(damaged, 2);
    versions.check(&cluster.world, 0);
}

/// Returns whether all copies of a chunk are as it is.
fn no_damage(cluster: &Cluster, whole: &[u8]) -> bool {
    let files = (0..4).flat_map(|node| cluster.chunk_files(node));
    let lens: Vec<_> = files
        .map(|file| fs::read(file).unwrap_or_default())
        .collect();
    lens.iter().filter(|bytes| *bytes == whole).count() == COPIES
}

#[test]
fn a_write_needs_as_many_datanodes_as_it_waits_for() {
    let mut cluster = cluster_of(1);
    new_project(&cluster.world);
    let world = &cluster.world;
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), b"content").expect("a file");
    let refused = world.lfsfs(["import", tree.to_str().expect("UTF-8"), "app"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr().contains("2 datanodes"), "{refused:?}");
    assert_eq!(world.head("app"), 0);
    add_node(&mut cluster);
    let world = &cluster.world;
    assert_eq!(world.import(&tree, "app"), "app@v1");
}

#[test]
fn a_coordinator_that_is_killed_in_the_middle_of_an_import_makes_it_whole_or_absent() {
    let mut cluster = cluster_of(3);
    new_project(&cluster.world);
    let tree = cluster.world.make_dir("tree");
    let mut numbers = Numbers(9);
    for number in 0..60 {
        fs::write(
            tree.join(format!("file-{number}")),
            numbers.bytes(1_000_000),
        )
        .expect("a file");
    }
    let words = [
        RETRY[0],
        RETRY[1],
        "import",
        tree.to_str().expect("UTF-8"),
        "app",
    ];
    for millis in [100, 400, 900] {
        let command = cluster.world.command(words);
        let import = std::thread::spawn(move || Run::of(command));
        std::thread::sleep(Duration::from_millis(millis));
        cluster.kill_coordinator();
        std::thread::sleep(Duration::from_millis(300));
        cluster.start_coordinator();
        let imported = import.join().expect("the command runs");
        assert!(imported.ok().starts_with("app@v1"), "{imported:?}");
    }
    let versions = Versions::of(tree);
    versions.check(&cluster.world, 0);
    cluster.wait_for_copies(3, REPAIR_MAX);
}

/// A client that is killed while it sends leaves no part of a chunk on any datanode, and does not stop another one
/// from storing the same.
#[test]
fn a_client_that_is_killed_leaves_no_part_of_a_chunk() {
    let cluster = cluster_of(3);
    new_project(&cluster.world);
    let tree = cluster.world.make_dir("tree");
    fs::write(tree.join("file"), Numbers(31).bytes(60_000_000)).expect("a file");
    let words = ["import", tree.to_str().expect("UTF-8"), "app"];
    for millis in [150, 300, 600, 1200] {
        let mut import = Program::start(cluster.world.command(words)).expect("lfsfs starts");
        std::thread::sleep(Duration::from_millis(millis));
        import.kill().expect("a process can be killed");
    }
    let nothing_is_left = || (0..3).all(|node| cluster.half_chunks(node).is_empty());
    assert!(lfsfs_tests::eventually(REPAIR_MAX, nothing_is_left));
    let imported = cluster.world.lfsfs(words).ok();
    assert!(imported.starts_with("app@v1"), "{imported}");
    cluster.wait_for_copies(3, REPAIR_MAX);
    Versions::of(tree).check(&cluster.world, 0);
    assert!(lfsfs_tests::eventually(REPAIR_MAX, nothing_is_left));
}

/// Half of what a datanode has is gone while it runs: it goes on with the rest, and the copies come back.
#[test]
fn a_datanode_goes_on_when_one_of_its_directories_is_gone() {
    let mut cluster = cluster_of(3);
    let more = cluster.world.path("more");
    let more_word = more.to_str().expect("UTF-8").to_owned();
    let node = cluster.start_node(&["--data", &more_word]);
    new_project(&cluster.world);
    let (mut versions, mut numbers) = (Versions::default(), Numbers(51));
    while chunks::files_in(&more).is_empty() {
        versions.import_next(&cluster.world, &mut numbers);
    }
    let is_whole = |status: &Value| {
        let is_none = |key: &str| status[key] == 0;
        status["scanning"] == false
            && ["under_replicated", "waiting", "repairing"]
                .into_iter()
                .all(is_none)
    };
    let _ = cluster.wait_for(REPAIR_MAX, is_whole);
    let kept = cluster.chunk_files(node).len();
    fs::remove_dir_all(&more).expect("a directory");
    let is_told = || {
        let chunks = cluster.node(node)["chunks"].as_u64();
        chunks.is_some_and(|chunks| chunks <= kept as u64)
    };
    assert!(lfsfs_tests::eventually(REPAIR_MAX, is_told));
    (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
    let is_clean = |cluster: &Cluster| cluster.world.lfsfs(["fsck"]).code() == Some(0);
    assert!(lfsfs_tests::eventually(REPAIR_MAX, || is_clean(&cluster)));
    // It starts again without the directory, and takes a new one in its place.
    cluster.kill_node(node);
    cluster.start_node_again(node);
    versions.import_next(&cluster.world, &mut numbers);
    (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
    assert!(lfsfs_tests::eventually(REPAIR_MAX, || is_clean(&cluster)));
}

/// A datanode that waits for the copy of a chunk says so, and its client waits as well.
#[test]
fn a_copy_that_takes_long_is_waited_for() {
    let arguments = ["--replication", "2", "--min-replicas", "2"];
    let cluster = Cluster::new(2, &arguments);
    new_project(&cluster.world);
    let tree = cluster.world.make_dir("tree");
    for node in 0..2 {
        // Several frames, which are acknowledged before the copy is there.
        let bytes = Numbers(node as u64 + 1).bytes(3_000_000);
        fs::write(tree.join("file"), bytes).expect("a file");
        cluster.signal_node(node, Signal::STOP);
        let mut import = start_import(&cluster.world, &tree, "app");
        // Longer than the datanode is silent.
        std::thread::sleep(Duration::from_secs(6));
        cluster.signal_node(node, Signal::CONT);
        let status = import.wait(Duration::from_secs(60));
        assert!(
            status.expect("an import ends").success(),
            "{}",
            import.output()
        );
        assert_version_is_dir(&cluster.world, "app", &tree);
    }
}
