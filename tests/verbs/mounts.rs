//! `lfsfs status`, `mounts` and `umount` of writable mounts.

use std::fs;

use lfsfs_tests::in_namespace;

use crate::support::{read, typed_in, world, write};

#[test]
fn changes_are_counted_wherever_mounts_are_shown() {
    in_namespace(
        "mounts::changes_are_counted_wherever_mounts_are_shown",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let status = mount.verb(["status"]).ok();
            assert!(status.contains("\nmode       rw\n"), "{status}");
            assert!(status.contains("\nchanges    0\n"), "{status}");
            write(mount.path(), "one", "changed");
            write(mount.path(), "dir/three", "changed");
            assert_eq!(mount.changes(), 2);
            let listed = world.lfsfs(["mounts", "--json"]).json();
            assert_eq!(
                (&listed["mode"], &listed["changes"]),
                (&"rw".into(), &2.into())
            );
            let line = world.lfsfs(["mounts"]).ok();
            assert!(line.contains("  v1  rw  2 changes  "), "{line}");
            mount.umount();
        },
    );
}

#[test]
fn a_mount_of_a_tag_shows_its_version() {
    in_namespace("mounts::a_mount_of_a_tag_shows_its_version", || {
        let world = world();
        write(&world.path("tree"), "one", "newer");
        let _ = world.import(&world.path("tree"), "app");
        let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
        let mount = world.mount_writable("app@stable", "");
        let status = mount.verb(["status"]).ok();
        assert!(status.contains("\nversion    app@v1\n"), "{status}");
        assert_eq!(read(mount.path(), "one"), "one");
        mount.umount();
    });
}

#[test]
fn what_is_kept_is_told_with_the_way_back_to_it() {
    in_namespace(
        "mounts::what_is_kept_is_told_with_the_way_back_to_it",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            write(mount.path(), "one", "changed");
            let run = mount.verb(["umount"]);
            let _ = run.ok();
            let told = run.stderr();
            let way = format!("lfsfs mount app@v1 {}", mount.path().display());
            assert!(told.contains("kept: 1 uncommitted change"), "{told}");
            assert!(told.contains(&way), "{told}");
            // The version moved on meanwhile; the words that were told lead back all the same.
            write(&world.path("tree"), "two", "newer");
            let _ = world.import(&world.path("tree"), "app");
            mount.mount("app@v1");
            assert_eq!(read(mount.path(), "one"), "changed");
            let quiet = mount.verb(["discard", "--yes"]);
            let _ = quiet.ok();
            let run = mount.verb(["umount"]);
            assert_eq!((run.ok(), run.stderr()), (String::new(), String::new()));
        },
    );
}

#[test]
fn a_bind_mount_of_a_part_has_the_paths_of_the_whole() {
    in_namespace(
        "mounts::a_bind_mount_of_a_part_has_the_paths_of_the_whole",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let part = world.make_dir("part");
            rustix::mount::mount_bind(mount.path().join("dir"), &part).expect("a bind mount");
            write(&part, "three", "changed");
            write(mount.path(), "one", "changed");
            let _ = typed_in(&world, &part, &["discard", "--yes", "three"]).ok();
            assert_eq!(mount.diff(), ["M one"]);
            let refused = typed_in(&world, &part, &["restore", "three", "--from", "v1"]);
            refused.fails(2, &["part of a mount"]);
            rustix::mount::unmount(&part, rustix::mount::UnmountFlags::empty())
                .expect("an unmount");
            assert_eq!(fs::read_dir(&part).expect("a directory").count(), 0);
            mount.umount();
        },
    );
}
