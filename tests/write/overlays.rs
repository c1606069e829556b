//! Overlays: found again, refused with advice where that is right, and not made in vain.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Mounted, World, in_namespace};

use crate::support::world_with_app;

/// Returns where a mount keeps its changes.
fn overlay(mount: &Mounted<'_>) -> PathBuf {
    let status = mount.status();
    status["overlay"].as_str().expect("a path").into()
}

fn overlays(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(world.path("state/overlays")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn unmounting_keeps_changes_and_says_how_to_go_on() {
    let name = "overlays::unmounting_keeps_changes_and_says_how_to_go_on";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        let dir = mount.path();
        fs::write(dir.join("new"), "text").expect("a file");
        fs::remove_file(dir.join("index.js")).expect("a file to remove");
        assert_eq!(mount.changes(), 2);
        let told = mount.verb(["umount"]);
        let _ = told.ok();
        let command = format!("lfsfs mount app@v1 {}", dir.display());
        for words in ["kept: 2 uncommitted changes", &command] {
            assert!(told.stderr().contains(words), "{told:?}");
        }
        assert!(!dir.join("new").exists());

        mount.mount("app@v1");
        assert_eq!(mount.changes(), 2);
        assert_eq!(fs::read(dir.join("new")).expect("a file"), b"text");
        assert!(!dir.join("index.js").exists());
        mount.umount();
    });
}

#[test]
fn who_does_not_write_has_no_overlay() {
    in_namespace("overlays::who_does_not_write_has_no_overlay", || {
        let (world, _) = world_with_app(50);
        let read_only = world.mount("app@v1", "");
        let error = fs::write(read_only.path().join("new"), "").expect_err("it is read-only");
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        read_only.umount();
        let writable = world.mount_writable("app@v1", "");
        assert!(fs::read(writable.path().join("index.js")).is_ok());
        writable.remount();
        assert_eq!(overlays(&world), Vec::<PathBuf>::new());
        fs::write(writable.path().join("new"), "").expect("a file");
        assert_eq!(overlays(&world).len(), 1);
        writable.umount();
    });
}

#[test]
fn one_that_is_in_use_is_waited_for_and_then_refused() {
    let name = "overlays::one_that_is_in_use_is_waited_for_and_then_refused";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let first = world.mount_writable("app@v1", "overlay=shared");
        fs::write(first.path().join("new"), "text").expect("a file");
        let second = world.make_dir("second");
        let start = Instant::now();
        let refused = world.mount_at("app@v1", &second, "overlay=shared");
        let holder = first.path().to_str().expect("text").to_owned();
        refused.fails(1, &["is in use by", &holder, "overlay=NAME"]);
        let took = start.elapsed();
        assert!((8..20).contains(&took.as_secs()), "{took:?}");

        // A mount that ends in time makes room.
        let words = ["mount".as_ref(), OsStr::new("app@v1"), second.as_os_str()];
        let options = ["-o", "overlay=shared"].map(OsStr::new);
        let command = world.command(words.into_iter().chain(options));
        let mut waiting = Program::start(command).expect("lfsfs starts");
        std::thread::sleep(Duration::from_secs(1));
        first.umount();
        let status = waiting.wait(Duration::from_secs(20)).expect("it mounts");
        assert!(status.success(), "{}", waiting.output());
        assert_eq!(fs::read(second.join("new")).expect("a file"), b"text");
        let _ = world.lfsfs(["umount".as_ref(), second.as_os_str()]).ok();
    });
}

#[test]
fn one_with_changes_of_another_version_is_refused() {
    let name = "overlays::one_with_changes_of_another_version_is_refused";
    in_namespace(name, || {
        let (world, tree) = world_with_app(50);
        fs::write(tree.join("second"), "text").expect("a file");
        assert_eq!(world.import(&tree, "app"), "app@v2");
        let mount = world.mount_writable("app@v1", "");
        fs::write(mount.path().join("new"), "text").expect("a file");
        let _ = mount.verb(["umount"]).ok();
        let refused = world.mount_at("app@v2", mount.path(), "");
        let advice = ["app@v1", "lfsfs commit", "lfsfs discard", "overlay=NAME"];
        refused.fails(1, &advice);

        mount.mount("app@v1");
        let _ = mount.verb(["discard", "--yes"]).ok();
        let _ = mount.verb(["umount"]).ok();
        // Without changes no mount owns it.
        mount.mount("app@v2");
        assert!(mount.path().join("second").exists());
        assert!(!mount.path().join("new").exists());
        mount.umount();
    });
}

#[test]
fn one_of_another_project_is_refused() {
    in_namespace("overlays::one_of_another_project_is_refused", || {
        let (world, tree) = world_with_app(50);
        let _ = world.import(&tree, "other");
        let mount = world.mount_writable("app@v1", "overlay=mine");
        fs::write(mount.path().join("new"), "text").expect("a file");
        let _ = mount.verb(["umount"]).ok();
        let refused = world.mount_at("other@v1", mount.path(), "overlay=mine");
        refused.fails(1, &["overlay", "belongs to project"]);
        mount.mount("app@v1");
        assert_eq!(fs::read(mount.path().join("new")).expect("a file"), b"text");
        mount.umount();
    });
}

#[test]
fn one_of_another_format_is_refused_and_left_alone() {
    let name = "overlays::one_of_another_format_is_refused_and_left_alone";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        fs::write(mount.path().join("new"), "text").expect("a file");
        let format = overlay(&mount).join("format");
        let _ = mount.verb(["umount"]).ok();
        let ours = fs::read(&format).expect("a format file");
        fs::write(&format, "lfsfs overlay 999\n").expect("a file");
        let refused = world.mount_at("app@v1", mount.path(), "");
        refused.fails(1, &["another format", "999", "program that made it"]);
        assert_eq!(
            fs::read(&format).expect("a format file"),
            b"lfsfs overlay 999\n"
        );
        fs::write(&format, ours).expect("a file");
        mount.mount("app@v1");
        assert_eq!(fs::read(mount.path().join("new")).expect("a file"), b"text");
        mount.umount();
    });
}

#[test]
fn a_volatile_one_keeps_changes_over_a_remount() {
    let name = "overlays::a_volatile_one_keeps_changes_over_a_remount";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "volatile");
        let path = mount.path().join("new");
        fs::write(&path, "text").expect("a file");
        fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .expect("fsync is answered");
        mount.remount();
        assert_eq!(fs::read(&path).expect("a file"), b"text");
        // After a crash nothing is promised but a mount that works.
        mount.kill_and_mount();
        fs::write(&path, "again").expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"again");
        mount.umount();
    });
}
