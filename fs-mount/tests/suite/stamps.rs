//! Times of objects of which the kernel stamps some and the mount others.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;

use crate::harness::Machine;

#[test]
fn stamps_are_in_the_order_of_calls_where_the_kernel_gives_some_of_them() {
    let name = "stamps::stamps_are_in_the_order_of_calls_where_the_kernel_gives_some_of_them";
    let work = |dir: &Path| {
        for number in 0..100 {
            let directory = dir.join(format!("made-{number}"));
            fs::create_dir(&directory).unwrap();
            let made = directory.metadata().unwrap();
            fs::write(dir.join(format!("file-{number}")), "text").unwrap();
            let written = dir.join(format!("file-{number}")).metadata().unwrap();
            let stamp = |it: &fs::Metadata| (it.mtime(), it.mtime_nsec());
            assert!(
                stamp(&written) >= stamp(&made),
                "{number}: {made:?} {written:?}"
            );
        }
    };
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "writeback");
        work(&dir);
        machine.umount(&dir);
    });
}
