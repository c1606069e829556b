//! Real mounts of a small tree in memory, each test in a mount namespace of its own.

#[path = "common/harness.rs"]
mod harness;
#[path = "common/tree.rs"]
mod tree;

use std::fs;
use std::path::Path;

use harness::{Machine, serve_if_asked};
use lfsfs_mount::mountinfo;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;

/// What the mount process of every test runs: this executable, started again.
#[test]
fn mount_process() {
    serve_if_asked();
}

#[test]
fn a_mount_shows_its_tree_and_its_name() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("a_mount_shows_its_tree_and_its_name", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v42", "ro");

        assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
        assert_eq!(fs::read_to_string(dir.join("slow")).unwrap(), "slow\n");
        assert_eq!(
            fs::read_link(dir.join("directory-0/link")).unwrap(),
            Path::new("file-0")
        );
        let mounts = mountinfo::read().unwrap();
        let seen = mountinfo::topmost(&mounts, &dir).unwrap();
        assert_eq!(
            (seen.kind.as_str(), seen.source.as_str()),
            ("fuse.lfsfs", "app@v42")
        );
        assert!(
            seen.options.contains("ro") && seen.options.contains("nosuid"),
            "{seen:?}"
        );
        machine.umount(&dir);
    });
}
