//! A full disk under the overlay: ENOSPC to the writer, nothing lost, and on it goes with space.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::requirements::{require_loop_devices, require_program};
use lfsfs_tests::{Numbers, eventually, in_namespace};

use crate::support::{assert_same_but_times, assert_version_is_mount, world_with_app};

const DISK_LEN: u64 = 64 * 1024 * 1024;
const FILES_MAX: u64 = 20_000;

/// Makes files of these lengths in both directories until the first says that it is full. Returns
/// how many it took.
fn fill(ours: &Path, local: &Path, name: &str, len: usize) -> u64 {
    for number in 0..FILES_MAX {
        let name = format!("{name}-{number}");
        let bytes = Numbers(number + 1).bytes(len);
        match fs::write(ours.join(&name), &bytes) {
            Ok(()) => fs::write(local.join(&name), &bytes).expect("a file"),
            Err(error) => {
                assert_full(&error);
                let left = ours.join(&name);
                let read = fs::read(&left).unwrap_or_default();
                assert!(bytes.starts_with(&read), "what was written is a part of it");
                // A file may be there without its bytes: two calls made it.
                fs::write(local.join(&name), read).expect("a file");
                if !left.exists() {
                    fs::remove_file(local.join(&name)).expect("a file");
                }
                return number;
            }
        }
    }
    FILES_MAX
}

fn assert_full(error: &io::Error) {
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
}

#[test]
fn the_writer_hears_of_it_and_nothing_is_lost() {
    if require_loop_devices().is_err() {
        return;
    }
    in_namespace(
        "full_disk::the_writer_hears_of_it_and_nothing_is_lost",
        || {
            let disk = LoopDisk::new(DISK_LEN).expect("a disk");
            let (world, local) = world_with_app(200);
            let options = format!("state={}", disk.path().join("state").display());
            let mount = world.mount_writable("app@v1", &options);
            let dir = mount.path();
            fs::write(dir.join("first"), "first").expect("a file");
            fs::write(local.join("first"), "first").expect("a file");
            disk.fill_up(2 * 1024 * 1024).expect("it fills up");

            let large = fill(dir, &local, "large", 100_000);
            assert!((1..100).contains(&large), "{large} files");
            // What is smaller than the room that is left still fits; then nothing does.
            let small = fill(dir, &local, "small", 10);
            assert!(small < FILES_MAX, "{small} files");
            for _ in 0..3 {
                assert_full(&fs::create_dir(dir.join("directory")).expect_err("it is full"));
                assert_full(&fs::write(dir.join("more"), "text").expect_err("it is full"));
            }
            assert_same_but_times(&local, dir);

            disk.free().expect("space");
            for root in [dir, &local] {
                fs::create_dir(root.join("directory")).expect("a directory");
                fs::write(root.join("directory/later"), "later").expect("a file");
                fs::remove_file(root.join("first")).expect("a file to remove");
            }
            assert_same_but_times(&local, dir);
            mount.kill_and_mount();
            assert_same_but_times(&local, dir);
            mount.commit("with space");
            assert_version_is_mount(&world, "app@v2", dir);
            mount.umount();
            drop(disk);
        },
    );
}

#[test]
fn changes_keep_to_their_limit_and_what_goes_makes_room() {
    in_namespace(
        "full_disk::changes_keep_to_their_limit_and_what_goes_makes_room",
        || {
            let (world, local) = world_with_app(20);
            let mount = world.mount_writable("app@v1", "overlay-size=2M");
            let dir = mount.path();
            let large = fill(dir, &local, "large", 100_000);
            assert!((15..21).contains(&large), "{large} files");
            let small = fill(dir, &local, "small", 1);
            assert!(small < FILES_MAX, "{small} files");
            let free = rustix::fs::statvfs(dir).expect("the file system").f_bavail;
            assert!(free <= 1, "df shows what is left: {free} blocks");
            assert_same_but_times(&local, dir);

            // What takes nothing goes on: other bytes in the same place, attributes, names.
            for root in [dir, &local] {
                fs::write(root.join("large-0"), vec![7; 100_000]).expect("as many bytes");
                rustix::fs::rename(root.join("large-1"), root.join("renamed")).expect("a new name");
                fs::remove_file(root.join("large-2")).expect("a file to remove");
                // The kernel tells the mount a moment later that no program has it open.
                let write = || fs::write(root.join("after"), vec![9; 90_000]).is_ok();
                assert!(
                    eventually(Duration::from_secs(10), write),
                    "there is room again"
                );
            }
            assert_same_but_times(&local, dir);
            mount.kill_and_mount();
            assert_full(&fs::write(dir.join("more"), vec![1; 100_000]).expect_err("it is full"));
            fs::remove_file(dir.join("more")).expect("a file without its bytes");
            assert_same_but_times(&local, dir);
            mount.commit("up to the limit");
            assert_version_is_mount(&world, "app@v2", dir);
            for root in [dir, &local] {
                fs::write(root.join("later"), vec![3; 1_900_000]).expect("all room is back");
            }
            assert_same_but_times(&local, dir);
            mount.umount();
        },
    );
}

/// Writes to a mapping and keeps it, without having the kernel send it.
const MAP: &str = r#"
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    with mmap.mmap(file.fileno(), 0) as mapping:
        for at in range(0, len(mapping), 4096):
            mapping[at:at + 4] = b"new!"
        print("mapped", flush=True)
        sys.stdin.read()
"#;

#[test]
fn looking_needs_no_space() {
    if require_loop_devices().is_err() || require_program("python3").is_err() {
        return;
    }
    in_namespace("full_disk::looking_needs_no_space", || {
        let disk = LoopDisk::new(DISK_LEN).expect("a disk");
        let (world, _) = world_with_app(20);
        let options = format!("state={}", disk.path().join("state").display());
        let mount = world.mount_writable("app@v1", &options);
        let mapped = mount.path().join("mapped");
        fs::write(&mapped, Numbers(1).bytes(4 * 1024 * 1024)).expect("a file");
        disk.fill_up(0).expect("it fills up");
        let mut program = Command::new("python3")
            .args(["-c", MAP])
            .arg(&mapped)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program");
        let mut told = String::new();
        let out = program.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut told).expect("a line");
        assert_eq!(told, "mapped\n");

        // What is in the mapping has no room; what is there is shown, and the rest is told.
        // The kernel may not know yet that a write failed when it says that it sent all, so the
        // warning may come with a later look.
        let is_told = || {
            let diff = mount.verb(["diff"]);
            assert_eq!(diff.ok(), "A mapped");
            diff.stderr().contains("cannot write what the kernel holds")
        };
        assert!(eventually(Duration::from_secs(20), is_told));
        assert_eq!(mount.diff(), ["A mapped"]);
        assert_eq!(mount.changes(), 1);
        drop(program.stdin.take());
        let _ = program.wait().expect("it ends");
        disk.free().expect("space");
        mount.umount();
        drop(disk);
    });
}
