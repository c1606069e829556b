//! What the kernel is shown, and how often it asks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use lfsfs_mount::mountinfo;
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::{require_program, require_root_and_fuse};

use crate::harness::{DIRECTORIES, FILES, Machine, ROOT_FILES};

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let counts = counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    counts.collect()
}

/// Lists, stats, and follows links: all that a walk does.
fn walk(dir: &Path) -> u64 {
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        found += 1;
        if metadata.is_symlink() {
            fs::read_link(&path).unwrap();
        }
        if metadata.is_dir() {
            found += walk(&path);
        }
    }
    found
}

/// Opens, reads and closes every file but `broken`.
fn read_all(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_all(&entry.path());
        } else if kind.is_file() && entry.file_name() != "broken" {
            fs::read(entry.path()).unwrap();
        }
    }
}

#[test]
fn a_mount_shows_its_tree_and_its_name() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("kernel::a_mount_shows_its_tree_and_its_name", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");

        assert_eq!(fs::read_to_string(dir.join("hello")).unwrap(), "hello\n");
        let link = fs::read_link(dir.join("directory-0/link")).unwrap();
        assert_eq!(link, Path::new("file-0"));
        let metadata = dir.join("hello").metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mtime_nsec()), (1000, 123_456_789));
        assert_eq!(
            xattr::get(dir.join("hello"), "user.colour")
                .unwrap()
                .unwrap(),
            b"red"
        );
        let long = "n".repeat(300);
        let error = fs::metadata(dir.join(long)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
        assert!(fs::write(dir.join("hello"), "x").is_err());

        let mounts = mountinfo::read().unwrap();
        let seen = mountinfo::topmost(&mounts, &dir).unwrap();
        assert_eq!(
            (seen.kind.as_str(), seen.source.as_str()),
            ("fuse.lfsfs", "app@v1")
        );
        for option in ["ro", "nosuid", "nodev"] {
            assert!(seen.options.split(',').any(|it| it == option), "{seen:?}");
        }
        machine.umount(&dir);
    });
}

#[test]
fn a_second_pass_sends_no_request() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("kernel::a_second_pass_sends_no_request", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");

        let first_walk = machine.requests_of(&dir, || {
            assert_eq!(walk(&dir), ROOT_FILES + DIRECTORIES * (FILES + 2));
        });
        // A directory is read to its end, which is a request of its own. OPENDIR is asked once in
        // the life of a mount.
        let expected = [
            ("OPENDIR", 1),
            ("READDIRPLUS", 2 * (1 + DIRECTORIES)),
            ("READLINK", DIRECTORIES),
        ];
        assert_eq!(first_walk, counts(&expected));

        let first_read = machine.requests_of(&dir, || read_all(&dir));
        let expected = [("FLUSH", 1), ("OPEN", 1), ("READ", 1 + DIRECTORIES * FILES)];
        assert_eq!(first_read, counts(&expected));

        let missing = || assert!(!dir.join("directory-1/absent").exists());
        assert_eq!(machine.requests_of(&dir, missing), counts(&[("LOOKUP", 1)]));

        let second = machine.requests_of(&dir, || {
            walk(&dir);
            read_all(&dir);
            missing();
        });
        assert_eq!(second, BTreeMap::new());
        machine.umount(&dir);
    });
}

#[test]
fn without_xattrs_a_long_listing_sends_nothing_either() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace(
        "kernel::without_xattrs_a_long_listing_sends_nothing_either",
        || {
            let machine = Machine::new();
            let dir = machine.mount("app@v1", "ro,noxattr");
            let list = || {
                let status = Command::new("ls")
                    .arg("-lR")
                    .arg(&dir)
                    .output()
                    .unwrap()
                    .status;
                assert!(status.success());
            };
            list();
            assert_eq!(machine.requests_of(&dir, list), BTreeMap::new());
            let error = xattr::get(dir.join("hello"), "user.colour").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
            machine.umount(&dir);
        },
    );
}

