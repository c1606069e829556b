//! Directories that something else has, had, or gets.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{World, eventually, files, in_namespace, is_running, mount_table, run};

const SOON: Duration = Duration::from_secs(5);

fn world() -> World {
    let world = World::new();
    let tree = world.path("tree");
    TreeSpec::small().generate(&tree).expect("a tree");
    fs::create_dir(tree.join("inner")).expect("a directory");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    world
}

fn umount(world: &World, dir: &Path) {
    let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    assert!(mount_table(dir).is_empty());
}

fn assert_shown(world: &World, dir: &Path) {
    let options = CompareOptions {
        root: false,
        ..CompareOptions::default()
    };
    assert_same_trees(&world.path("tree"), dir, &options);
}

fn mount_tmpfs(dir: &Path) {
    let words = ["-t", "tmpfs", "others"].map(std::ffi::OsStr::new);
    let _ = run("mount", words.into_iter().chain([dir.as_os_str()])).ok();
}

fn pid_of(world: &World, dir: &Path) -> i32 {
    let status = world.lfsfs(["status".as_ref(), "--json".as_ref(), dir.as_os_str()]);
    let pid = status.json()["pid"].as_i64().expect("a number");
    i32::try_from(pid).expect("a process id")
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(process, signal).expect("it can be signalled");
}

fn is_ended(pid: i32) -> bool {
    !is_running(u32::try_from(pid).expect("a process id"))
}

/// Kills the process of a mount, which leaves the mount behind.
fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
    assert!(eventually(SOON, || is_ended(pid)));
}

#[test]
fn what_is_no_free_directory_is_refused_and_named() {
    in_namespace(
        "mount_points::what_is_no_free_directory_is_refused_and_named",
        || {
            let world = world();
            let missing = world.path("missing");
            let file = world.path("file");
            fs::write(&file, "text").expect("a file");
            let others = world.make_dir("others");
            mount_tmpfs(&others);
            let ours = world.make_dir("ours");
            let _ = world.mount_at("app@v1", &ours, "ro").ok();

            let cases = [
                (&missing, "does not exist"),
                (&file, "not a directory"),
                (&others, "in use"),
                (&ours, "in use"),
            ];
            for (dir, word) in cases {
                let name = dir.to_str().expect("text");
                let refused = world.mount_at("app@v1", dir, "ro");
                let _ = refused.fails(1, &[word, name]);
            }
            assert!(!missing.exists());
            assert_shown(&world, &ours);
            assert_eq!(world.lfsfs(["mounts"]).ok().lines().count(), 1);
            umount(&world, &ours);
        },
    );
}

#[test]
fn odd_names_and_links_are_mount_points_too() {
    in_namespace(
        "mount_points::odd_names_and_links_are_mount_points_too",
        || {
            use std::os::unix::ffi::OsStrExt as _;
            let world = world();
            let base = world.make_dir("odd");
            let names: [&[u8]; 3] = [b"with space\tand tab", b"new\nline \\134", b"\xff\xfe"];
            for name in names {
                let dir = base.join(std::ffi::OsStr::from_bytes(name));
                fs::create_dir(&dir).expect("a directory");
                let _ = world.mount_at("app@v1", &dir, "ro").ok();
                assert_shown(&world, &dir);
                let _ = world.mount_at("app@v1", &dir, "ro").fails(1, &["in use"]);
                assert_eq!(world.lfsfs(["mounts"]).ok().lines().count(), 1);
                umount(&world, &dir);
                assert_eq!(world.lfsfs(["mounts"]).ok(), "");
            }
            let real = world.make_dir("real");
            let link = world.path("link");
            std::os::unix::fs::symlink(&real, &link).expect("a link");
            let _ = world.mount_at("app@v1", &link, "ro").ok();
            assert_eq!(mount_table(&real).len(), 1);
            assert_shown(&world, &real);
            umount(&world, &link);
        },
    );
}

