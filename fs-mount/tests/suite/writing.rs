//! Changes through the kernel, each operation at least once.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, RenameFlags, Timespec, Timestamps, fallocate,
    mknodat, renameat_with, utimensat,
};
use rustix::io::Errno;

use crate::harness::{Machine, rename};

/// Runs `work` in a writable mount, and `check` there, and once more after a remount.
fn in_mount(name: &str, options: &str, work: impl Fn(&Path), check: impl Fn(&Path)) {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", options);
        work(&dir);
        check(&dir);
        machine.umount(&dir);
        let dir = machine.mount("app@v1", options);
        check(&dir);
        machine.umount(&dir);
        assert!(!machine.logs().contains("ERROR"), "{}", machine.logs());
    });
}

fn mode_of(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn files_are_made_written_and_removed() {
    let work = |dir: &Path| {
        let new = dir.join("new");
        fs::write(&new, "first\n").unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "first\n");
        let mut appending = OpenOptions::new().append(true).open(&new).unwrap();
        appending.write_all(b"second\n").unwrap();
        assert_eq!(
            errno(OpenOptions::new().write(true).create_new(true).open(&new)),
            libc::EEXIST
        );

        // A file of the version: changed in the middle, longer than one request, cut, and replaced.
        let old = dir.join("directory-0/file-1");
        let file = OpenOptions::new().write(true).open(&old).unwrap();
        file.write_all_at(b"X", 100).unwrap();
        let large = vec![7; 3 << 20];
        fs::write(dir.join("directory-0/file-2"), &large).unwrap();
        let cut = OpenOptions::new()
            .write(true)
            .open(dir.join("directory-0/file-3"))
            .unwrap();
        cut.set_len(3).unwrap();
        cut.set_len(6).unwrap();
        File::create(dir.join("directory-0/file-4")).unwrap();
        fs::remove_file(dir.join("directory-0/file-5")).unwrap();
        assert_eq!(
            errno(fs::remove_file(dir.join("directory-0/file-5"))),
            libc::ENOENT
        );
        assert_eq!(
            errno(fs::write(dir.join("n".repeat(256)), "")),
            libc::ENAMETOOLONG
        );
    };
    let check = |dir: &Path| {
        assert_eq!(
            fs::read_to_string(dir.join("new")).unwrap(),
            "first\nsecond\n"
        );
        let directory = dir.join("directory-0");
        let mut expected = "0/1\n".repeat(100).into_bytes();
        expected[100] = b'X';
        assert_eq!(fs::read(directory.join("file-1")).unwrap(), expected);
        assert_eq!(
            fs::read(directory.join("file-2")).unwrap(),
            vec![7; 3 << 20]
        );
        assert_eq!(fs::read(directory.join("file-3")).unwrap(), b"0/3\0\0\0");
        assert_eq!(fs::read(directory.join("file-4")).unwrap(), b"");
        assert!(!directory.join("file-5").exists());
        assert!(!names(&directory).contains(&"file-5".to_owned()));
        assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
    };
    in_mount(
        "writing::files_are_made_written_and_removed",
        "",
        work,
        check,
    );
}

