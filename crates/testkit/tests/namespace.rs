//! Private mount namespaces and loop disks: nothing of them is seen or left outside.

#![expect(
    clippy::unwrap_used,
    reason = "also the helpers of a test fail by panicking"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::{NamespaceOptions, in_private_namespace, in_private_namespace_with};
use lfsfs_testkit::requirements::{require_loop_devices, require_root, require_root_and_fuse};
use lfsfs_testkit::tempdir::TempDir;
use rustix::mount::{MountFlags, mount};

const MEBIBYTE: u64 = 1 << 20;

fn is_mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(path.to_str().unwrap())
}

/// Runs something that has to panic and returns with what words.
fn message_of(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(run).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn mounts_stay_inside() {
    if require_root().is_err() {
        return;
    }
    let dir = TempDir::new().unwrap();
    in_private_namespace("mounts_stay_inside", || {
        mount("none", dir.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        assert!(is_mounted(dir.path()));
        let seen = Command::new("cat")
            .arg("/proc/self/mountinfo")
            .output()
            .unwrap();
        let seen = String::from_utf8(seen.stdout).unwrap();
        assert!(
            seen.contains(dir.path().to_str().unwrap()),
            "helpers see it too"
        );
        assert!(
            !fs::read_to_string("/proc/1/mountinfo")
                .unwrap()
                .contains("lfsfs-test-")
        );
        rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    });
    assert!(!is_mounted(dir.path()));
}

#[test]
fn a_failing_body_fails_the_test() {
    if require_root().is_err() {
        return;
    }
    if std::env::var_os("LFSFS_TEST_NAMESPACE").is_some() {
        in_private_namespace("a_failing_body_fails_the_test", || panic!("on purpose"));
    }
    let message = message_of(|| in_private_namespace("a_failing_body_fails_the_test", || ()));
    assert!(message.contains("failed (exit status: 101)"), "{message}");
    assert!(message.contains("on purpose"), "{message}");
}

#[test]
fn a_wrong_name_fails_the_test() {
    if require_root().is_err() {
        return;
    }
    let message = message_of(|| in_private_namespace("no_such_test", || ()));
    assert!(message.contains("no_such_test did not run"), "{message}");
}

#[test]
fn a_hung_test_is_killed_with_its_daemons() {
    if require_root().is_err() {
        return;
    }
    let name = "a_hung_test_is_killed_with_its_daemons";
    let options = NamespaceOptions {
        timeout: Duration::from_secs(2),
    };
    #[expect(
        clippy::zombie_processes,
        reason = "the outer run has to end the daemon"
    )]
    let hang = || {
        // In a session and process group of its own, as a daemon is; no process waits for it.
        let mut command = Command::new("setsid");
        let daemon = command
            .args(["sleep", "1000"])
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = std::io::stdout();
        writeln!(stdout, "daemon {}", daemon.id()).unwrap();
        std::thread::sleep(Duration::from_secs(1_000));
    };
    if std::env::var_os("LFSFS_TEST_NAMESPACE").is_some() {
        return in_private_namespace_with(name, &options, hang);
    }
    let message = message_of(|| in_private_namespace_with(name, &options, || ()));
    assert!(message.contains("still ran after 2s"), "{message}");
    let daemon = message.split_once("daemon ").unwrap().1;
    let daemon = daemon.split_whitespace().next().unwrap();
    assert!(
        fs::read_link(format!("/proc/{daemon}/exe")).is_err(),
        "{daemon} still runs"
    );
}

/// Mounts a FUSE filesystem that agrees on the protocol and answers nothing else.
fn mount_that_never_answers(path: &Path) {
    let mut device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .unwrap();
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        std::os::fd::AsRawFd::as_raw_fd(&device)
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount(
        "hung",
        path,
        "fuse.hung",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .unwrap();
    std::thread::spawn(move || {
        let mut request = vec![0; 1 << 18];
        let len = device.read(&mut request).unwrap();
        assert!(len >= 16, "the kernel begins with INIT");
        // Length, no error, the number of the request, protocol 7.31, the rest zero.
        let mut answer = [0; 80];
        answer[0] = 80;
        answer[8..16].copy_from_slice(&request[8..16]);
        answer[16] = 7;
        answer[20] = 31;
        device.write_all(&answer).unwrap();
        // Taken and never answered: now the caller cannot even be killed.
        while device.read(&mut request).is_ok() {}
    });
}

#[test]
fn a_hung_mount_is_aborted() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "a_hung_mount_is_aborted";
    let options = NamespaceOptions {
        timeout: Duration::from_secs(2),
    };
    let hang = || {
        let dir = TempDir::new().unwrap();
        mount_that_never_answers(dir.path());
        let error = fs::read_dir(dir.path()).unwrap_err();
        panic!("answered with {error}");
    };
    if std::env::var_os("LFSFS_TEST_NAMESPACE").is_some() {
        return in_private_namespace_with(name, &options, hang);
    }
    let start = Instant::now();
    let message = message_of(|| in_private_namespace_with(name, &options, || ()));
    assert!(message.contains("still ran after 2s"), "{message}");
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "killing had to wait: {message}"
    );
}

#[test]
fn a_disk_fills_up_and_is_freed() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("a_disk_fills_up_and_is_freed", || {
        let disk = LoopDisk::new(32 * MEBIBYTE).unwrap();
        let before = disk.available().unwrap();
        assert!(before > 16 * MEBIBYTE, "{before}");
        disk.fill_up(MEBIBYTE).unwrap();
        let left = disk.available().unwrap();
        assert!(left <= MEBIBYTE && left > MEBIBYTE / 2, "{left}");
        let full = fs::write(disk.path().join("file"), vec![1; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        fs::remove_file(disk.path().join("file")).unwrap();
        disk.fill_up(0).unwrap();
        let full = fs::write(disk.path().join("file"), vec![1; 64 << 10]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(disk.path().join("file"), vec![1; 2 << 20]).unwrap();
        let path = disk.path();
        drop(disk);
        assert!(!path.exists() && !is_mounted(&path));
    });
}

#[test]
fn power_loss_keeps_what_was_synced_and_nothing_else() {
    if require_loop_devices().is_err() {
        return;
    }
    in_private_namespace("power_loss_keeps_what_was_synced_and_nothing_else", || {
        let mut disk = LoopDisk::new(32 * MEBIBYTE).unwrap();
        let write = |name: &str| {
            let mut file = File::create(disk.path().join(name)).unwrap();
            file.write_all(b"content").unwrap();
            file
        };
        write("synced").sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        drop(write("not-synced"));
        disk.shutdown_without_log().unwrap();
        assert!(fs::write(disk.path().join("after"), "x").is_err());
        disk.remount().unwrap();
        let names: Vec<_> = fs::read_dir(disk.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lost+found")
            .collect();
        assert_eq!(names, ["synced"]);
        assert_eq!(fs::read(disk.path().join("synced")).unwrap(), b"content");
    });
}