#[test]
fn a_compiled_program_runs_and_keeps_its_set_user_id_bit_where_asked() {
    if require_root_and_fuse().is_err() || require_program("cc").is_err() {
        return;
    }
    let name = "kernel::a_compiled_program_runs_and_keeps_its_set_user_id_bit_where_asked";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let sources = machine.directory("sources");
        let code = "#include <stdio.h>\n#include <unistd.h>\n\
                    int main(void) { printf(\"%d\", (int)geteuid()); return 0; }\n";
        fs::write(sources.join("program.c"), code).unwrap();
        let program = sources.join("program");
        let compile = Command::new("cc")
            .arg(sources.join("program.c"))
            .arg("-o")
            .arg(&program)
            .status();
        assert!(compile.unwrap().success());
        let machine = machine.with_program(&program);
        let run = |path: &Path| {
            let output = Command::new(path).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };

        let dir = machine.mount("app@v1", "ro");
        assert_eq!(run(&dir.join("program")), "0");
        let mode = dir
            .join("program-suid")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o4755);
        assert_eq!(run(&dir.join("program-suid")), "0");
        machine.umount(&dir);

        let dir = machine.mount("app@v1", "ro,suid");
        assert_eq!(run(&dir.join("program-suid")), "1000");
        machine.umount(&dir);
    });
}

#[test]
fn a_panic_is_an_error_of_one_call_and_the_mount_lives_on() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "kernel::a_panic_is_an_error_of_one_call_and_the_mount_lives_on";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro");
        let error = fs::read(dir.join("broken")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        assert_eq!(
            fs::read_to_string(dir.join("directory-0/file-0"))
                .unwrap()
                .len(),
            400
        );
        machine.umount(&dir);
    });
}

#[test]
fn a_chosen_owner_is_shown() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("kernel::a_chosen_owner_is_shown", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "ro,uid=7,gid=8");
        let metadata = dir.join("directory-0/file-0").metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
        machine.umount(&dir);
    });
}

#[test]
fn a_writable_mount_settles_in_the_third_pass() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("kernel::a_writable_mount_settles_in_the_third_pass", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "");
        let pass = || {
            walk(&dir);
            read_all(&dir);
        };
        let assert_settles = |what: &str| {
            machine.requests_of(&dir, pass);
            // Reading made access times stale, and nothing else.
            let second = machine.requests_of(&dir, pass);
            let inodes = 1 + ROOT_FILES + DIRECTORIES * (FILES + 2) + 1;
            let others = second.keys().filter(|opcode| *opcode != "GETATTR").count();
            assert_eq!(others, 0, "{what}: {second:?}");
            let asked = second.get("GETATTR").copied().unwrap_or_default();
            assert!(asked <= inodes, "{what}: {second:?} for {inodes} inodes");
            assert_eq!(machine.requests_of(&dir, pass), counts(&[]), "{what}");
        };
        assert_settles("unchanged");
        for directory in 0..DIRECTORIES {
            fs::write(dir.join(format!("directory-{directory}/file-0")), "changed").unwrap();
        }
        fs::remove_file(dir.join("directory-3/file-1")).unwrap();
        fs::write(dir.join("directory-3/new"), "new").unwrap();
        assert_settles("changed");
        machine.umount(&dir);
    });
}

#[test]
fn a_new_file_costs_few_requests() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("kernel::a_new_file_costs_few_requests", || {
        let machine = Machine::new();
        let dir = machine.mount("app@v1", "");
        let make = |name: &str| fs::write(dir.join(name), "content").unwrap();
        make("first");
        let requests = machine.requests_of(&dir, || make("second"));
        // The kernel asks for the directory that the file before changed, and for a capability that
        // writing would take away.
        let expected = [("GETATTR", 1), ("LOOKUP", 1), ("MKNOD", 1), ("WRITE", 1)];
        let mut known = requests.clone();
        known.remove("GETXATTR");
        assert_eq!(known, counts(&expected), "{requests:?}");
        assert!(
            requests.get("GETXATTR").is_none_or(|count| *count <= 1),
            "{requests:?}"
        );
        machine.umount(&dir);
    });
}
