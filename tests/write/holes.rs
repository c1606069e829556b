//! Holes of files: where they are, and what they take, in a mount and in versions.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use lfsfs_tests::{World, in_namespace};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::support::write;

const GIB: u64 = 1 << 30;
/// Where the one byte of the sparse file is.
const AT: u64 = 5 * GIB + 123;
const SIZE: u64 = 10 * GIB;

/// Runs `work` in a mount, and `check` there, and once more after a remount.
fn in_mount(name: &str, options: &str, work: impl Fn(&Path), check: impl Fn(&Path)) {
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        for file in ["longer", "same"] {
            write(&tree.join(file), "0/1\n".repeat(100));
        }
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let mount = world.mount_writable("app@v1", options);
        work(mount.path());
        check(mount.path());
        mount.remount();
        check(mount.path());
        mount.umount();
    });
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a call")
}

fn data(file: &File, offset: u64) -> Result<u64, Errno> {
    seek(file, SeekFrom::Data(offset))
}

fn hole(file: &File, offset: u64) -> Result<u64, Errno> {
    seek(file, SeekFrom::Hole(offset))
}

fn make_sparse(path: &Path) {
    let file = File::create_new(path).expect("a call");
    file.set_len(SIZE).expect("a call");
    file.write_all_at(b"x", AT).expect("a call");
}

#[test]
fn a_sparse_file_takes_what_is_in_it_and_is_copied_as_fast() {
    let name = "holes::a_sparse_file_takes_what_is_in_it_and_is_copied_as_fast";
    let work = |dir: &Path| {
        make_sparse(&dir.join("sparse"));
        // It reads and writes what is no hole, or it would be at it for a minute and fill the disk.
        let mut copy = Command::new("cp");
        copy.arg(dir.join("sparse")).arg(dir.join("copy"));
        assert!(copy.status().expect("a call").success());
        fs::create_dir(dir.join("empty")).expect("a call");
        File::create(dir.join("empty/long"))
            .expect("a call")
            .set_len(GIB)
            .expect("a call");
    };
    let check = |dir: &Path| {
        for name in ["sparse", "copy"] {
            let file = open(&dir.join(name));
            let metadata = file.metadata().expect("a call");
            assert_eq!(metadata.len(), SIZE, "{name}");
            assert!(
                metadata.blocks() <= 4096,
                "{name}: {} blocks",
                metadata.blocks()
            );
            let start = data(&file, 0).expect("a call");
            assert!(
                start <= AT && hole(&file, AT).expect("a call") > AT,
                "{name}"
            );
            assert_eq!((hole(&file, 0), hole(&file, 7)), (Ok(0), Ok(7)));
            let behind = hole(&file, start).expect("a call");
            assert_eq!(data(&file, behind), Err(Errno::NXIO), "{name}");
            assert_eq!(hole(&file, SIZE), Err(Errno::NXIO));
            assert_eq!(data(&file, SIZE), Err(Errno::NXIO));
            let mut byte = [0; 3];
            file.read_exact_at(&mut byte, AT - 1).expect("a call");
            assert_eq!(&byte, b"\0x\0", "{name}");
        }
        // tar takes a file without blocks for a hole and does not look at it.
        let long = dir.join("empty/long").metadata().expect("a call");
        assert!((1..=8).contains(&long.blocks()), "{}", long.blocks());
        // What is empty takes nothing.
        File::create(dir.join("nothing")).expect("a call");
        assert_eq!(dir.join("nothing").metadata().expect("a call").blocks(), 0);
    };
    in_mount(name, "", work, check);
}

