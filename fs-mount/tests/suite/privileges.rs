//! Setuid, setgid and file capabilities after a change of content, as stat, exec and getxattr see
//! them at once. Each look asks for the mode alone: a kernel that keeps attributes asks the mount for
//! the rest anew after a write, and would bring the mode along.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use rustix::fs::{AtFlags, CWD, FallocateFlags, StatxFlags, copy_file_range, fallocate, statx};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::harness::Machine;

/// A user who may write to the file by its group, and nothing more.
const USER: u32 = 1001;
/// Revision 2, effective, `cap_net_raw` permitted.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A way to change content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Append,
    Overwrite,
    Direct,
    Fallocate,
    Punch,
    Truncate,
    CopyFileRange,
    Mapping,
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Append,
        Self::Overwrite,
        Self::Direct,
        Self::Fallocate,
        Self::Punch,
        Self::Truncate,
        Self::CopyFileRange,
        Self::Mapping,
    ];

    /// Returns true if a local file system clears the bits. It does not look at who wrote into a
    /// mapping.
    fn clears(self) -> bool {
        self != Self::Mapping
    }

    /// Changes a file in a way that leaves a program one that runs.
    fn change(self, path: &Path) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let len = file.metadata().unwrap().len();
        match self {
            Self::Append => {
                let mut file = OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(b"x").unwrap();
            }
            Self::Overwrite => file.write_all_at(b"\x7f", 0).unwrap(),
            Self::Direct => direct(path),
            Self::Fallocate => fallocate(&file, FallocateFlags::empty(), 0, 4096).unwrap(),
            Self::Punch => {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&file, punch, len - 1, 1).unwrap();
            }
            Self::Truncate => file.set_len(len + 1).unwrap(),
            Self::CopyFileRange => {
                let (mut from, mut to) = (0, len);
                let copied = copy_file_range(&file, Some(&mut from), &file, Some(&mut to), 100);
                assert_eq!(copied, Ok(100));
            }
            Self::Mapping => map(&file),
        }
    }
}

/// Reads a page of a file and writes it again, past the page cache.
fn direct(path: &Path) {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let file = options.open(path).unwrap();
    let mut bytes = vec![0; 8192];
    let start = bytes.as_ptr().align_offset(4096);
    let page = &mut bytes[start..start + 4096];
    file.read_exact_at(page, 0).unwrap();
    file.write_all_at(page, 0).unwrap();
}

/// Writes the byte that is there into a shared mapping, and waits until it is written back.
fn map(file: &File) {
    let (access, len) = (libc::PROT_READ | libc::PROT_WRITE, 4096);
    // SAFETY: the kernel chooses where, so no memory of this process is touched; the one byte that
    // is written lies in the mapping, which ends here.
    #[expect(unsafe_code, reason = "only mmap maps")]
    unsafe {
        let descriptor = file.as_raw_fd();
        let start = libc::mmap64(
            std::ptr::null_mut(),
            len,
            access,
            libc::MAP_SHARED,
            descriptor,
            0,
        );
        assert_ne!(start, libc::MAP_FAILED);
        start.cast::<u8>().write_volatile(0x7f);
        assert_eq!(libc::msync(start, len, libc::MS_SYNC), 0);
        assert_eq!(libc::munmap(start, len), 0);
    }
}

/// Changes a file as the other user, in a thread that is his from then on.
fn change_as_user(way: Way, path: &Path) {
    thread::scope(|scope| {
        let work = || {
            set_thread_groups(&[]).unwrap();
            set_thread_gid(Gid::from_raw(USER)).unwrap();
            set_thread_uid(Uid::from_raw(USER)).unwrap();
            way.change(path);
        };
        scope.spawn(work).join().unwrap();
    });
}

fn mode_alone(path: &Path) -> u32 {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MODE).unwrap();
    u32::from(found.stx_mode) & 0o7777
}

/// Returns the effective user that a program of `id` runs as.
fn user_of(program: &Path) -> u32 {
    let mut command = Command::new(program);
    let output = command.arg("-u").uid(USER).gid(USER).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
}

/// Makes a program that runs as root's user and as a group that the user is in.
fn privileged_copy(path: &Path, mode: u32) {
    fs::copy("/usr/bin/id", path).unwrap();
    chown(path, Some(0), Some(USER)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn each_way_clears(dir: &Path) {
    for way in Way::ALL {
        let path = dir.join(format!("program-{way:?}"));
        privileged_copy(&path, 0o6775);
        assert_eq!((mode_alone(&path), user_of(&path)), (0o6775, 0), "{way:?}");
        // Root may keep them.
        way.change(&path);
        assert_eq!((mode_alone(&path), user_of(&path)), (0o6775, 0), "{way:?}");
        // A second change finds nothing to clear.
        for _ in 0..2 {
            change_as_user(way, &path);
            let expected = if way.clears() {
                (0o775, USER)
            } else {
                (0o6775, 0)
            };
            assert_eq!((mode_alone(&path), user_of(&path)), expected, "{way:?}");
        }
    }
}

/// Setgid where no group may run the file is not about running it.
fn setgid_without_execution_stays(dir: &Path) {
    let path = dir.join("no-program");
    fs::write(&path, "text").unwrap();
    chown(&path, Some(0), Some(USER)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o6764)).unwrap();
    change_as_user(Way::Append, &path);
    assert_eq!(mode_alone(&path), 0o2764);
}

fn capabilities_go(dir: &Path) {
    for way in Way::ALL {
        let path = dir.join(format!("capable-{way:?}"));
        privileged_copy(&path, 0o775);
        xattr::set(&path, "security.capability", CAPABILITY).unwrap();
        assert!(xattr::get(&path, "security.capability").unwrap().is_some());
        change_as_user(way, &path);
        let left = xattr::get(&path, "security.capability").unwrap();
        assert!(left.is_none() || !way.clears(), "{way:?}: {left:?}");
    }
}

fn a_new_owner_clears(dir: &Path) {
    let path = dir.join("given");
    privileged_copy(&path, 0o6775);
    xattr::set(&path, "security.capability", CAPABILITY).unwrap();
    chown(&path, Some(USER), None).unwrap();
    assert_eq!(mode_alone(&path), 0o775);
    assert_eq!(xattr::get(&path, "security.capability").unwrap(), None);
}

fn check(name: &str, options: &str) {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(name, || {
        let machine = Machine::new();
        machine.open_to_all();
        let dir = machine.mount("app@v1", options);
        fs::create_dir(dir.join("made")).unwrap();
        let made = dir.join("made");
        each_way_clears(&made);
        setgid_without_execution_stays(&made);
        capabilities_go(&made);
        a_new_owner_clears(&made);
        machine.umount(&dir);
        assert!(!machine.logs().contains("ERROR"), "{}", machine.logs());
    });
}

#[test]
fn another_users_change_clears_them_for_stat_and_exec() {
    let name = "privileges::another_users_change_clears_them_for_stat_and_exec";
    check(name, "suid");
}

#[test]
fn another_users_change_clears_them_where_the_kernel_gathers_writes() {
    let name = "privileges::another_users_change_clears_them_where_the_kernel_gathers_writes";
    check(name, "suid,writeback");
}
