//! A large file that changes in one byte costs its neighbourhood.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lfsfs_tests::World;

const CHANGED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Makes a file without two equal blocks that compresses well: it is to be cheap.
fn write_large(path: &Path, len: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut state = 1_u64;
    let mut block = [0; 256];
    for _ in 0..len / 256 {
        for word in block[..32].chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_be_bytes());
        }
        file.write_all(&block).expect("room for a large file");
    }
    file.flush().expect("room for a large file");
}

/// Returns the bytes below a directory, as the file system counts them.
fn size_of(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .expect("a directory")
        .fold(0, |sum, entry| {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("an entry's metadata");
            let below = if metadata.is_dir() {
                size_of(&entry.path())
            } else {
                metadata.len()
            };
            sum + below
        })
}

fn assert_one_byte_costs_its_neighbourhood(len: u64) {
    let world = World::new();
    let tree = world.make_dir("tree");
    let file = tree.join("large");
    write_large(&file, len);
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let first = world.import_json(&tree, "app", &[]);
    assert_eq!(first["bytes_read"], len, "{first}");
    for (version, at) in [(2, len / 2 + 12_345), (3, 0)] {
        let before = size_of(world.data());
        let opened = File::options().write(true).open(&file).expect("the file");
        opened.write_all_at(&[0xa5], at).expect("a byte");
        let report = world.import_json(&tree, "app", &[]);
        assert_eq!(report["version"], version, "{report}");
        let sent = report["bytes_sent"].as_u64().expect("a number");
        assert!(sent > 0 && sent <= CHANGED_BYTES_MAX, "{report}");
        let stored = size_of(world.data()).saturating_sub(before);
        assert!(stored <= CHANGED_BYTES_MAX, "{stored} bytes stored");
    }
    let copied = world.lfsfs(["cat", "app@v3", "large"]);
    let is_same = copied.stdout_bytes() == fs::read(&file).expect("the file");
    assert!(is_same, "the third version has other bytes");
}

#[test]
fn one_byte_changed_in_a_file_of_a_gigabyte() {
    assert_one_byte_costs_its_neighbourhood(1_000_000_000 / 256 * 256);
}
