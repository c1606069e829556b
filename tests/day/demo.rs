//! `make demo`, with the programs that are built beside the tests.

use std::process::Command;

use lfsfs_testkit::process::ensure_built;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World, in_namespace};

#[test]
fn the_demo_runs_to_its_end() {
    in_namespace("demo::the_demo_runs_to_its_end", || {
        let demo = ensure_built()
            .expect("the programs")
            .lfsfs
            .with_file_name("demo");
        if !demo.exists() {
            println!(
                "skipped: {} is not built; make test builds it",
                demo.display()
            );
            return;
        }
        let world = World::without_server();
        let tree = world.path("tree");
        let _ = TreeSpec::small().generate(&tree).expect("a tree");
        let mut command = Command::new(demo);
        command.arg(&tree);
        let shown = Run::of(command).ok();
        assert!(shown.contains("files"), "{shown}");
    });
}
