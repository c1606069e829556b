//! What is refused, and what waits for the user: nothing is removed because something is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use lfsfs_tests::in_namespace;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use crate::support::{Machine, assert_project_is, world};

/// Returns a machine with files that are synced.
fn synced(world: &lfsfs_tests::World, files: u32) -> Machine {
    let machine = Machine::new(world, "app");
    for number in 0..files {
        machine.write(&format!("d{}/f{number}", number % 7), &number.to_string());
    }
    let _ = machine.once();
    machine
}

#[test]
fn a_missing_root_is_an_error() {
    let world = world();
    let one = synced(&world, 3);
    let away = one.world.path("away");
    rustix::fs::rename(&one.dir, &away).expect("a rename");
    one.run("once", &[])
        .fails(1, &["there is no directory", "mount it"]);
    // As a mount point without the share on it.
    fs::create_dir(&one.dir).expect("a directory");
    one.run("once", &[])
        .fails(1, &["not the directory that was synced before", "rm -r"]);
    let other = one.dir.join(".lfsfs");
    fs::create_dir(&other).expect("a directory");
    let id = format!("{{\"format\":1,\"root\":\"{}\"}}\n", "ab".repeat(16));
    fs::write(other.join("sync"), id).expect("a file");
    one.run("once", &[])
        .fails(1, &["not the directory that was synced before"]);
    fs::write(other.join("sync"), "{").expect("a file");
    one.run("once", &[]).fails(1, &["is damaged", "remove it"]);
    fs::remove_dir_all(&one.dir).expect("a directory");
    rustix::fs::rename(&away, &one.dir).expect("a rename");
    assert_eq!(one.once()["sent"], json!(0));
    assert_eq!(world.head("app"), 1);
}

#[test]
fn another_far_side_is_an_error() {
    let world = world();
    let one = synced(&world, 3);
    let before = one.tree();
    let empty = world.make_dir("empty");
    let _ = world.import(&empty, "app");
    one.run("once", &[])
        .fails(1, &["not what", "not there any more"]);
    let _ = world.lfsfs(["project", "delete", "app", "--yes"]).ok();
    one.run("once", &[]).fails(1, &["app"]);
    let _ = world.lfsfs(["project", "new", "app"]);
    one.run("once", &[]).fails(1, &[]);
    assert_eq!(one.tree(), before);
}

