//! A full disk under the server: imports are refused, reads go on.

use std::fs;
use std::time::Duration;

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Cluster, Numbers, World};

use crate::versions::{Versions, new_project};

const DISK_LEN: u64 = 96 * 1024 * 1024;
/// How long repair may take on a machine with much else to do.
const CALM_MAX: Duration = Duration::from_secs(120);

/// Fills the disk up to `leave`, and checks that imports are refused while reads go on.
fn assert_refused_and_read_on(reserve: &str, leave: u64) {
    let disk = LoopDisk::new(DISK_LEN).expect("a disk");
    let mut world = World::without_server();
    world.set_data(&disk.path().join("data"));
    world.start_server(&["--reserve", reserve]);
    let (old, new) = (world.make_dir("old"), world.make_dir("new"));
    for number in 0..20 {
        let name = format!("file-{number}");
        fs::write(old.join(&name), Numbers(number + 1).bytes(100_000)).expect("a file");
        fs::write(new.join(&name), Numbers(number + 100).bytes(1_000_000)).expect("a file");
    }
    let _ = world.import(&old, "app");
    disk.fill_up(leave).expect("a disk that fills up");
    for _ in 0..2 {
        let words = ["import".as_ref(), new.as_os_str(), "app".as_ref()];
        let refused = world.lfsfs(words);
        refused.fails(
            1,
            &["the server is full", "hint: make room on the server's disk"],
        );
        assert_version_is_dir(&world, "app@v1", &old);
        assert_eq!(world.head("app"), 1);
        assert_eq!(world.lfsfs(["log", "app"]).ok().lines().count(), 1);
    }
    disk.free().expect("a disk with space");
    assert_eq!(world.import(&new, "app"), "app@v2");
    assert_version_is_dir(&world, "app@v2", &new);
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn below_the_reserve() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("full_disk::below_the_reserve", || {
        assert_refused_and_read_on("33554432", 16 * 1024 * 1024);
    });
}

#[test]
fn without_a_reserve() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("full_disk::without_a_reserve", || {
        assert_refused_and_read_on("0", 0);
    });
}

/// One of four datanodes has a disk that fills up: chunks go to the others, and what it has is read.
#[test]
fn of_one_datanode_of_several() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("full_disk::of_one_datanode_of_several", || {
        let disk = LoopDisk::new(DISK_LEN).expect("a disk");
        let mut cluster = Cluster::new(0, &["--repair-after", "6"]);
        let full = cluster.start_node_at(&disk.path().join("data"), &["--reserve", "8MiB"]);
        (0..3).for_each(|_| {
            cluster.start_node(&["--reserve", "8MiB"]);
        });
        new_project(&cluster.world);
        let (mut versions, mut numbers) = (Versions::default(), Numbers(41));
        versions.import_next(&cluster.world, &mut numbers);
        cluster.wait_for_copies(3, CALM_MAX);
        for leave in [16 * 1024 * 1024, 4 * 1024 * 1024, 0] {
            disk.fill_up(leave).expect("a disk that fills up");
            versions.import_next(&cluster.world, &mut numbers);
            cluster.wait_for_copies(3, CALM_MAX);
            (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
            disk.free().expect("a disk with space");
        }
        // A restart on a full disk loses nothing either.
        disk.fill_up(0).expect("a disk that fills up");
        cluster.kill_node(full);
        cluster.start_node_again(full);
        versions.import_next(&cluster.world, &mut numbers);
        cluster.wait_for_copies(3, CALM_MAX);
        (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
        cluster.kill_node(full);
    });
}
