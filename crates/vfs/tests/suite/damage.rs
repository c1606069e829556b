//! Flipped bits and cut files: detected and fetched again, never served.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lfsfs_remote::memory::{Faults, Tamper, plain};
use lfsfs_remote::{MemoryRemote, RemoteError};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::Kind;
use lfsfs_vfs::VfsError;

use crate::support::{CHUNK_LEN, Setup, find, sample, walk};

fn tamper(setup: &Setup, tamper: Tamper) {
    setup.remote.set_faults(Faults {
        tamper: Some(tamper),
        ..Faults::default()
    });
}

#[tokio::test]
async fn a_node_with_damage_is_left_for_another() {
    let setup = Setup::new();
    let whole = walk(&setup.mount().await).await.unwrap();
    let count = AtomicU64::new(0);
    tamper(
        &setup,
        Arc::new(move |location, _, mut bytes| {
            if location.nodes[0].starts_with("first") {
                let turn = count.fetch_add(977, Ordering::Relaxed);
                let position = usize::try_from(turn).unwrap() % bytes.len();
                bytes[position] ^= 4;
            }
            Ok(bytes)
        }),
    );
    let other = ThreadDir::new().unwrap();
    let vfs = crate::support::open(&setup.remote, other.path(), crate::support::config());
    let vfs = vfs.await.unwrap();
    assert_eq!(walk(&vfs).await.unwrap(), whole);
    assert!(vfs.base().stats().remote_damaged > 0);
}

#[tokio::test]
async fn damage_everywhere_is_an_error_and_nothing_of_it_is_kept() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let ino = find(&vfs, "lib/tool.js").await.unwrap().ino;
    tamper(
        &setup,
        Arc::new(|_, _, mut bytes| {
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
            Ok(bytes)
        }),
    );
    let error = vfs.read(ino, 0, 100).await.unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
    setup.remote.set_faults(Faults::default());
    assert_eq!(vfs.read(ino, 0, 7).await.unwrap(), "console");
}

#[tokio::test]
async fn one_rotten_block_does_not_take_its_neighbours_along() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let ino = find(&vfs, "large").await.unwrap().ino;
    vfs.read(ino, 0, 1).await.unwrap();
    // Blocks of noise are stored as they are: this byte is in one block of one chunk.
    let rotten = 600_000..600_001u64;
    let flip = move |_: &_, range: std::ops::Range<u64>, mut bytes: Vec<u8>| {
        if range.contains(&rotten.start) {
            bytes[usize::try_from(rotten.start - range.start).unwrap()] ^= 1;
        }
        Ok::<_, RemoteError>(bytes)
    };
    tamper(&setup, Arc::new(flip));
    let (mut whole, mut errors) = (0, 0);
    for offset in (0..9u64 << 20).step_by(64 << 10) {
        match vfs.read(ino, offset, 64 << 10).await {
            Ok(_) => whole += 1,
            Err(error) => {
                assert!(error.is_corrupt());
                errors += 1;
            }
        }
    }
    // Of each chunk, which has two blocks or more, one is lost.
    assert!(
        errors > 0 && whole > errors,
        "{whole} whole, {errors} damaged"
    );
}

#[tokio::test]
async fn short_answers_are_not_served() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let ino = find(&vfs, "lib/tool.js").await.unwrap().ino;
    let cut = |_: &_, _, mut bytes: Vec<u8>| {
        bytes.pop();
        Ok::<_, RemoteError>(bytes)
    };
    tamper(&setup, Arc::new(cut));
    assert!(vfs.read(ino, 0, 100).await.unwrap_err().is_corrupt());
}

