//! `lfsfs commit`.

use std::fs;

use lfsfs_tests::in_namespace;

use crate::support::{read, typed_in, world, write};

#[test]
fn a_commit_prints_its_version_which_the_mount_shows_then() {
    in_namespace(
        "commit::a_commit_prints_its_version_which_the_mount_shows_then",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            write(mount.path(), "one", "changed");
            fs::create_dir(mount.path().join("new")).expect("a directory");
            write(mount.path(), "new/file", "new");
            let run = typed_in(
                &world,
                mount.path(),
                &["commit", "-m", "why", "--author", "me@here"],
            );
            assert_eq!((run.ok(), run.stderr()), ("app@v2".into(), String::new()));
            assert_eq!((mount.source(), mount.changes()), ("app@v2".into(), 0));
            assert_eq!(read(mount.path(), "one"), "changed");
            assert_eq!(world.lfsfs(["cat", "app", "one"]).ok(), "changed");
            assert_eq!(world.lfsfs(["cat", "app@v1", "one"]).ok(), "one");
            let log = world.lfsfs(["log", "app", "-n", "1", "--json"]).json();
            assert_eq!(
                (&log["message"], &log["author"]),
                (&"why".into(), &"me@here".into())
            );
            assert_eq!(
                (&log["origin"], &log["version"]),
                (&"commit".into(), &2.into())
            );
            mount.umount();
        },
    );
}

#[test]
fn without_changes_the_version_that_is_shown_is_printed() {
    in_namespace(
        "commit::without_changes_the_version_that_is_shown_is_printed",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            assert_eq!(mount.verb(["commit"]).ok(), "app@v1");
            let json = mount.commit("");
            assert_eq!((&json["new"], &json["version"]), (&false.into(), &1.into()));
            // What changed back is no change.
            write(mount.path(), "extra", "extra");
            fs::remove_file(mount.path().join("extra")).expect("a file");
            assert_eq!(mount.verb(["commit"]).ok(), "app@v1");
            assert_eq!(world.head("app"), 1);
            mount.umount();
        },
    );
}

#[test]
fn a_conflict_lists_the_paths_and_loses_nothing() {
    in_namespace(
        "commit::a_conflict_lists_the_paths_and_loses_nothing",
        || {
            let world = world();
            let (first, second) = (
                world.mount_writable("app", ""),
                world.mount_writable("app", ""),
            );
            write(first.path(), "one", "theirs");
            assert_eq!(first.verb(["commit"]).ok(), "app@v2");
            write(second.path(), "one", "mine");
            write(second.path(), "two", "mine too");
            let refused = second.verb(["commit"]);
            refused.fails(3, &["--force", "lfsfs diff app@v1 app"]);
            assert_eq!(refused.stdout(), "one\n");
            assert_eq!(
                (read(second.path(), "one"), second.changes()),
                ("mine".into(), 2)
            );
            assert_eq!((second.source(), world.head("app")), ("app@v1".into(), 2));
            assert_eq!(second.verb(["commit", "--force"]).ok(), "app@v3");
            assert_eq!(
                world.lfsfs(["cat", "app", "one", "two"]).ok(),
                "minemine too"
            );
            first.umount();
            second.umount();
        },
    );
}

#[test]
fn changes_that_do_not_touch_are_both_there() {
    in_namespace("commit::changes_that_do_not_touch_are_both_there", || {
        let world = world();
        let (first, second) = (
            world.mount_writable("app", ""),
            world.mount_writable("app", ""),
        );
        write(first.path(), "one", "theirs");
        let _ = first.commit("");
        write(second.path(), "dir/three", "mine");
        let json = second.commit("");
        assert_eq!(
            (&json["rebased"], &json["version"]),
            (&true.into(), &3.into())
        );
        assert_eq!(read(second.path(), "one"), "theirs");
        assert_eq!(read(second.path(), "dir/three"), "mine");
        first.umount();
        second.umount();
    });
}

#[test]
fn a_job_can_end_its_mount_with_the_commit() {
    in_namespace("commit::a_job_can_end_its_mount_with_the_commit", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        write(mount.path(), "one", "changed");
        assert_eq!(mount.verb(["commit", "--umount"]).ok(), "app@v2");
        assert_eq!(fs::read_dir(mount.path()).expect("a directory").count(), 0);
        assert_eq!(world.lfsfs(["mounts"]).ok(), "");
    });
}

#[test]
fn what_cannot_be_committed_is_told_apart() {
    in_namespace("commit::what_cannot_be_committed_is_told_apart", || {
        let mut world = world();
        let outside = world.make_dir("outside");
        for words in [&["commit"][..], &["commit", "--async"]] {
            typed_in(&world, &outside, words).fails(1, &["not in a mount"]);
        }
        {
            let read_only = world.mount("app", "");
            read_only.verb(["commit"]).fails(1, &["read-only", "ro"]);
            let promise = read_only.verb(["commit", "--async"]);
            promise.fails(1, &["read-only", "ro"]);
        }
        let dir = {
            let mount = world.mount_writable("app", "");
            write(mount.path(), "one", "changed");
            let dir = mount.path().to_owned();
            mount.umount();
            dir
        };
        let _ = world.mount_at("app@v1", &dir, "").ok();
        world.stop_server();
        typed_in(&world, &dir, &["commit"]).fails(1, &["no lfsfs server"]);
        assert_eq!(read(&dir, "one"), "changed");
        world.start_server(&[]);
        assert_eq!(typed_in(&world, &dir, &["commit"]).ok(), "app@v2");
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}
