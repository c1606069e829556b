//! A disk that does not give what was written to it (EIO): what lies there comes from other datanodes.

use std::fs;
use std::time::Duration;

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_tests::{Cluster, Numbers, eventually};

use crate::versions::{Versions, new_project};

const DISK_LEN: u64 = 96 * 1024 * 1024;
const COPIES: usize = 3;
/// How long repair may take on a machine with much else to do.
const CALM_MAX: Duration = Duration::from_secs(240);

/// Returns how many chunks of a datanode its disk does not give.
fn unreadable(cluster: &Cluster, node: usize) -> usize {
    let files = cluster.chunk_files(node).into_iter();
    let is_eio = |error: std::io::Error| error.raw_os_error() == Some(5);
    files
        .filter(|file| fs::read(file).is_err_and(is_eio))
        .count()
}

#[test]
fn what_a_disk_does_not_give_is_read_and_copied_from_others() {
    if require_loop_devices().is_err() {
        return;
    }
    let name = "bad_disk::what_a_disk_does_not_give_is_read_and_copied_from_others";
    in_private_namespace(name, || {
        let mut disk = LoopDisk::new(DISK_LEN).expect("a disk");
        let mut cluster = Cluster::new(0, &["--repair-after", "60"]);
        let arguments = ["--reserve", "1MiB", "--scrub-period", "2"];
        let bad = cluster.start_node_at(&disk.path().join("data"), &arguments);
        (0..3).for_each(|_| {
            cluster.start_node(&arguments);
        });
        new_project(&cluster.world);
        let (mut versions, mut numbers) = (Versions::default(), Numbers(43));
        while cluster.chunk_files(bad).len() < 2 {
            versions.import_next(&cluster.world, &mut numbers);
        }
        cluster.wait_for_copies(COPIES, CALM_MAX);

        cluster.stop_node(bad);
        let files = cluster.chunk_files(bad);
        disk.remount_with_bad_end(&files)
            .expect("a disk with a bad end");
        assert!(unreadable(&cluster, bad) > 0, "the disk gives everything");
        cluster.start_node_again(bad);
        (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
        let is_mended = || unreadable(&cluster, bad) == 0;
        assert!(eventually(CALM_MAX, is_mended), "{:?}", cluster.status());
        cluster.wait_for_copies(COPIES, CALM_MAX);
        (0..versions.trees.len()).for_each(|number| versions.check(&cluster.world, number));
        cluster.kill_node(bad);
    });
}
