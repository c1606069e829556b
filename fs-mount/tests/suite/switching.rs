//! A running mount goes to another version, asked over its socket.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lfsfs_mount::{ControlError, ControlErrorKind, ControlRequest, MountError, Switched, call};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::harness::Machine;

fn in_namespace(name: &str, body: impl FnOnce(Machine)) {
    if require_root_and_fuse().is_ok() {
        in_private_namespace(name, || body(Machine::new()));
    }
}

fn switch(machine: &Machine, dir: &Path, version: &str) -> Result<Switched, ControlError> {
    let version = version.to_owned();
    let retry_ms = 0;
    let request = ControlRequest::Switch { version, retry_ms };
    match call(&machine.find(dir), &request) {
        Ok(switched) => Ok(switched),
        Err(MountError::Control(error)) => Err(error),
        Err(error) => panic!("{}", error.full_text()),
    }
}

/// Returns a path that leads to what is open, whatever its name is now.
fn path_of(open: &File) -> PathBuf {
    format!("/proc/self/fd/{}", open.as_raw_fd()).into()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn assert_release(dir: &Path, number: u64) {
    let other = dir.join("other");
    let (changed, came, went) = match number {
        1 => ("first\n", "gone", "new"),
        _ => ("second\n", "new", "gone"),
    };
    assert_eq!(fs::read_to_string(other.join("changed")).unwrap(), changed);
    assert!(other.join(came).exists() && !other.join(went).exists());
    let mut expected = vec!["changed", "kept", came];
    expected.sort_unstable();
    assert_eq!(names(&other), expected);
}

#[test]
fn programs_see_the_other_version_and_what_is_the_same_stays() {
    let name = "switching::programs_see_the_other_version_and_what_is_the_same_stays";
    in_namespace(name, |machine| {
        for options in ["ro", ""] {
            let dir = machine.mount("lib@v1", options);
            assert_release(&dir, 1);
            let kept = dir.join("same/kept");
            let (number, content) = (kept.metadata().unwrap().ino(), fs::read(&kept).unwrap());
            let open = File::open(dir.join("other/changed")).unwrap();
            let working = File::open(dir.join("other")).unwrap();

            for (to, version) in [
                ("v2", 2),
                ("lib@v1", 1),
                ("latest", 2),
                ("v2", 2),
                ("v1", 1),
            ] {
                let switched = switch(&machine, &dir, to).unwrap();
                assert_eq!(switched.version.version, version);
                assert_eq!(machine.status(&dir).version, switched.version);
                assert_release(&dir, version);
                assert_eq!(fs::read_dir(path_of(&working)).unwrap().count(), 3);
                let same = machine.requests_of(&dir, || {
                    assert_eq!(kept.metadata().unwrap().ino(), number);
                    assert_eq!(fs::read(&kept).unwrap(), content);
                });
                assert!(!same.contains_key("READ"), "{same:?}");
            }
            let mut bytes = [0; 6];
            open.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"first\n");
            drop((open, working));
            machine.umount(&dir);
        }
    });
}

#[test]
fn a_switch_is_refused_where_it_would_lose_something() {
    let name = "switching::a_switch_is_refused_where_it_would_lose_something";
    in_namespace(name, |machine| {
        let dir = machine.mount("lib@v1", "");
        let refused = switch(&machine, &dir, "app@v1").unwrap_err();
        assert_eq!(refused.kind, ControlErrorKind::Usage, "{refused:?}");
        let refused = switch(&machine, &dir, "v9").unwrap_err();
        assert!(refused.message.contains("v9"), "{refused:?}");
        let refused = switch(&machine, &dir, "a/b").unwrap_err();
        assert_eq!(refused.kind, ControlErrorKind::Usage, "{refused:?}");

        let point = dir.join("other/changed");
        rustix::mount::mount_bind(dir.join("same/kept"), &point).unwrap();
        let refused = switch(&machine, &dir, "v2").unwrap_err();
        let named = point.to_str().unwrap();
        assert!(refused.message.contains(named), "{refused:?}");
        rustix::mount::unmount(&point, UnmountFlags::empty()).unwrap();
        assert_release(&dir, 1);
        let point = dir.join("same");
        rustix::mount::mount("none", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        switch(&machine, &dir, "v2").unwrap();
        fs::write(point.join("still-there"), "").unwrap();
        rustix::mount::unmount(&point, UnmountFlags::empty()).unwrap();

        fs::write(dir.join("mine"), "").unwrap();
        let refused = switch(&machine, &dir, "v1").unwrap_err();
        let hint = refused.hint.unwrap();
        assert!(
            refused.message.contains("uncommitted"),
            "{}",
            refused.message
        );
        assert!(
            hint.contains("lfsfs commit") && hint.contains("lfsfs discard"),
            "{hint}"
        );
        assert_release(&dir, 2);
        assert!(dir.join("mine").exists());
        machine.umount(&dir);
    });
}

#[test]
fn readers_see_one_version_or_the_other_while_it_switches() {
    let name = "switching::readers_see_one_version_or_the_other_while_it_switches";
    in_namespace(name, |machine| {
        let dir = machine.mount("lib@v1", "");
        let path = dir.join("other/changed");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut text = String::new();
                        let mut file = File::open(&path).unwrap();
                        file.read_to_string(&mut text).unwrap();
                        assert!(text == "first\n" || text == "second\n", "{text:?}");
                        names(&dir.join("other"));
                    }
                });
            }
            for round in 0..50 {
                let version = 2 - round % 2;
                switch(&machine, &dir, &format!("v{version}")).unwrap();
                assert_release(&dir, version);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        machine.umount(&dir);
    });
}