#[test]
fn ranges_made_zeros_are_holes_and_files_of_the_version_one_run_of_data() {
    let name = "holes::ranges_made_zeros_are_holes_and_files_of_the_version_one_run_of_data";
    let work = |dir: &Path| {
        fs::write(dir.join("made"), vec![7; 100_000]).expect("a call");
        let file = open(&dir.join("made"));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, punch, 20_000, 30_000).expect("a call");
        fallocate(&file, FallocateFlags::ZERO_RANGE, 90_000, 20_000).expect("a call");
        // One of the version that became longer.
        let file = open(&dir.join("longer"));
        file.set_len(1_000_000).expect("a call");
    };
    let check = |dir: &Path| {
        let file = open(&dir.join("made"));
        assert_eq!((data(&file, 5), hole(&file, 5)), (Ok(5), Ok(20_000)));
        assert_eq!(
            (data(&file, 30_000), hole(&file, 30_000)),
            (Ok(50_000), Ok(30_000))
        );
        assert_eq!(
            (data(&file, 90_000), hole(&file, 60_000)),
            (Err(Errno::NXIO), Ok(90_000))
        );
        assert_eq!(file.metadata().expect("a call").len(), 110_000);
        assert_eq!(
            file.metadata().expect("a call").blocks(),
            60_000_u64.div_ceil(512)
        );
        let file = open(&dir.join("longer"));
        assert_eq!((data(&file, 0), hole(&file, 0)), (Ok(0), Ok(400)));
        assert_eq!(data(&file, 400), Err(Errno::NXIO));
        let file = open(&dir.join("same"));
        assert_eq!((data(&file, 9), hole(&file, 9)), (Ok(9), Ok(400)));
        assert_eq!(hole(&file, 400), Err(Errno::NXIO));
    };
    in_mount(name, "", work, check);
}

/// The longest piece that a content is cut into: the mount tells holes of a version to that length.
const PIECE: u64 = 4 << 20;
/// What a sparse file with one byte may take: the piece with the byte, and what is left at the end.
const BLOCKS_MAX: u64 = 3 * PIECE / 512;

/// Checks a file with one byte that a version has.
#[track_caller]
fn check_sparse(path: &Path) {
    let file = File::open(path).expect("a call");
    let start = data(&file, 0).expect("a call");
    assert!(start > AT - PIECE && start <= AT, "{start}");
    let end = hole(&file, AT).expect("a call");
    assert!(end > AT && end <= AT + PIECE, "{end}");
    assert_eq!(hole(&file, 5), Ok(5));
    let blocks = file.metadata().expect("a call").blocks();
    assert!((1..=BLOCKS_MAX).contains(&blocks), "{blocks} blocks");
    let mut bytes = vec![7; 4096];
    for at in [0, AT - 7, AT - 3 * PIECE, SIZE - 4096] {
        file.read_exact_at(&mut bytes, at).expect("a call");
        let is_there = bytes.iter().position(|byte| *byte != 0);
        assert_eq!(is_there, (at == AT - 7).then_some(7), "{at}");
    }
}

/// Returns how much the files below a directory take.
fn taken(dir: &Path) -> u64 {
    let files = lfsfs_tests::walk(dir).into_iter();
    files.map(|(_, metadata)| metadata.blocks() * 512).sum()
}

#[test]
fn a_sparse_file_costs_what_is_in_it_from_the_copy_to_the_export() {
    let name = "holes::a_sparse_file_costs_what_is_in_it_from_the_copy_to_the_export";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        write(&tree.join("file"), "in the version");
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let outside = world.make_dir("outside").join("sparse");
        make_sparse(&outside);
        let copy = |from: &Path, to: &Path| {
            let status = Command::new("cp").arg(from).arg(to).status();
            assert!(status.expect("a call").success());
            let blocks = to.metadata().expect("a call").blocks();
            assert!(blocks <= BLOCKS_MAX, "{}: {blocks} blocks", to.display());
        };

        let mount = world.mount_writable("app@v1", "");
        copy(&outside, &mount.path().join("sparse"));
        let committed = mount.commit("a sparse file");
        assert!(
            committed["bytes_sent"].as_u64().expect("a number") < 100_000,
            "{committed}"
        );
        check_sparse(&mount.path().join("sparse"));
        mount.remount();
        // As long as the holes are not known there seems to be one: that is what programs go by.
        let blocks = mount
            .path()
            .join("sparse")
            .metadata()
            .expect("a call")
            .blocks();
        assert!(blocks < SIZE / 512, "{blocks}");
        copy(&mount.path().join("sparse"), &world.path("out"));
        check_sparse(&mount.path().join("sparse"));
        let mut tar = Command::new("sh");
        let _ = tar
            .args(["-c", "tar -cSf - sparse | wc -c"])
            .current_dir(mount.path());
        let output = tar.output().expect("a call").stdout;
        let len: u64 = String::from_utf8_lossy(&output)
            .trim()
            .parse()
            .expect("a number");
        assert!(len < 4 * PIECE, "{len}");
        // One of the version that was changed: the holes below are still told.
        open(&mount.path().join("sparse"))
            .write_all_at(b"y", 3)
            .expect("a call");
        let file = open(&mount.path().join("sparse"));
        assert_eq!(
            (data(&file, 0), data(&file, 3), hole(&file, 3)),
            (Ok(3), Ok(3), Ok(4))
        );
        assert!(file.metadata().expect("a call").blocks() <= BLOCKS_MAX);
        copy(&mount.path().join("sparse"), &mount.path().join("copy"));
        let committed = mount.commit("two sparse files");
        assert!(
            committed["bytes_sent"].as_u64().expect("a number") < 100_000,
            "{committed}"
        );
        drop(file);
        mount.umount();
        let state = taken(&world.path("state"));
        assert!(state < 3 * PIECE, "{state} bytes");

        take_out(&world);
    });
}

