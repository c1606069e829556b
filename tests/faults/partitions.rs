//! The network of a datanode fails, in each way that it can: versions are made and read as before.

use std::time::Duration;

use lfsfs_testkit::requirements::require_root_and_fuse;

use lfsfs_tests::{Cluster, Manner, Numbers, Way, in_namespace};

use crate::versions::{Versions, assert_same_files, new_project};

const NODES: usize = 5;
const COPIES: usize = 3;
const REPAIR_MAX: Duration = Duration::from_secs(120);
const ALL: [(Way, Manner); 6] = [
    (Way::ToNode, Manner::Closed),
    (Way::ToCoordinator, Manner::Closed),
    (Way::Both, Manner::Closed),
    (Way::ToNode, Manner::Silent),
    (Way::ToCoordinator, Manner::Silent),
    (Way::Both, Manner::Silent),
];

/// A cluster whose coordinator takes a datanode for lost soon.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(0, &["--repair-after", "6"]);
    for number in 0..NODES {
        let zone = format!("zone-{}", number % 3);
        cluster.start_linked_node(&["--zone", &zone]);
    }
    new_project(&cluster.world);
    cluster
}

#[test]
fn versions_are_made_and_read_while_a_datanode_cannot_be_reached() {
    let mut numbers = Numbers(21);
    let cluster = cluster();
    let mut versions = Versions::default();
    versions.import_next(&cluster.world, &mut numbers);
    for (way, manner) in ALL {
        let node = usize::try_from(numbers.below(NODES as u64)).expect("small");
        cluster.disconnect(node, way, manner);
        versions.import_next(&cluster.world, &mut numbers);
        for number in 0..versions.trees.len() {
            versions.check(&cluster.world, number);
        }
        cluster.reconnect(node);
    }
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    let _ = cluster.wait_for_repair(REPAIR_MAX);
    (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
}

#[test]
fn a_mount_is_read_while_a_datanode_cannot_be_reached() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_namespace(
        "partitions::a_mount_is_read_while_a_datanode_cannot_be_reached",
        || {
            let mut numbers = Numbers(22);
            let cluster = cluster();
            let mut versions = Versions::default();
            versions.import_next(&cluster.world, &mut numbers);
            cluster.wait_for_copies(COPIES, REPAIR_MAX);
            for (round, (way, manner)) in ALL.into_iter().enumerate() {
                let node = usize::try_from(numbers.below(NODES as u64)).expect("small");
                // A cache of its own, so that every byte comes from a datanode.
                let cache = cluster.world.make_dir(&format!("cache-{round}"));
                let mounted = cluster
                    .world
                    .mount("app@v1", &format!("cache={}", cache.display()));
                cluster.disconnect(node, way, manner);
                assert_same_files(&versions.trees[0], mounted.path());
                cluster.reconnect(node);
                mounted.umount();
            }
        },
    );
}
