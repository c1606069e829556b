//! `lfsfs discard`.

use std::fs;
use std::os::unix::fs::symlink;

use lfsfs_tests::in_namespace;

use crate::support::{read, typed_in, world, write};

#[test]
fn paths_are_as_in_the_version_again_and_others_stay() {
    in_namespace(
        "discard::paths_are_as_in_the_version_again_and_others_stay",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let root = mount.path();
            write(root, "one", "changed");
            write(root, "two", "changed");
            write(root, "new", "new");
            fs::remove_dir_all(root.join("dir")).expect("a directory");
            let discard = |words: &[&str]| {
                let words: Vec<_> = ["discard", "--yes"]
                    .into_iter()
                    .chain(words.iter().copied())
                    .collect();
                typed_in(&world, root, &words)
            };
            // One entry of a directory that is gone cannot come back without it.
            discard(&["dir/three"]).fails(1, &["dir"]);
            let _ = discard(&["one", "dir"]).ok();
            assert_eq!(
                (read(root, "one"), read(root, "dir/three")),
                ("one".into(), "dir/three".into())
            );
            assert_eq!(mount.diff(), ["A new", "M two"]);
            let _ = discard(&["./new"]).ok();
            assert_eq!(mount.diff(), ["M two"]);
            // What has not changed is no reason to fail, what never was is.
            let _ = discard(&["one"]).ok();
            discard(&["never"]).fails(1, &["never"]);
            mount.umount();
        },
    );
}

#[test]
fn without_a_path_everything_goes() {
    in_namespace("discard::without_a_path_everything_goes", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let root = mount.path();
        write(root, "dir/three", "changed");
        rustix::fs::rename(root.join("dir"), root.join("moved")).expect("a directory");
        write(root, "new", "new");
        let run = typed_in(&world, root, &["discard", "--yes", "--json"]).json();
        assert!(
            run["discarded"].as_u64().is_some_and(|count| count > 0),
            "{run}"
        );
        assert_eq!((mount.changes(), mount.diff()), (0, Vec::new()));
        assert_eq!(read(root, "dir/three"), "dir/three");
        assert!(!root.join("new").exists());
        let again = mount.verb(["discard", "--yes"]);
        assert_eq!(again.ok(), "0 changes discarded");
        mount.umount();
    });
}

#[test]
fn without_a_terminal_only_yes_discards() {
    in_namespace("discard::without_a_terminal_only_yes_discards", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        write(mount.path(), "one", "changed");
        mount.verb(["discard"]).fails(2, &["--yes", "app@v1"]);
        typed_in(&world, mount.path(), &["discard", "one"]).fails(2, &["--yes", "one"]);
        assert_eq!(mount.diff(), ["M one"]);
        mount.umount();
    });
}

#[test]
fn a_link_is_meant_itself_and_a_path_that_is_elsewhere_is_refused() {
    in_namespace(
        "discard::a_link_is_meant_itself_and_a_path_that_is_elsewhere_is_refused",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let root = mount.path();
            write(root, "dir/three", "changed");
            fs::remove_file(root.join("link")).expect("a link");
            symlink("/nowhere", root.join("link")).expect("a link");
            let _ = typed_in(&world, root, &["discard", "--yes", "link"]).ok();
            assert_eq!(mount.diff(), ["M dir/three"]);
            // Through the link, what it leads to.
            let _ = typed_in(&world, root, &["discard", "--yes", "link/three"]).ok();
            assert_eq!(mount.diff(), Vec::<String>::new());
            write(root, "one", "changed");
            let outside = world.make_dir("outside");
            typed_in(&world, &outside, &["discard", "--yes"]).fails(1, &["not in a mount"]);
            let other = world.mount_writable("app", "");
            let both = ["discard", "--yes"].map(AsRef::as_ref).into_iter();
            let paths = [root.join("one"), other.path().join("one")];
            let both = both.chain(paths.iter().map(|path| path.as_os_str()));
            world.lfsfs(both).fails(2, &["two mounts"]);
            let read_only = world.mount("app", "");
            read_only
                .verb(["discard", "--yes"])
                .fails(1, &["read-only"]);
            assert_eq!(mount.diff(), ["M one"]);
            read_only.umount();
            other.umount();
            mount.umount();
        },
    );
}
