//! A directory of a version is mounted: `lfsfs mount SOURCE:PATH DIR -o ro`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_tests::{Numbers, Run, in_namespace};

use crate::subdirectories::{
    export, exported, is_plain_directory, options_of_part, world_of_moves, world_of_random_moves,
};
use crate::support::{names, read, typed_in};

/// A mount shows what a directory of an exported version has; a mount adds names of attributes of its own.
#[track_caller]
fn assert_shows(mount: &Path, expected: &Path) {
    assert_same_trees(expected, mount, &options_of_part());
}

#[test]
fn a_mounted_directory_is_what_an_export_writes() {
    in_namespace(
        "subdirectory_mounts::a_mounted_directory_is_what_an_export_writes",
        || {
            let world = world_of_moves();
            let whole = exported(&world);
            // Listings of both have the same cache.
            let all = world.mount("app@v2", "");
            let mount = world.mount("app@v2:web/app", "");
            for _ in 0..2 {
                assert_shows(mount.path(), &whole[1].join("web/app"));
                assert_same_trees(&whole[1], all.path(), &CompareOptions::default());
            }
            let inode = |path: PathBuf| fs::metadata(path).expect("an entry").ino();
            assert_eq!(inode(mount.path().to_owned()), 1);
            assert_eq!(
                inode(mount.path().join("src/deep")),
                inode(all.path().join("web/app/src/deep"))
            );
            assert_eq!(
                inode(mount.path().join("src/one")),
                inode(all.path().join("web/app/src/one"))
            );
            assert_eq!(
                mount.path().join("..").canonicalize().expect("a path"),
                mount.path().parent().expect("a parent")
            );
            assert_eq!(mount.status()["source"], "app@v2:web/app");
            assert_eq!(mount.status()["version"]["path"], "web/app");
            let mounts = world.lfsfs(["mounts"]).ok();
            assert!(mounts.contains("app@v2:web/app  v2  ro"), "{mounts}");
            let status = typed_in(&world, mount.path(), &["status"]).ok();
            assert!(status.contains("app@v2:web/app"), "{status}");
            let listed = typed_in(&world, &mount.path().join("src"), &["ls", "."]).ok();
            assert!(
                listed.contains("more") && !listed.contains("beside"),
                "{listed}"
            );
            let cat = typed_in(&world, mount.path(), &["cat", "./src/one"]);
            assert_eq!(cat.ok(), "changed");
            mount.umount();
            all.umount();
        },
    );
}

#[test]
fn a_switch_keeps_the_path_and_is_refused_where_it_is_not_there() {
    in_namespace(
        "subdirectory_mounts::a_switch_keeps_the_path_and_is_refused_where_it_is_not_there",
        || {
            let world = world_of_moves();
            let whole = exported(&world);
            let mount = world.mount("app@v1:web/app", "");
            let mut shown = 1;
            for version in [2, 1, 3, 4, 1, 5, 6, 2, 3, 6, 3, 1] {
                let run = typed_in(&world, mount.path(), &["switch", &format!("v{version}")]);
                if is_plain_directory(&whole[version - 1], "web/app") {
                    assert_eq!(run.ok(), format!("app@v{version}"));
                    shown = version;
                } else {
                    run.fails(1, &["has no directory \"web/app\"", "hint: "]);
                }
                assert_shows(mount.path(), &whole[shown - 1].join("web/app"));
                assert_eq!(mount.source(), format!("app@v{shown}"));
            }
            mount.umount();
        },
    );
}

#[test]
fn a_file_that_is_open_stays_what_it_was() {
    in_namespace(
        "subdirectory_mounts::a_file_that_is_open_stays_what_it_was",
        || {
            let world = world_of_moves();
            let mount = world.mount("app@v1:web/app", "");
            let mut file = fs::File::open(mount.path().join("src/one")).expect("a file");
            let below = fs::metadata(mount.path().join("src/deep/two")).expect("a file");
            mount.switch("v3");
            assert_eq!(read(mount.path(), "src/one"), "of another directory");
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut file, &mut text).expect("bytes");
            assert_eq!(text, "web/app/src/one");
            assert_eq!(names(&mount.path().join("src/deep")), [] as [&str; 0]);
            mount.switch("v1");
            let again = fs::metadata(mount.path().join("src/deep/two")).expect("a file");
            assert_eq!((again.ino(), again.size()), (below.ino(), below.size()));
            assert_eq!(read(mount.path(), "src/deep/two"), "web/app/src/deep/two");
            drop(file);
            mount.umount();
        },
    );
}

#[test]
fn what_cannot_be_mounted_says_why() {
    in_namespace(
        "subdirectory_mounts::what_cannot_be_mounted_says_why",
        || {
            let world = world_of_moves();
            let dir = world.make_dir("mnt");
            let mount = |source: &str, options: &str| {
                world.lfsfs([
                    "mount".as_ref(),
                    source.as_ref(),
                    dir.as_os_str(),
                    "-o".as_ref(),
                    options.as_ref(),
                ])
            };
            mount("app@v1:web", "rw").fails(
                2,
                &["app@v1:web", "can only be mounted to be read", "-o ro"],
            );
            mount("app@v1:none", "ro").fails(1, &["v1 has no directory \"none\""]);
            mount("app@v1:web/link/src", "ro").fails(1, &["\"web/link\" is a symbolic link"]);
            mount("app@v1:web/app/top", "ro").fails(1, &["\"web/app/top\" is a file"]);
            mount("app@v1:../x", "ro").fails(2, &["\"../x\"", "'.' or '..'"]);
            mount("app@v1:", "ro").fails(2, &["no path behind its colon"]);
            assert!(names(&dir).is_empty());
            // mount(8) calls the helper, and says rw where the user says nothing.
            let helper = |options: &str| {
                let words = [
                    "app@v1:web/app".as_ref(),
                    dir.as_os_str(),
                    "-o".as_ref(),
                    options.as_ref(),
                ];
                Run::of(world.mount_helper(words))
            };
            helper("rw").fails(1, &["can only be mounted to be read"]);
            let _ = helper("ro").ok();
            assert_eq!(names(&dir), ["src", "top"]);
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        },
    );
}

#[test]
fn random_changes_are_shown_by_a_switch() {
    in_namespace(
        "subdirectory_mounts::random_changes_are_shown_by_a_switch",
        || {
            let world = world_of_random_moves(3, 6);
            let whole = exported(&world);
            let mount = world.mount("app@v1:in", "");
            let mut numbers = Numbers(3);
            for _ in 0..12 {
                let version =
                    usize::try_from(numbers.below(whole.len() as u64) + 1).expect("a version");
                mount.switch(&format!("v{version}"));
                assert_shows(mount.path(), &whole[version - 1].join("in"));
            }
            let part = world.path("part");
            let source = format!("{}:in", mount.source());
            let _ = export(&world, &source, &part).ok();
            assert_shows(mount.path(), &part);
            mount.umount();
        },
    );
}
