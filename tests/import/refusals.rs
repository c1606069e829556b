//! What cannot be imported is named before anything is published.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::{require_root, require_root_and_fuse};
use lfsfs_tests::{Run, World};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Some user that is not root and owns nothing.
const UNPRIVILEGED: u32 = 65_534;

fn world_with_project() -> World {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world
}

fn import(world: &World, tree: &Path, options: &[&str]) -> Run {
    let words = [OsStr::new("import"), tree.as_os_str(), OsStr::new("app")];
    let options = options.iter().map(OsStr::new);
    world.lfsfs(words.into_iter().chain(options))
}

fn import_unprivileged(world: &World, tree: &Path, options: &[&str]) -> Run {
    let words = [OsStr::new("import"), tree.as_os_str(), OsStr::new("app")];
    let options = options.iter().map(OsStr::new);
    let mut command = world.command_for_any_user(words.into_iter().chain(options));
    command.uid(UNPRIVILEGED).gid(UNPRIVILEGED).current_dir("/");
    Run::of(command)
}

#[test]
fn an_unknown_project() {
    let world = World::new();
    let tree = world.make_dir("tree");
    import(&world, &tree, &[]).fails(1, &["no project app", "--create"]);
    import(&world, &tree, &["--create", "--dry-run"]).fails(1, &["no project app"]);
    fs::write(tree.join("file"), "bytes").expect("a file");
    for _ in 0..2 {
        assert_eq!(import(&world, &tree, &["--create"]).ok(), "app@v1");
    }
}

#[test]
fn a_pack_pattern_that_is_none() {
    let world = World::new();
    let made = world.lfsfs([
        "project",
        "new",
        "app",
        "--pack",
        "node_modules/[^/]+/",
        "--pack",
        "[",
    ]);
    made.fails(2, &["\"[\"", "not a regular expression"]);
    let _ = world
        .lfsfs(["project", "inspect", "app"])
        .fails(1, &["app"]);
}

#[test]
fn a_project_name_that_is_none() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let words = [OsStr::new("import"), tree.as_os_str(), OsStr::new("a/b")];
    world.lfsfs(words).fails(2, &["a/b"]);
}

#[test]
fn a_directory_that_is_missing_or_none() {
    let world = world_with_project();
    let missing = world.path("missing");
    import(&world, &missing, &[]).fails(1, &["missing", "No such file"]);
    fs::write(&missing, "a file").expect("a file");
    import(&world, &missing, &[]).fails(1, &["missing", "Not a directory"]);
    assert_eq!(world.head("app"), 0);
}

#[test]
fn unreadable_files_are_counted_and_the_first_are_named() {
    if require_root().is_err() {
        return;
    }
    let world = world_with_project();
    fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).expect("a mode");
    let tree = world.make_dir("tree");
    for number in 0..30 {
        let path = tree.join(format!("closed-{number:02}"));
        fs::write(&path, "secret").expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("a mode");
    }
    let closed = tree.join("z-closed");
    fs::create_dir_all(closed.join("below")).expect("a directory");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("a mode");
    fs::write(tree.join("open"), "public").expect("a file");

    let refused = import_unprivileged(&world, &tree, &[]);
    let complaint = refused.fails(
        1,
        &[
            "31 entries cannot be imported",
            "nothing was published",
            "and 11 more",
        ],
    );
    assert_eq!(complaint.matches("Permission denied").count(), 20);
    assert!(complaint.contains("--skip-unreadable"), "{complaint}");
    assert_eq!(world.head("app"), 0);

    let rest = import_unprivileged(&world, &tree, &["--skip-unreadable"]);
    assert_eq!(rest.ok(), "app@v1");
    assert!(rest.stderr().contains("left out: 31 entries"), "{rest:?}");
    assert_eq!(world.lfsfs(["ls", "-R", "app"]).ok(), "open");
    let again = import_unprivileged(&world, &tree, &["--skip-unreadable", "--json"]);
    let report = again.json();
    assert_eq!(report["skipped_unreadable"], 31, "{report}");
    assert_eq!(report["version"], 1, "{report}");
}

#[test]
fn a_directory_that_cannot_be_opened_at_all() {
    if require_root().is_err() {
        return;
    }
    let world = world_with_project();
    fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).expect("a mode");
    let tree = world.make_dir("tree");
    fs::set_permissions(&tree, Permissions::from_mode(0o700)).expect("a mode");
    for options in [&[][..], &["--skip-unreadable"]] {
        import_unprivileged(&world, &tree, options).fails(1, &["tree", "Permission denied"]);
    }
    assert_eq!(world.head("app"), 0);
}

