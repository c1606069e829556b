//! Damaged files: a miss, a count, and gone.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lfsfs_cache::{DiskCache, ListingKey};

use crate::support::{Sample, listing_key, open};

const LARGE: u64 = 1 << 30;

fn flip(path: &Path, position: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], position).unwrap();
}

/// Everything that the cache returns must be what was stored.
fn check(cache: &DiskCache, sample: &Sample) -> u32 {
    if let Some(footer) = cache.footer(&sample.info) {
        assert_eq!(footer, sample.footer);
    }
    let blocks = (0..sample.count()).filter_map(|index| {
        let raw = cache.block(&sample.info, &sample.footer, index)?;
        assert_eq!(raw, sample.raw(index));
        Some(raw)
    });
    u32::try_from(blocks.count()).unwrap()
}

#[test]
fn a_flipped_bit_anywhere_in_a_chunk_costs_one_block_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::new(1);
    let cache = open(dir.path(), LARGE);
    let path = sample.path(dir.path());
    sample.store_all(&cache);
    let len = fs::metadata(&path).unwrap().len();
    let ends = len - u64::from(sample.count()) - 2..len;
    for position in (0..len).step_by(4999).chain(ends) {
        sample.store_all(&cache);
        flip(&path, position);
        let whole = check(&cache, &sample);
        assert!(whole + 1 >= sample.count(), "byte {position}");
    }
    assert!(cache.stats().damaged > 50, "{:?}", cache.stats());
}

#[test]
fn a_damaged_block_is_absent_until_it_is_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::new(1);
    let cache = open(dir.path(), LARGE);
    sample.store_all(&cache);
    let start = sample.footer.block_range(3).unwrap().start;
    flip(&sample.path(dir.path()), start);
    assert!(cache.block(&sample.info, &sample.footer, 3).is_none());
    assert!(!cache.has_block(&sample.info, &sample.footer, 3));
    assert!(cache.block(&sample.info, &sample.footer, 3).is_none());
    assert_eq!(cache.stats().damaged, 1);
    cache.store_blocks(&sample.info, &sample.footer, &[(3, sample.stored(3))]);
    assert_eq!(check(&cache, &sample), sample.count());
}

#[test]
fn a_chunk_cut_anywhere_gives_only_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::new(1);
    let cache = open(dir.path(), LARGE);
    sample.store_all(&cache);
    let path = sample.path(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    for cut in (0..len).step_by(30_011).chain(len - 3..len) {
        sample.store_all(&cache);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(cut)
            .unwrap();
        check(&cache, &sample);
        // A file that grows again has holes where it was cut.
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len)
            .unwrap();
        check(&cache, &sample);
    }
}

#[test]
fn a_flip_or_cut_anywhere_in_a_listing_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE);
    let key = listing_key(1);
    let payload = b"the entries of a directory";
    let below = dir.path().join("listings").join(key.project.to_string());
    let path = below.join(format!("{}-{}", key.dir, key.version));
    for position in 0..32 + payload.len() as u64 {
        cache.store_listing(&key, payload);
        flip(&path, position);
        assert!(cache.listing(&key).is_none(), "byte {position}");
        assert!(!path.exists());
        cache.store_listing(&key, payload);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(position)
            .unwrap();
        assert!(cache.listing(&key).is_none(), "cut at {position}");
    }
    assert_eq!(cache.stats().damaged, 2 * (32 + payload.len() as u64));
}

#[test]
fn a_listing_in_the_place_of_another_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE);
    let (one, other) = (listing_key(1), listing_key(2));
    cache.store_listing(&one, b"one");
    cache.store_listing(&other, b"other");
    let path = |key: &ListingKey| {
        let below = dir.path().join("listings").join(key.project.to_string());
        below.join(format!("{}-{}", key.dir, key.version))
    };
    std::fs::copy(path(&one), path(&other)).unwrap();
    assert!(cache.listing(&other).is_none());
    assert_eq!(cache.listing(&one).unwrap(), "one");
}