#[test]
fn mounts_lie_in_mounts() {
    in_namespace("mount_points::mounts_lie_in_mounts", || {
        let world = world();
        let outer = world.make_dir("outer");
        let inner = outer.join("inner");
        let _ = world.mount_at("app@v1", &outer, "ro").ok();
        let _ = world.mount_at("app@v1", &inner, "ro").ok();
        assert_shown(&world, &inner);
        assert_ne!(pid_of(&world, &outer), pid_of(&world, &inner));
        // What is below keeps what is above from going.
        let _ = world
            .lfsfs(["umount".as_ref(), outer.as_os_str()])
            .fails(1, &[]);
        assert_shown(&world, &inner);
        umount(&world, &inner);
        assert_shown(&world, &outer);
        umount(&world, &outer);
    });
}

#[test]
fn a_killed_process_leaves_a_dead_mount_that_the_same_command_replaces() {
    let name = "mount_points::a_killed_process_leaves_a_dead_mount_that_the_same_command_replaces";
    in_namespace(name, || {
        let world = world();
        let dir = world.make_dir("m");
        let _ = world.mount_at("app@v1", &dir, "ro").ok();
        let pid = pid_of(&world, &dir);
        kill(pid);

        let list = || fs::read_dir(&dir).and_then(|mut entries| entries.next().transpose());
        let error = || list().expect_err("it is dead").raw_os_error();
        // A request under way when the process ended is aborted; those that follow find no process.
        let first = error();
        assert!(
            [Some(libc::ECONNABORTED), Some(libc::ENOTCONN)].contains(&first),
            "{first:?}"
        );
        assert_eq!(error(), Some(libc::ENOTCONN));
        let listed = world.lfsfs(["mounts"]).ok();
        assert!(listed.ends_with("dead"), "{listed}");
        let status = world.lfsfs(["status".as_ref(), dir.as_os_str()]);
        let _ = status.fails(1, &["dead", "lfsfs umount"]);

        let _ = world.mount_at("app@v1", &dir, "ro").ok();
        assert_shown(&world, &dir);
        assert_eq!(mount_table(&dir).len(), 1, "the dead one is gone");

        // Taken away without a new one.
        kill(pid_of(&world, &dir));
        umount(&world, &dir);
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 0);
    });
}

#[test]
fn what_another_user_mounts_over_ours_stays_when_our_process_ends() {
    let name = "mount_points::what_another_user_mounts_over_ours_stays_when_our_process_ends";
    in_namespace(name, || {
        let world = world();
        let dir = world.make_dir("m");
        let _ = world.mount_at("app@v1", &dir, "ro").ok();
        let pid = pid_of(&world, &dir);
        mount_tmpfs(&dir);
        fs::write(dir.join("theirs"), "text").expect("a file");

        // A user that names our mount by its directory means the mount that is seen there.
        let refused = world.lfsfs(["umount".as_ref(), dir.as_os_str()]);
        let _ = refused.fails(1, &[]);
        signal(pid, rustix::process::Signal::TERM);
        assert!(eventually(SOON, || is_ended(pid)), "it ends");
        assert_eq!(fs::read(dir.join("theirs")).expect("still there"), b"text");

        let _ = run("umount", [&dir]).ok();
        // Ours is below, dead, and replaced like any dead mount.
        let error = fs::read_dir(&dir)
            .map(drop)
            .and_then(|()| rustix_statfs(&dir));
        assert_eq!(
            error.expect_err("it is dead").raw_os_error(),
            Some(libc::ENOTCONN)
        );
        let _ = world.mount_at("app@v1", &dir, "ro").ok();
        assert_shown(&world, &dir);
        umount(&world, &dir);
    });
}

fn rustix_statfs(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::statvfs(dir).map(drop)?)
}

#[test]
fn a_directory_with_files_is_covered_and_comes_back() {
    in_namespace(
        "mount_points::a_directory_with_files_is_covered_and_comes_back",
        || {
            let world = world();
            let dir = world.make_dir("m");
            fs::write(dir.join("below"), "text").expect("a file");
            let _ = world.mount_at("app@v1", &dir, "ro").ok();
            assert!(!dir.join("below").exists());
            assert!(!files(&dir).is_empty());
            umount(&world, &dir);
            assert!(dir.join("below").exists());
        },
    );
}