#[test]
fn a_mass_deletion_waits_for_the_user() {
    let world = world();
    let (one, two) = (synced(&world, 1500), Machine::new(&world, "app"));
    let _ = two.once();
    let all = two.tree();
    // A rename of everything is none.
    for dir in 0..7 {
        let name = |prefix: &str| one.dir.join(format!("{prefix}{dir}"));
        rustix::fs::rename(name("d"), name("e")).expect("a rename");
    }
    let _ = one.once();
    let _ = two.once();
    assert_eq!((one.tree(), two.tree().len()), (two.tree(), all.len()));
    for dir in 0..5 {
        fs::remove_dir_all(one.dir.join(format!("e{dir}"))).expect("a directory");
    }
    one.write("new", "new");
    one.run("once", &[])
        .fails(1, &["removals", "wait", "lfsfs sync confirm"]);
    let _ = two.once();
    assert_eq!(
        (two.read("new"), two.tree().len()),
        ("new".into(), all.len() + 1)
    );
    let _ = one.run("confirm", &[]).ok();
    let _ = one.once();
    // What goes there would be as many here.
    two.run("once", &[]).fails(1, &["removals", "wait"]);
    let _ = two.run("confirm", &[]).ok();
    let _ = two.once();
    assert_eq!(one.tree(), two.tree());
    assert!(two.tree().len() < 600);
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn an_emptied_root_waits_for_the_user() {
    let world = world();
    let one = synced(&world, 3);
    for dir in 0..3 {
        fs::remove_dir_all(one.dir.join(format!("d{dir}"))).expect("a directory");
    }
    one.run("once", &[]).fails(1, &["removals", "wait"]);
    assert_eq!(world.head("app"), 1);
    let _ = one.run("confirm", &[]).ok();
    let done = one.once();
    assert_eq!(
        (world.head("app"), &done["unconfirmed_far"]),
        (2, &json!(0))
    );
}

#[test]
fn what_cannot_be_synced_is_told_and_the_rest_goes_on() {
    let world = world();
    let one = synced(&world, 3);
    let _listener = UnixListener::bind(one.dir.join("socket")).expect("a socket");
    one.write("new", "new");
    one.write("d0/f0", "changed");
    let done = one.once();
    assert_eq!(done["sent"], json!(2), "{done}");
    // Where a synced file was, the pass names the socket.
    fs::remove_file(one.dir.join("new")).expect("a file");
    let _other = UnixListener::bind(one.dir.join("new")).expect("a socket");
    one.write("after", "after");
    one.run("once", &[]).fails(1, &["new", "neither a file"]);
    let cat = |path: &str| world.lfsfs(["cat", path]).ok();
    assert_eq!(
        (cat("app:notes/new"), cat("app:notes/after")),
        ("new".into(), "after".into())
    );
}

#[test]
fn what_cannot_be_read_is_not_removed_elsewhere() {
    let world = world();
    let one = synced(&world, 20);
    if !rustix::process::geteuid().is_root() {
        let closed = fs::Permissions::from_mode(0o0);
        fs::set_permissions(one.dir.join("d1"), closed).expect("a mode");
        one.write("d2/f2", "changed");
        one.run("once", &[]).fails(1, &["d1"]);
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(one.dir.join("d1"), open).expect("a mode");
        assert_project_is(&world, "app:notes", &one.tree());
        return;
    }
    println!("skipped: root reads everything");
}

#[test]
fn what_is_mounted_in_a_root_is_left_alone() {
    in_namespace("guards::what_is_mounted_in_a_root_is_left_alone", || {
        let world = world();
        let one = synced(&world, 20);
        let before = one.tree();
        let place = one.dir.join("d1");
        mount("none", &place, "tmpfs", MountFlags::empty(), None).expect("a mount");
        fs::write(place.join("mounted"), "mounted").expect("a file");
        one.run("once", &[])
            .fails(1, &["d1", "another file system"]);
        unmount(&place, UnmountFlags::empty()).expect("an unmount");
        assert_eq!(one.once()["sent"], json!(0));
        assert_project_is(&world, "app:notes", &before);
    });
}

#[test]
fn a_full_disk_loses_nothing() {
    in_namespace("guards::a_full_disk_loses_nothing", || {
        let world = world();
        let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
        one.write("small", "small");
        let size = c"size=2m";
        mount("none", &two.dir, "tmpfs", MountFlags::empty(), size).expect("a mount");
        let _ = (one.once(), two.once());
        one.write("large", &"x".repeat(8 << 20));
        one.write("small", "changed");
        two.write("own", "own");
        let _ = one.once();
        let before = |name: &str| two.read(name);
        let run = two.run("once", &[]);
        run.fails(1, &["space"]);
        assert!(["small", "changed"].contains(&before("small").as_str()));
        assert!(!two.dir.join("large").exists());
        assert_eq!(two.read("own"), "own");
        fs::remove_file(one.dir.join("large")).expect("a file");
        let _ = one.once();
        let _ = two.once();
        let _ = one.once();
        assert_eq!(one.tree(), two.tree());
        unmount(&two.dir, UnmountFlags::empty()).expect("an unmount");
    });
}

#[test]
fn two_processes_do_not_sync_one_root() {
    let world = world();
    let one = synced(&world, 3);
    let states = fs::read_dir(one.world.path("state/sync")).expect("states");
    let state = states
        .map(|it| it.expect("an entry").path())
        .next()
        .expect("a state");
    let lock = fs::File::options()
        .write(true)
        .open(state.join("lock"))
        .expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    one.run("once", &[]).fails(1, &["another process syncs"]);
    drop(lock);
    let _ = one.once();
}

#[test]
fn names_that_a_file_system_takes_for_one_are_told_apart() {
    in_namespace(
        "guards::names_that_a_file_system_takes_for_one_are_told_apart",
        || {
            let world = world();
            let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
            let image = world.path("image");
            let made = fs::File::create(&image).and_then(|file| file.set_len(16 << 20));
            made.expect("a file");
            let mut mkfs = std::process::Command::new("mkfs.vfat");
            mkfs.arg(&image);
            if lfsfs_testkit::requirements::require_program("mkfs.vfat").is_err() {
                return;
            }
            let _ = lfsfs_tests::Run::of(mkfs).ok();
            let mut loop_mount = std::process::Command::new("mount");
            loop_mount
                .args(["-o", "loop,utf8"])
                .arg(&image)
                .arg(&two.dir);
            let mounted = lfsfs_tests::Run::of(loop_mount);
            if mounted.code() != Some(0) {
                println!("skipped: no vfat can be mounted here: {mounted:?}");
                return;
            }
            one.write("Name", "upper");
            one.write("name", "lower");
            let _ = one.once();
            two.run("once", &[])
                .fails(1, &["takes it for another name"]);
            let there = two.read("name");
            assert!(there == "upper" || there == "lower");
            // It makes no difference how often.
            let head = world.head("app");
            two.run("once", &[])
                .fails(1, &["takes it for another name"]);
            assert!(world.head("app") <= head + 1);
            assert_eq!(
                (one.read("Name"), one.read("name")),
                ("upper".into(), "lower".into())
            );
            unmount(&two.dir, UnmountFlags::empty()).expect("an unmount");
        },
    );
}
