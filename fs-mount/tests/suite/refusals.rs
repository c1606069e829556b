//! Mounts that must not come to be, and leave nothing.

use std::fs;
use std::time::{Duration, Instant};

use lfsfs_mount::MountError;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;

use crate::harness::Machine;

fn refused(machine: &Machine, source: &str, options: &str) -> MountError {
    let dir = machine.directory("mnt");
    let error = machine.try_mount(source, &dir, options).unwrap_err();
    assert_eq!(machine.mounts(), []);
    error
}

#[test]
fn an_unknown_project_fails_at_once_with_the_servers_words() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "refusals::an_unknown_project_fails_at_once_with_the_servers_words";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let started = Instant::now();
        let error = refused(&machine, "absent", "ro,retry=5");
        assert!(started.elapsed() < Duration::from_secs(4));
        assert!(
            error.to_string().starts_with("cannot open absent: "),
            "{error}"
        );
        assert_eq!(error.exit_code(), 32);
    });
}

#[test]
fn a_server_that_is_down_says_what_to_start() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("refusals::a_server_that_is_down_says_what_to_start", || {
        let machine = Machine::new();
        let error = refused(&machine, "down", "ro");
        assert!(
            error.to_string().contains("start one with: lfsfsd all"),
            "{error}"
        );
    });
}

#[test]
fn a_server_that_hangs_is_given_up() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("refusals::a_server_that_hangs_is_given_up", || {
        let machine = Machine::new();
        let started = Instant::now();
        let error = refused(&machine, "hangs", "ro");
        assert!(
            started.elapsed() < Duration::from_secs(9),
            "{:?}",
            started.elapsed()
        );
        assert!(
            error.to_string().contains("did not answer within 5 s"),
            "{error}"
        );
    });
}

#[test]
fn a_mounted_directory_is_in_use() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("refusals::a_mounted_directory_is_in_use", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");
        let error = machine.try_mount("app@v1", &dir, "ro").unwrap_err();
        assert!(matches!(error, MountError::InUse { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
        machine.umount(&dir);
    });
}

#[test]
fn a_program_that_is_no_mount_process_is_an_error() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(
        "refusals::a_program_that_is_no_mount_process_is_an_error",
        || {
            let machine = Machine::new();
            let request = machine.request("app@v1", &machine.directory("mnt"), "ro");
            let launcher = lfsfs_mount::Launcher {
                program: "/bin/false".into(),
                arguments: Vec::new(),
            };
            let error = lfsfs_mount::mount(&request, &launcher).unwrap_err();
            assert!(matches!(error, MountError::Ended { .. }), "{error}");
        },
    );
}
