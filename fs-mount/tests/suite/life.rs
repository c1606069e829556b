//! The life of mount processes: how they end, and what they leave.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lfsfs_mount::{Launcher, MountState, UmountMode, mountinfo, unmount};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::{require_program, require_root_and_fuse};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::harness::Machine;

/// A process that is watched, so that its number cannot pass to another.
pub(crate) struct Watched {
    pid: Pid,
    descriptor: OwnedFd,
}

impl Watched {
    pub(crate) fn serving(machine: &Machine, dir: &Path) -> Self {
        let pid = machine.status(dir).pid;
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        Self { pid, descriptor }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    pub(crate) fn assert_ends(&self) {
        let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
        let ended = poll(
            &mut [PollFd::new(&self.descriptor, PollFlags::IN)],
            Some(&limit),
        );
        assert_eq!(ended, Ok(1), "process {:?} still runs", self.pid);
    }
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = mountinfo::read().unwrap();
    mountinfo::topmost(&mounts, dir).is_some()
}

/// Nothing of a mount may be left: neither a socket nor a place in the table.
fn assert_nothing_left(machine: &Machine, dir: &Path) {
    assert!(!is_mounted(dir));
    assert_eq!(fs::read_dir(&machine.places.run).unwrap().count(), 0);
}

#[test]
fn unmounting_ends_the_process() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("life::unmounting_ends_the_process", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");
        let process = Watched::serving(&machine, &dir);
        rustix::mount::unmount(&dir, UnmountFlags::empty()).unwrap();
        process.assert_ends();
        assert_nothing_left(&machine, &dir);

        let dir = machine.mount("app@v1", "ro");
        let process = Watched::serving(&machine, &dir);
        machine.umount(&dir.join("directory-0"));
        process.assert_ends();
        assert_nothing_left(&machine, &dir);
    });
}

#[test]
fn a_signal_unmounts_and_ends_the_process() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("life::a_signal_unmounts_and_ends_the_process", || {
        let machine = Machine::new();
        for signal in [Signal::TERM, Signal::INT] {
            let dir = machine.mount("app@v1", "ro");
            let process = Watched::serving(&machine, &dir);
            let open = fs::File::open(dir.join("hello")).unwrap();
            process.signal(signal);
            process.assert_ends();
            assert_nothing_left(&machine, &dir);
            drop(open);
        }
    });
}

#[test]
fn a_mount_in_use_stays_unless_it_is_unmounted_lazily() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(
        "life::a_mount_in_use_stays_unless_it_is_unmounted_lazily",
        || {
            let machine = Machine::new();
            let dir = machine.mount("app@v1", "ro");
            let process = Watched::serving(&machine, &dir);
            let path = dir.join("hello");
            let open = fs::File::open(&path).unwrap();

            let refused = unmount(&dir, UmountMode::WhenIdle, &machine.places).unwrap_err();
            assert!(refused.to_string().contains("in use"), "{refused}");
            assert!(is_mounted(&dir));

            unmount(&dir, UmountMode::Lazy, &machine.places).unwrap();
            assert!(!is_mounted(&dir));
            let mut bytes = [0; 5];
            std::os::unix::fs::FileExt::read_exact_at(&open, &mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"hello");
            drop(open);
            process.assert_ends();
            assert_nothing_left(&machine, &dir);
        },
    );
}

#[test]
fn a_killed_process_leaves_a_dead_mount_that_the_same_command_replaces() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "life::a_killed_process_leaves_a_dead_mount_that_the_same_command_replaces";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");
        let process = Watched::serving(&machine, &dir);
        process.signal(Signal::KILL);
        process.assert_ends();

        assert_eq!(rustix::fs::statfs(&dir).unwrap_err(), Errno::NOTCONN);
        let mounts = machine.mounts();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].state, MountState::Dead);

        let dir = machine.mount("app@v1", "ro");
        assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
        let mounts = machine.mounts();
        assert_eq!(mounts.len(), 1);
        machine.umount(&dir);

        let dir = machine.mount("app@v1", "ro");
        let process = Watched::serving(&machine, &dir);
        process.signal(Signal::KILL);
        process.assert_ends();
        machine.umount(&dir);
        assert!(!is_mounted(&dir));
    });
}

