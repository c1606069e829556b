//! copy_file_range in a mount: no byte is copied, and each file stays its own.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lfsfs_tests::{Mounted, Numbers, World, in_namespace, requests_of, walk};
use rustix::io::Errno;

const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// Copies from one file to another, and returns how many bytes.
fn copy(from: &File, offset: u64, to: &File, at: u64, len: u64) -> Result<u64, Errno> {
    let (mut offset, mut at, mut left) = (offset, at, len);
    while left > 0 {
        let part = usize::try_from(left).expect("64 bits");
        let copied = rustix::fs::copy_file_range(from, Some(&mut offset), to, Some(&mut at), part)?;
        if copied == 0 {
            break;
        }
        left -= copied as u64;
    }
    Ok(len - left)
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true);
    options.open(path).expect("a call")
}

fn bytes_at(path: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = File::open(path).expect("a call");
    file.read_exact_at(&mut bytes, offset).expect("a call");
    bytes
}

/// Returns the length of all files below a directory.
fn len_of(dir: &Path) -> u64 {
    walk(dir).into_iter().map(|(_, it)| it.len()).sum()
}

/// Writes to files that share bytes: what comes later is in one of them alone, also after a kill.
fn write_to_each_and_kill(mount: &Mounted<'_>, noise: &[u8], made: &[u8]) {
    let at = |name: &str| mount.path().join(name);
    let offset = GIB - 5;
    open(&at("again"))
        .write_all_at(b"again", offset)
        .expect("a call");
    open(&at("base")).write_all_at(b"base", 10).expect("a call");
    open(&at("made")).write_all_at(b"made", 20).expect("a call");
    open(&at("mine")).write_all_at(b"mine", 30).expect("a call");
    mount.kill_and_mount();
    let end = noise[8 * MIB - 5..].to_vec();
    let beginning = |name: &str| bytes_at(&at(name), 0, 40);
    let with = |bytes: &[u8], at: usize, part: &[u8]| {
        let mut bytes = bytes[..40].to_vec();
        bytes[at..at + part.len()].copy_from_slice(part);
        bytes
    };
    assert_eq!(bytes_at(&at("again"), offset, 5), b"again");
    for name in ["base", "whole"] {
        assert_eq!(bytes_at(&at(name), offset, 5), end, "{name}");
    }
    assert_eq!(beginning("base"), with(noise, 10, b"base"));
    for name in ["whole", "again"] {
        assert_eq!(beginning(name), noise[..40], "{name}");
    }
    assert_eq!(beginning("made"), with(made, 20, b"made"));
    assert_eq!(beginning("mine"), with(made, 30, b"mine"));
    assert!(bytes_at(&at("mine"), 40, 64 * MIB - 40) == made[40..]);
    assert!(bytes_at(&at("whole"), GIB / 2, 8 * MIB) == noise);
}

#[test]
fn a_gibibyte_is_copied_without_a_byte_written() {
    let name = "copies::a_gibibyte_is_copied_without_a_byte_written";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        // Noise that comes again, so that it is fetched soon.
        let noise = Numbers(1).bytes(8 * MIB);
        let file = File::create(tree.join("base")).expect("a call");
        for part in 0..GIB / (8 * MIB as u64) {
            file.write_all_at(&noise, part * 8 * MIB as u64)
                .expect("a call");
        }
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let mount = world.mount_writable("app@v1", "noupload");
        let at = |name: &str| mount.path().join(name);
        let made = Numbers(2).bytes(64 * MIB);
        fs::write(at("made"), &made).expect("a call");
        let overlays = world.path("state");
        let before = len_of(&overlays);

        let work = || {
            for (from, to, len) in [
                ("base", "whole", GIB),
                ("whole", "again", GIB),
                ("made", "mine", 64 * MIB as u64),
            ] {
                let target = File::create(at(to)).expect("a call");
                assert_eq!(copy(&open(&at(from)), 0, &target, 0, len), Ok(len));
            }
        };
        let requests = requests_of(&mount, work);
        assert_eq!(requests.get("COPY_FILE_RANGE"), Some(&3), "{requests:?}");
        assert!(
            !requests.contains_key("READ") && !requests.contains_key("WRITE"),
            "{requests:?}"
        );
        let after = len_of(&overlays);
        assert!(after - before < 100_000, "{} bytes", after - before);

        write_to_each_and_kill(&mount, &noise, &made);

        // A part of a file, in the same one.
        let file = open(&at("made"));
        assert_eq!(
            copy(&file, 0, &file, 10, 100),
            Err(Errno::INVAL),
            "they overlap"
        );
        assert_eq!(copy(&file, 0, &file, 64 * MIB as u64, 1000), Ok(1000));
        assert_eq!(
            bytes_at(&at("made"), 64 * MIB as u64, 40),
            bytes_at(&at("made"), 0, 40)
        );
        drop(file);
        mount.commit("copies");
        assert_eq!(bytes_at(&at("again"), GIB - 5, 5), b"again");
        mount.umount();
        let version = world.mount("app@v2", "");
        assert!(bytes_at(&version.path().join("mine"), 40, 64 * MIB - 40) == made[40..]);
        assert_eq!(
            bytes_at(&version.path().join("again"), GIB - 5, 5),
            b"again"
        );
        version.umount();
    });
}