#[tokio::test]
async fn a_file_whose_record_tells_a_false_size_is_shown_and_read_as_far_as_it_goes() {
    let (remote, mut tree) = (MemoryRemote::new(), sample());
    let content = tree.content(b"four");
    for (name, size) in [("long", 1 << 40), ("longest", u64::MAX), ("short", 3)] {
        tree.add(name, plain(Kind::File { size, content }, 0o644));
    }
    remote.serve("app", 9, &tree, CHUNK_LEN);
    let dir = ThreadDir::new().unwrap();
    let vfs = crate::support::open(&remote, dir.path(), crate::support::config());
    let vfs = vfs.await.unwrap();
    for name in ["long", "longest"] {
        let found = find(&vfs, name).await.unwrap();
        assert!(i64::try_from(found.size).is_ok(), "{name}: {}", found.size);
        assert_eq!(vfs.read(found.ino, 0, 4).await.unwrap(), "four");
        for offset in [0, 2, 100, 1 << 39] {
            let error = vfs.read(found.ino, offset, 100).await.unwrap_err();
            assert!(error.is_corrupt(), "{name} from {offset}: {error:?}");
        }
    }
    let short = find(&vfs, "short").await.unwrap().ino;
    assert_eq!(vfs.read(short, 0, 100).await.unwrap(), "fou");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn flip(path: &Path, position: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], position).unwrap();
}

async fn warm() -> (
    Setup,
    std::collections::BTreeMap<String, crate::support::Seen>,
) {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let whole = walk(&vfs).await.unwrap();
    vfs.base().settle().await;
    (setup, whole)
}

#[tokio::test]
async fn a_flip_in_any_region_of_any_cached_file_is_found() {
    let (setup, whole) = warm().await;
    for round in 0..12u64 {
        let mut flipped = 0;
        for store in ["batches", "chunks", "listings", "places", "versions"] {
            for (number, path) in (0u64..).zip(files_below(&setup.cache_dir().join(store))) {
                let len = fs::metadata(&path).unwrap().len();
                // The regions of the file in turn, and other bytes of them in each round.
                flip(
                    &path,
                    ((round * 2 + number * 7919) * len / 24 + round * 131) % len,
                );
                flipped += 1;
            }
        }
        let vfs = setup.mount().await;
        assert_eq!(walk(&vfs).await.unwrap(), whole, "round {round}");
        vfs.base().settle().await;
        assert!(
            flipped > 40 && vfs.base().stats().cache.damaged > 10,
            "{:?}",
            vfs.base().stats()
        );
    }
}

#[tokio::test]
async fn cut_files_are_fetched_again() {
    let (setup, whole) = warm().await;
    for divisor in [1, 2, 3, 1000] {
        for path in files_below(setup.cache_dir()) {
            let len = fs::metadata(&path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len((len / divisor).min(len.saturating_sub(1)))
                .unwrap();
        }
        let vfs = setup.mount().await;
        assert_eq!(walk(&vfs).await.unwrap(), whole, "1/{divisor}");
        vfs.base().settle().await;
    }
}

#[tokio::test]
async fn the_cache_may_be_deleted_while_mounted() {
    let (setup, whole) = warm().await;
    let tiny = lfsfs_vfs::VfsConfig {
        listings_len_max: 1,
        reader: lfsfs_reader::ReaderConfig {
            blocks_len_max: 1,
            ..lfsfs_reader::ReaderConfig::default()
        },
        ..crate::support::config()
    };
    let vfs = setup.mount_with(tiny).await;
    for _ in 0..3 {
        for entry in fs::read_dir(setup.cache_dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(walk(&vfs).await.unwrap(), whole);
        vfs.base().settle().await;
    }
    assert!(setup.cache_dir().join("chunks").is_dir());
}

#[tokio::test]
async fn rewritten_chunks_are_found_again() {
    let (setup, whole) = warm().await;
    fs::remove_dir_all(setup.cache_dir().join("chunks")).unwrap();
    setup.remote.rewrite_chunks(&setup.tree, 300_000);
    let vfs = setup.mount().await;
    assert_eq!(walk(&vfs).await.unwrap(), whole);
}

#[tokio::test]
async fn content_that_no_datanode_has_is_an_error() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let ino = find(&vfs, "lib/tool.js").await.unwrap().ino;
    let empty = lfsfs_remote::memory::MemoryTree::new();
    setup.remote.rewrite_chunks(&empty, 1000);
    let error = vfs.read(ino, 0, 10).await.unwrap_err();
    assert!(
        matches!(error, VfsError::Io { .. }) && error.is_not_found(),
        "{error:?}"
    );
    setup.remote.rewrite_chunks(&setup.tree, 100_000);
    assert_eq!(vfs.read(ino, 0, 7).await.unwrap(), "console");
}