#[test]
fn device_nodes() {
    if require_root().is_err() {
        return;
    }
    let world = world_with_project();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "content").expect("a file");
    let mode = Mode::from_raw_mode(0o600);
    for (name, kind) in [
        ("char", FileType::CharacterDevice),
        ("block", FileType::BlockDevice),
    ] {
        mknodat(CWD, tree.join(name), kind, mode, makedev(1, 3)).expect("a device node");
    }
    import(&world, &tree, &[]).fails(
        1,
        &["2 entries", "block: a device node", "char: a device node"],
    );
    assert_eq!(world.head("app"), 0);
    assert_eq!(import(&world, &tree, &["--skip-unreadable"]).ok(), "app@v1");
    assert_eq!(world.lfsfs(["ls", "app"]).ok(), "file");
}

#[test]
fn sockets_are_skipped_and_counted() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "content").expect("a file");
    let _socket = UnixListener::bind(tree.join("socket")).expect("a socket");
    let run = import(&world, &tree, &[]);
    assert_eq!(run.ok(), "app@v1");
    assert!(run.stderr().contains("left out: 1 sockets"), "{run:?}");
    assert_eq!(world.lfsfs(["ls", "app"]).ok(), "file");
    let report = world.import_json(&tree, "app", &[]);
    assert_eq!(report["skipped_sockets"], 1, "{report}");
}

#[test]
fn a_socket_that_a_commit_kept_stays() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("refusals::a_socket_that_a_commit_kept_stays", || {
        let world = world_with_project();
        let mounted = world.mount_writable("app", "");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(
            CWD,
            mounted.path().join("socket"),
            FileType::Socket,
            mode,
            0,
        )
        .expect("a socket");
        let _ = mounted.commit("a socket");
        let out = world.path("out");
        let words = ["export".as_ref(), "app".as_ref(), out.as_os_str()];
        let _ = world.lfsfs(words).ok();
        let run = import(&world, &out, &[]);
        assert_eq!((run.ok(), run.stderr()), ("app@v1".into(), String::new()));
    });
}

/// Makes directories below each other until the path of the last has at least `len` bytes.
fn make_deep(tree: &Path, len: usize) {
    let name = "d".repeat(200);
    let mut dir = rustix::fs::open(tree, rustix::fs::OFlags::PATH, Mode::empty()).expect("a tree");
    for _ in 0..len.div_ceil(name.len() + 1) {
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).expect("a directory");
        dir = rustix::fs::openat(&dir, &name, rustix::fs::OFlags::PATH, Mode::empty())
            .expect("a directory");
    }
}

#[test]
fn paths_that_are_too_long() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "content").expect("a file");
    make_deep(&tree, 4_200);
    import(&world, &tree, &[]).fails(1, &["1 entries", "too long", "nothing was published"]);
    assert_eq!(world.head("app"), 0);
    assert_eq!(import(&world, &tree, &["--skip-unreadable"]).ok(), "app@v1");
    let listed = world.lfsfs(["ls", "-R", "-z", "app"]).ok();
    let longest = listed.split_terminator('\0').map(str::len).max();
    assert_eq!(
        longest,
        Some(20 * 201 - 1),
        "as far down as a path can name"
    );
}

#[test]
fn what_is_mounted_below_stays_out() {
    if require_root().is_err() {
        return;
    }
    in_private_namespace("refusals::what_is_mounted_below_stays_out", || {
        let world = world_with_project();
        let tree = world.make_dir("tree");
        let (tmpfs, proc) = (tree.join("tmpfs"), tree.join("proc"));
        for dir in [&tmpfs, &proc] {
            fs::create_dir(dir).expect("a directory");
        }
        mount("none", &tmpfs, "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
        fs::write(tmpfs.join("elsewhere"), "content").expect("a file");
        rustix::mount::mount_bind("/proc", &proc).expect("a bind mount");
        let report = world.import_json(&tree, "app", &[]);
        assert_eq!(report["skipped_mount_points"], 2, "{report}");
        assert_eq!(world.lfsfs(["ls", "-R", "app"]).ok(), "proc\ntmpfs");
        for dir in [&tmpfs, &proc] {
            unmount(dir, UnmountFlags::DETACH).expect("a mount to end");
        }
    });
}
