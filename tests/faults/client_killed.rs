//! kill -9 of an import: nothing is published, and the next import finishes.

use std::fs;
use std::time::Instant;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;
use lfsfs_tests::listing::assert_version_is_dir;

use crate::support::{Numbers, assert_check_is_clean, start_import};

fn kill_imports(moments: u32) {
    let mut world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let change = |round: u32| {
        let bytes = Numbers(u64::from(round) + 1).bytes(12_000_000);
        fs::write(tree.join("large"), bytes).expect("a file");
    };
    change(0);
    let start = Instant::now();
    let _ = world.import(&tree, "app");
    let whole = start.elapsed();
    for moment in 0..moments {
        change(moment + 1);
        let before = world.head("app");
        let mut import = start_import(&world, &tree, "app");
        std::thread::sleep(whole * moment / moments);
        let killed = import.kill().expect("a process can be killed");
        let after = world.head("app");
        // A commit that was asked for may go on when nobody waits for its answer.
        assert!(
            after == before || moment > moments / 2,
            "v{after}, {killed}"
        );
        let _ = world.import(&tree, "app");
        assert_version_is_dir(&world, "app", &tree);
    }
    world.stop_server();
    assert_check_is_clean(&world);
}

#[test]
fn at_six_moments_of_an_import() {
    kill_imports(6);
}

#[test]
#[ignore = "soak: many moments"]
fn at_a_hundred_moments_of_an_import() {
    kill_imports(100);
}