#[test]
fn names_move_as_posix_wants() {
    let work = |dir: &Path| {
        let at = |name: &str| dir.join(name);
        let rename_with =
            |from: &str, to: &str, flags| renameat_with(CWD, at(from), CWD, at(to), flags);
        rename(at("hello"), at("directory-1/moved")).unwrap();
        rename(at("directory-0/file-0"), at("directory-0/file-1")).unwrap();
        rename(at("directory-2"), at("directory-3/inner")).unwrap();
        assert_eq!(
            errno(rename(at("directory-3"), at("directory-3/inner/x"))),
            libc::EINVAL
        );
        assert_eq!(
            errno(rename(at("directory-4"), at("directory-5"))),
            libc::ENOTEMPTY
        );
        let noreplace = rename_with(
            "directory-4/file-0",
            "directory-4/file-1",
            RenameFlags::NOREPLACE,
        );
        assert_eq!(noreplace, Err(Errno::EXIST));
        rename_with(
            "directory-4/file-0",
            "directory-4/new",
            RenameFlags::NOREPLACE,
        )
        .unwrap();
        rename_with("directory-6", "directory-5/file-0", RenameFlags::EXCHANGE).unwrap();
        fs::create_dir(at("made")).unwrap();
        fs::create_dir(at("made/deep")).unwrap();
        assert_eq!(errno(fs::remove_dir(at("made"))), libc::ENOTEMPTY);
        fs::remove_dir(at("made/deep")).unwrap();
        rename(at("directory-7"), at("made")).unwrap();
        fs::remove_dir_all(at("directory-8")).unwrap();
    };
    let check = |dir: &Path| {
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read("directory-1/moved"), "hello\n");
        assert!(!dir.join("hello").exists());
        assert_eq!(read("directory-0/file-1"), "0/0\n".repeat(100));
        assert!(!dir.join("directory-0/file-0").exists());
        assert_eq!(read("directory-3/inner/file-9"), "2/9\n".repeat(100));
        assert_eq!(read("directory-4/new"), "4/0\n".repeat(100));
        assert_eq!(read("directory-5/file-0/file-7"), "6/7\n".repeat(100));
        assert_eq!(read("directory-6"), "5/0\n".repeat(100));
        assert_eq!(read("made/file-0"), "7/0\n".repeat(100));
        assert!(!dir.join("directory-7").exists() && !dir.join("directory-8").exists());
    };
    in_mount("writing::names_move_as_posix_wants", "", work, check);
}

#[test]
fn links_and_special_files_are_made() {
    let work = |dir: &Path| {
        let at = |name: &str| dir.join(name);
        std::os::unix::fs::symlink("hello", at("symlink")).unwrap();
        fs::hard_link(at("hello"), at("directory-0/linked")).unwrap();
        fs::write(at("directory-0/linked"), "both\n").unwrap();
        assert_eq!(
            errno(fs::hard_link(at("directory-0"), at("x"))),
            libc::EPERM
        );
        let make = |name: &str, kind, device| {
            mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
        };
        make("fifo", FileType::Fifo, 0);
        make("socket", FileType::Socket, 0);
        make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        make(
            "disk",
            FileType::BlockDevice,
            rustix::fs::makedev(259, 70_000),
        );
    };
    let check = |dir: &Path| {
        let stat = |name: &str| dir.join(name).symlink_metadata().unwrap();
        assert_eq!(
            fs::read_link(dir.join("symlink")).unwrap(),
            Path::new("hello")
        );
        assert_eq!(fs::read_to_string(dir.join("symlink")).unwrap(), "both\n");
        let (one, other) = (stat("hello"), stat("directory-0/linked"));
        assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
        assert!(stat("fifo").file_type().is_fifo() && stat("socket").file_type().is_socket());
        assert!(stat("null").file_type().is_char_device());
        assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
        assert!(stat("disk").file_type().is_block_device());
        assert_eq!(stat("disk").rdev(), rustix::fs::makedev(259, 70_000));
        assert_eq!(mode_of(&dir.join("fifo")), 0o640);
    };
    in_mount("writing::links_and_special_files_are_made", "", work, check);
}

