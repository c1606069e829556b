//! kill -9 of an import: nothing is published, and the next import finishes.

use std::fs;
use std::time::Instant;

use lfsfs_testkit::chunks;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, World};

use crate::support::start_import;

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
        let _ = import.kill().expect("a process can be killed");
        // A commit that was asked for goes on when no command waits for its answer; give it time.
        std::thread::sleep(whole / 4);
        if world.head("app") > before {
            assert_version_is_dir(&world, "app", &tree);
        }
        let _ = world.import(&tree, "app");
        assert_version_is_dir(&world, "app", &tree);
    }
    world.stop_server();
    world.assert_check_is_clean();
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

#[test]
fn in_the_middle_of_its_uploads_nothing_is_published() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    for number in 0..8 {
        let bytes = Numbers(number + 1).bytes(10_000_000);
        fs::write(tree.join(format!("file-{number}")), bytes).expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let mut import = start_import(&world, &tree, "app");
    while chunks::files_in(world.data()).is_empty() {
        let ended = import.try_wait().expect("a process");
        assert!(ended.is_none(), "{}", import.output());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = import.kill().expect("a process can be killed");
    assert_eq!(world.head("app"), 0);
    assert!(world.lfsfs(["ls", "app"]).ok().is_empty());
    let report = world.import_json(&tree, "app", &[]);
    assert_eq!(report["version"], 1, "{report}");
    assert!(report["bytes_sent"].as_u64() < Some(80_000_000), "{report}");
    assert_version_is_dir(&world, "app@v1", &tree);
    world.stop_server();
    world.assert_check_is_clean();
}
