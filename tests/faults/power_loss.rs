//! Power loss under the server: what was answered is there, whole.

use std::time::{Duration, Instant};

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::World;
use lfsfs_tests::listing::{assert_same_listing, assert_version_is_dir, listing_of_version};

use crate::support::start_import;

/// Lets the power fail `delay` after the start of an import. Returns whether it had been answered.
fn lose_power_during_import(
    world: &mut World,
    disk: &mut LoopDisk,
    tree: &std::path::Path,
    delay: Duration,
) -> bool {
    let mut import = start_import(world, tree, "app");
    std::thread::sleep(delay);
    disk.shutdown_without_log()
        .expect("a disk that loses power");
    world.kill_server();
    let status = import
        .wait(Duration::from_secs(60))
        .expect("an import that ends");
    disk.remount().expect("a disk that comes back");
    world.assert_check_is_clean();
    world.start_server(&["--reserve", "0"]);
    status.success()
}

fn lose_power(moments: u32) {
    let mut disk = LoopDisk::new(256 * 1024 * 1024).expect("a disk");
    let mut world = World::without_server();
    world.set_data(&disk.path().join("data"));
    world.start_server(&["--reserve", "0"]);
    let tree = world.path("tree");
    let _ = TreeSpec::app(600).generate(&tree).expect("a tree");
    let start = Instant::now();
    assert_eq!(world.import(&tree, "app"), "app@v1");
    let whole = start.elapsed();
    for moment in 0..moments {
        let (head, before) = (world.head("app"), listing_of_version(&world, "app"));
        let _ = mutate(&tree, u64::from(moment), 30).expect("changes");
        // The last moments are after the answer.
        let delay = whole * moment * 3 / moments / 2;
        let was_answered = lose_power_during_import(&mut world, &mut disk, &tree, delay);
        let after = world.head("app");
        assert!(after == head || after == head + 1, "v{head}, then v{after}");
        assert!(
            after > head || !was_answered,
            "v{} was answered and is gone",
            head + 1
        );
        assert_same_listing(
            &listing_of_version(&world, &format!("app@v{head}")),
            &before,
        );
        assert_eq!(world.import(&tree, "app"), format!("app@v{}", head + 1));
        assert_version_is_dir(&world, "app", &tree);
    }
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn at_six_moments_of_an_import() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("power_loss::at_six_moments_of_an_import", || lose_power(6));
}

#[test]
#[ignore = "soak: many moments"]
fn at_sixty_moments_of_an_import() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("power_loss::at_sixty_moments_of_an_import", || {
        lose_power(60);
    });
}