#[test]
fn attributes_are_set() {
    const BEFORE_1970: Timespec = Timespec {
        tv_sec: -86_400,
        tv_nsec: 300,
    };
    /// Version 2; owner rw, group r, others r.
    const ACCESS_LIST: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\
        \x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    const LATE: Timespec = Timespec {
        tv_sec: 4_000_000_000,
        tv_nsec: 999_999_999,
    };
    let work = |dir: &Path| {
        let at = |name: &str| dir.join(name);
        fs::set_permissions(at("hello"), Permissions::from_mode(0o4711)).unwrap();
        std::os::unix::fs::lchown(at("directory-0/link"), Some(5), Some(6)).unwrap();
        std::os::unix::fs::chown(at("directory-1"), Some(7), Some(8)).unwrap();
        fs::set_permissions(at("directory-1"), Permissions::from_mode(0o2775)).unwrap();
        for (name, time) in [
            ("directory-0/file-0", BEFORE_1970),
            ("directory-0/file-1", LATE),
        ] {
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, at(name), &times, AtFlags::empty()).unwrap();
        }
        // What is made below a setgid directory has its group; a directory the bit too.
        fs::create_dir(at("directory-1/made")).unwrap();
        fs::write(at("directory-1/made/file"), "").unwrap();
        xattr::set(at("hello"), "user.colour", b"blue").unwrap();
        xattr::set(at("directory-0"), "user.new", b"1").unwrap();
        xattr::set(at("directory-0"), "user.gone", b"1").unwrap();
        xattr::remove(at("directory-0"), "user.gone").unwrap();
        assert_eq!(
            errno(xattr::remove(at("directory-0"), "user.gone")),
            libc::ENODATA
        );
        let acl = xattr::set(at("hello"), "system.posix_acl_access", ACCESS_LIST);
        assert_eq!(errno(acl), libc::EOPNOTSUPP);
    };
    let check = |dir: &Path| {
        let stat = |name: &str| dir.join(name).symlink_metadata().unwrap();
        assert_eq!(mode_of(&dir.join("hello")), 0o4711);
        let link = stat("directory-0/link");
        assert_eq!((link.uid(), link.gid()), (5, 6));
        let made = stat("directory-1/made");
        assert_eq!((made.gid(), made.mode() & 0o2000), (8, 0o2000));
        assert_eq!(stat("directory-1/made/file").gid(), 8);
        for (name, time) in [
            ("directory-0/file-0", BEFORE_1970),
            ("directory-0/file-1", LATE),
        ] {
            let found = stat(name);
            assert_eq!(
                (found.mtime(), found.mtime_nsec()),
                (time.tv_sec, time.tv_nsec)
            );
        }
        let value = |name: &str, key: &str| xattr::get(dir.join(name), key).unwrap();
        assert_eq!(value("hello", "user.colour").as_deref(), Some(&b"blue"[..]));
        assert_eq!(value("directory-0", "user.new").as_deref(), Some(&b"1"[..]));
        assert_eq!(value("directory-0", "user.gone"), None);
    };
    in_mount("writing::attributes_are_set", "", work, check);
}

#[test]
fn room_and_holes_are_made() {
    let work = |dir: &Path| {
        let open = |name: &str| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(dir.join(name))
                .unwrap()
        };
        let file = open("directory-0/file-0");
        fallocate(
            &file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            1,
            2,
        )
        .unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, 500).unwrap();
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 5000).unwrap();
        let collapse = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
        assert_eq!(collapse, Err(Errno::OPNOTSUPP));
        // A file of the version is one run of data.
        let mut file = open("directory-0/file-1");
        assert_eq!(
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)),
            Ok(400)
        );
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut copy = File::create(dir.join("copy")).unwrap();
        assert_eq!(std::io::copy(&mut file, &mut copy).unwrap(), 400);
        copy.sync_all().unwrap();
        File::open(dir).unwrap().sync_all().unwrap();
    };
    let check = |dir: &Path| {
        let mut expected = "0/0\n".repeat(100).into_bytes();
        expected[1..3].fill(0);
        expected.resize(500, 0);
        assert_eq!(fs::read(dir.join("directory-0/file-0")).unwrap(), expected);
        assert_eq!(
            fs::read_to_string(dir.join("copy")).unwrap(),
            "0/1\n".repeat(100)
        );
    };
    in_mount("writing::room_and_holes_are_made", "", work, check);
}

#[test]
fn what_is_open_lives_without_a_name() {
    let work = |dir: &Path| {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("hello"))
            .unwrap();
        fs::remove_file(dir.join("hello")).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        file.write_all(b"HE").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "HEllo\n");
        let removed = dir.join("empty");
        fs::create_dir(&removed).unwrap();
        let open = File::open(&removed).unwrap();
        fs::remove_dir(&removed).unwrap();
        let made = rustix::fs::mkdirat(&open, "x", Mode::RWXU);
        assert_eq!(made, Err(Errno::NOENT));
    };
    let check = |dir: &Path| {
        assert!(!dir.join("hello").exists() && !dir.join("empty").exists());
    };
    in_mount(
        "writing::what_is_open_lives_without_a_name",
        "",
        work,
        check,
    );
}