#[test]
fn what_another_user_mounted_over_us_stays() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("life::what_another_user_mounted_over_us_stays", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");
        let process = Watched::serving(&machine, &dir);
        rustix::mount::mount("theirs", &dir, "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(dir.join("theirs"), "").unwrap();

        process.signal(Signal::TERM);
        process.assert_ends();

        assert!(dir.join("theirs").exists());
        rustix::mount::unmount(&dir, UnmountFlags::empty()).unwrap();
        // Below it ours is dead, and the next mount replaces it.
        let dir = machine.mount("app@v1", "ro");
        machine.umount(&dir);
        assert_nothing_left(&machine, &dir);
    });
}

#[test]
fn twenty_mounts_at_once_are_listed_and_served() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("life::twenty_mounts_at_once_are_listed_and_served", || {
        let machine = Machine::new();
        let dirs: Vec<_> = (0..20)
            .map(|n| machine.directory(&format!("mnt {n}")))
            .collect();
        for dir in &dirs {
            machine.try_mount("app@v1", dir, "ro").unwrap();
        }
        let mounts = machine.mounts();
        assert_eq!(mounts.len(), dirs.len());
        for (mount, dir) in mounts.iter().zip(&dirs) {
            assert_eq!(&mount.entry.dir, dir);
            assert!(matches!(mount.state, MountState::Served(_)), "{mount:?}");
            assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
        }
        dirs.iter().for_each(|dir| machine.umount(dir));
        assert_nothing_left(&machine, &dirs[0]);
    });
}

#[test]
fn status_tells_what_is_mounted() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("life::status_tells_what_is_mounted", || {
        let machine = Machine::new();
        let dir = machine.mount("app@latest", "ro");
        let status = machine.status(&dir.join("directory-0"));
        assert_eq!(
            (status.source.as_str(), status.mode.as_str()),
            ("app@latest", "ro")
        );
        assert_eq!(
            (status.version.project.as_str(), status.version.version),
            ("app", 1)
        );
        assert_eq!(status.cache, machine.places.cache);
        assert!(status.log.unwrap().starts_with(&machine.places.state));
        assert!(machine.logs().contains("mounted"), "{}", machine.logs());
        machine.umount(&dir);
    });
}

#[test]
fn a_user_mounts_through_the_helper() {
    let needed = [
        require_root_and_fuse(),
        require_program("fusermount3"),
        require_program("setpriv"),
    ];
    if needed.iter().any(Result::is_err) {
        return;
    }
    in_private_namespace("life::a_user_mounts_through_the_helper", || {
        const USER: u32 = 65534;
        let as_user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let machine = Machine::new();
        machine.open_to_all();
        // The helper opens the device as the user; on some machines only root may.
        let device = machine.directory("dev").join("fuse");
        let mut make = Command::new("mknod");
        make.args(["-m", "666"])
            .arg(&device)
            .args(["c", "10", "229"]);
        assert!(make.status().unwrap().success());
        rustix::mount::mount_bind(&device, "/dev/fuse").unwrap();
        let dir = machine.directory("mnt");
        std::os::unix::fs::chown(&dir, Some(USER), Some(USER)).unwrap();
        let log = machine.places.state.join("log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let request = machine.request("app@v1", &dir, &format!("ro,log={}", log.display()));
        let root = machine.launcher();
        // The user may have no way to where this program was built.
        let program = std::env::current_exe().unwrap();
        let copy = machine.directory("bin").join("program");
        fs::copy(&program, &copy).unwrap();
        let reachable = |argument| match argument {
            built if built == program => copy.clone().into_os_string(),
            other => other,
        };
        let arguments = as_user
            .iter()
            .map(OsString::from)
            .chain([root.program.into()]);
        let launcher = Launcher {
            program: "setpriv".into(),
            arguments: arguments
                .chain(root.arguments.into_iter().map(reachable))
                .collect(),
        };
        lfsfs_mount::mount(&request, &launcher).unwrap();

        let mounts = mountinfo::read().unwrap();
        let seen = mountinfo::topmost(&mounts, &dir).unwrap();
        assert_eq!(
            (seen.kind.as_str(), seen.source.as_str()),
            ("fuse.lfsfs", "app@v1")
        );
        let cat = Command::new("setpriv")
            .args(as_user)
            .arg("cat")
            .arg(dir.join("hello"))
            .output();
        assert_eq!(cat.unwrap().stdout, b"hello\n");
        // No other user may look in, root included.
        assert!(fs::metadata(dir.join("hello")).is_err());
        rustix::mount::unmount(&dir, UnmountFlags::empty()).unwrap();
    });
}