/// Takes the file out of the version in each way, and into another project.
fn take_out(world: &World) {
    let lfsfs = |words: &[&std::ffi::OsStr]| world.lfsfs(words).ok();
    let (exported, got) = (world.path("exported"), world.path("got"));
    let _ = lfsfs(&["export".as_ref(), "app@v2".as_ref(), exported.as_ref()]);
    let _ = lfsfs(&["get".as_ref(), "app@v2:sparse".as_ref(), got.as_ref()]);
    let rebuilt = world.path("rebuilt");
    let _ = lfsfs(&["rebuild".as_ref(), "app@v2".as_ref(), rebuilt.as_ref()]);
    let _ = lfsfs(&["rebuild".as_ref(), "app@v3".as_ref(), rebuilt.as_ref()]);
    for path in [&exported.join("sparse"), &got, &rebuilt.join("sparse")] {
        let metadata = path.metadata().expect("a call");
        assert_eq!(metadata.len(), SIZE, "{}", path.display());
        assert!(metadata.blocks() <= 512, "{}: {metadata:?}", path.display());
    }
    let imported = world.import_json(&exported, "other", &["--create"]);
    assert!(
        imported["bytes_read"].as_u64().expect("a number") <= 4 * PIECE,
        "{imported}"
    );
    assert_eq!(imported["contents_sent"], 0, "{imported}");
}

/// Writes a byte into a shared mapping of a page, which goes on to exist for `meanwhile`.
fn map(file: &File, offset: u64, meanwhile: impl FnOnce()) {
    let (access, len) = (libc::PROT_READ | libc::PROT_WRITE, 4096);
    let offset = i64::try_from(offset).expect("a call");
    // SAFETY: the kernel chooses where, so no memory of this process is touched; the one byte that
    // is written lies in the mapping, which ends here.
    #[expect(unsafe_code, reason = "only mmap maps")]
    unsafe {
        let descriptor = file.as_raw_fd();
        let shared = libc::MAP_SHARED;
        let start = libc::mmap64(
            std::ptr::null_mut(),
            len,
            access,
            shared,
            descriptor,
            offset,
        );
        assert_ne!(start, libc::MAP_FAILED);
        start.cast::<u8>().write_volatile(b'm');
        meanwhile();
        assert_eq!(start.cast::<u8>().read_volatile(), b'm');
        assert_eq!(libc::munmap(start, len), 0);
    }
}

#[test]
fn what_a_mapping_wrote_into_a_hole_is_data_at_once() {
    let name = "holes::what_a_mapping_wrote_into_a_hole_is_data_at_once";
    let work = |dir: &Path| {
        make_sparse(&dir.join("sparse"));
        let file = open(&dir.join("sparse"));
        map(&file, GIB, || {
            assert_eq!(data(&file, 0), Ok(GIB));
            assert_eq!(hole(&file, GIB), Ok(GIB + 4096));
        });
    };
    let check = |dir: &Path| {
        let file = open(&dir.join("sparse"));
        assert_eq!((data(&file, 0), data(&file, GIB + 4096)), (Ok(GIB), Ok(AT)));
    };
    in_mount(name, "", work, check);
}

#[test]
fn where_the_kernel_gathers_writes_no_data_is_taken_for_a_hole() {
    let name = "holes::where_the_kernel_gathers_writes_no_data_is_taken_for_a_hole";
    let work = |dir: &Path| {
        let file = File::create_new(dir.join("made")).expect("a call");
        file.write_all_at(b"text", 0).expect("a call");
        let file = open(&dir.join("made"));
        assert_eq!((data(&file, 0), hole(&file, 0)), (Ok(0), Ok(4)));
    };
    let check = |dir: &Path| assert_eq!(fs::read(dir.join("made")).expect("a call"), b"text");
    in_mount(name, "writeback", work, check);
}
