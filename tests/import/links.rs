//! Which names are one file.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::{
    Requirement, require, require_loop_devices, require_root_and_fuse,
};
use lfsfs_tests::World;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const DISK_LEN: u64 = 16 * 1024 * 1024;

/// Makes a disk whose first file has two names in a directory `layer`. Returns the file's number.
fn layer(bytes: &str, names: [&str; 2]) -> (LoopDisk, u64) {
    let disk = LoopDisk::new(DISK_LEN).expect("a disk");
    let file = disk.path().join("first");
    fs::write(&file, bytes).expect("a file");
    let layer = disk.path().join("layer");
    fs::create_dir(&layer).expect("a directory");
    for name in names {
        fs::hard_link(&file, layer.join(name)).expect("a link");
    }
    fs::remove_file(&file).expect("a name");
    let inode = fs::metadata(layer.join(names[0])).expect("a file").ino();
    (disk, inode)
}

/// Checks that `dir` is imported with two files of two names each.
fn assert_two_files(world: &World, project: &str, dir: &Path) {
    let source = world.import(dir, project);
    let out = world.path(&format!("out-{project}"));
    let words = ["export".as_ref(), source.as_ref(), out.as_os_str()];
    let _ = world.lfsfs(words).ok();
    let bytes = |name: &str| fs::read_to_string(out.join(name)).expect(name);
    let inode = |name: &str| fs::metadata(out.join(name)).expect(name).ino();
    assert_eq!([bytes("a"), bytes("b")], ["lower", "lower"]);
    assert_eq!([bytes("c"), bytes("d")], ["upper", "upper"]);
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("c"), inode("d"));
}

/// Mounts an overlay, where the kernel can.
fn overlay(dir: &Path, options: &str) -> Requirement {
    let text = CString::new(options).expect("options");
    let mounted = mount("overlay", dir, "overlay", MountFlags::empty(), &*text);
    let needs = format!("an overlay with {options}");
    require(&needs, mounted.map_err(|error| error.to_string()))
}

#[test]
fn files_with_equal_numbers_in_the_layers_of_an_overlay_are_two() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace(
        "links::files_with_equal_numbers_in_the_layers_of_an_overlay_are_two",
        || {
            let world = World::new();
            let (lower, lower_inode) = layer("lower", ["a", "b"]);
            let (upper, upper_inode) = layer("upper", ["c", "d"]);
            assert_eq!(lower_inode, upper_inode, "the test is about equal numbers");
            let work = upper.path().join("work");
            fs::create_dir(&work).expect("a directory");
            let merged = world.make_dir("merged");
            let (lower, upper) = (lower.path().join("layer"), upper.path().join("layer"));
            let (lower, upper) = (lower.display(), upper.display());
            let kinds = [
                (
                    "written",
                    format!(
                        "lowerdir={lower},upperdir={upper},workdir={}",
                        work.display()
                    ),
                ),
                ("read", format!("lowerdir={upper}:{lower}")),
                ("numbered", format!("lowerdir={upper}:{lower},xino=on")),
                ("unnumbered", format!("lowerdir={upper}:{lower},xino=off")),
            ];
            for (project, options) in kinds {
                if overlay(&merged, &options).is_ok() {
                    assert_two_files(&world, project, &merged);
                    unmount(&merged, UnmountFlags::DETACH).expect("a mount to end");
                }
            }
        },
    );
}

#[test]
fn hard_links_seen_through_a_mount_are_hard_links() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(
        "links::hard_links_seen_through_a_mount_are_hard_links",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            for (first, second, bytes) in [("a", "b", "lower"), ("c", "d", "upper")] {
                fs::write(tree.join(first), bytes).expect("a file");
                fs::hard_link(tree.join(first), tree.join(second)).expect("a link");
            }
            let _ = world.import(&tree, "app");
            let mounted = world.mount("app", "");
            assert_two_files(&world, "again", mounted.path());
        },
    );
}
