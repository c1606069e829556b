//! Many listings in one file: found by each process, whole or absent, evicted like all else.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lfsfs_cache::{DiskCache, ListingKey};
use lfsfs_types::{DirId, ProjectId, VersionId, VersionNumber};

use crate::support::{disk_usage, listing_key, open};

const LARGE: u64 = 1 << 30;
const PROJECT: ProjectId = ProjectId([3; 16]);

fn listing(number: u8) -> (DirId, VersionId, Bytes) {
    let ListingKey { dir, version, .. } = listing_key(number);
    (dir, version, vec![number; 10 * usize::from(number)].into())
}

fn store(cache: &DiskCache, numbers: impl IntoIterator<Item = u8>) {
    cache.store_listings(&PROJECT, numbers.into_iter().map(listing).collect());
}

fn is_there(cache: &DiskCache, number: u8) -> bool {
    let found = cache.listing(&listing_key(number));
    if let Some(found) = &found {
        assert_eq!(*found, listing(number).2);
    }
    found.is_some()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("batches").join(PROJECT.to_string()));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn listings_that_were_stored_together_are_found_by_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path(), LARGE), open(dir.path(), LARGE));
    assert!(!is_there(&other, 7));
    store(&one, [9, 7, 8]);
    store(&one, [20, 0, 3]);
    for cache in [&one, &other, &open(dir.path(), LARGE)] {
        for number in [0, 3, 7, 8, 9, 20] {
            assert!(is_there(cache, number), "{number}");
        }
        assert!(!is_there(cache, 1));
        let older = ListingKey {
            version: VersionId([77; 16]),
            ..listing_key(7)
        };
        assert!(cache.listing(&older).is_none());
    }
    assert_eq!(files(dir.path()).len(), 2);
    store(&other, [7, 8, 9]);
    assert_eq!(files(dir.path()).len(), 2, "it is the same file");
    store(&other, []);
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn a_flip_or_cut_anywhere_in_a_batch_gives_no_wrong_listing() {
    let dir = tempfile::tempdir().unwrap();
    store(&open(dir.path(), LARGE), [2, 3, 4]);
    let path = files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        for is_cut in [false, true] {
            let mut bytes = whole.clone();
            if is_cut {
                bytes.truncate(position);
            } else {
                bytes[position] ^= 0x20;
            }
            fs::write(&path, bytes).unwrap();
            let cache = open(dir.path(), LARGE);
            let there = [2, 3, 4].map(|number| is_there(&cache, number));
            assert_ne!(there, [true; 3], "byte {position}, cut {is_cut}");
            assert_eq!(cache.stats().damaged, 1, "byte {position}, cut {is_cut}");
            assert!(!path.exists());
            store(&cache, [2, 3, 4]);
            assert!(is_there(&cache, 2), "it is stored again");
        }
    }
    // In the place of another one it is not what its name says.
    let other = path.with_file_name("0".repeat(32));
    rustix::fs::rename(&path, other).unwrap();
    assert!(!is_there(&open(dir.path(), LARGE), 2));
}

#[test]
fn a_batch_that_is_removed_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE);
    store(&cache, [2, 3]);
    assert!(is_there(&cache, 2));
    fs::remove_file(files(dir.path()).remove(0)).unwrap();
    assert!(!is_there(&cache, 2) && !is_there(&cache, 3));
    store(&cache, [2, 3]);
    assert!(is_there(&cache, 3));
    cache.remove_listing(&listing_key(3));
    assert!(!is_there(&cache, 2) && files(dir.path()).is_empty());
}

#[test]
fn batches_are_evicted_with_all_else() {
    const LIMIT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    for number in 0..200 {
        let (listed, version, _) = listing(number);
        let bytes = Bytes::from(vec![number; 20_000]);
        cache.store_listings(&PROJECT, vec![(listed, version, bytes)]);
        assert!(disk_usage(dir.path()) < LIMIT + LIMIT / 4, "{number}");
    }
    assert!(cache.stats().evicted > 100, "{:?}", cache.stats());
}

#[test]
fn whole_versions_are_told_by_the_directory_that_they_are_below() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE);
    let (number, id) = (VersionNumber(4), VersionId([4; 16]));
    cache.add_to_version_index(&PROJECT, &id, &[(DirId(1), id)]);
    assert_eq!(cache.whole_versions(&PROJECT, DirId::ROOT), []);
    cache.note_whole_version(&PROJECT, (number, &id), DirId::ROOT);
    cache.note_whole_version(&PROJECT, (VersionNumber(5), &id), DirId(9));
    assert_eq!(cache.whole_versions(&PROJECT, DirId::ROOT), [(number, id)]);
    assert_eq!(
        cache.whole_versions(&PROJECT, DirId(9)),
        [(VersionNumber(5), id)]
    );
    assert_eq!(cache.version_index(&PROJECT, &id, &mut 0).len(), 1);
}
