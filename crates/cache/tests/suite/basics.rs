//! What one process stores, each process finds, within the limit.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lfsfs_cache::{CacheConfig, CacheError, DiskCache, FileKey, PlacesKey};
use lfsfs_types::{DirId, ProjectId, VersionId};

use crate::support::{Sample, disk_usage, listing_key, open};

const LARGE: u64 = 1 << 30;

#[test]
fn chunks_are_found_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::new(1);
    let cache = open(dir.path(), LARGE);
    assert!(cache.footer(&sample.info).is_none());
    assert!(cache.block(&sample.info, &sample.footer, 0).is_none());
    cache.store_blocks(&sample.info, &sample.footer, &[(2, sample.stored(2))]);
    assert!(cache.footer(&sample.info).is_none());
    cache.store_footer(&sample.info, &sample.encoded);
    let present = cache.blocks_present(&sample.info, &sample.footer);
    let expected: Vec<_> = (0..sample.count()).map(|index| index == 2).collect();
    assert_eq!(present, expected);
    let other = open(dir.path(), LARGE);
    assert_eq!(other.footer(&sample.info).unwrap(), sample.footer);
    let raw = other.block(&sample.info, &sample.footer, 2).unwrap();
    assert_eq!(raw, sample.raw(2));
    assert!(other.has_block(&sample.info, &sample.footer, 2));
    assert!(!other.has_block(&sample.info, &sample.footer, 1));
    assert!(other.block(&sample.info, &sample.footer, 99).is_none());
    assert_eq!((other.stats().hits, other.stats().damaged), (2, 0));
}

#[test]
fn listings_places_and_versions_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE);
    let key = listing_key(1);
    let places = PlacesKey {
        listing: key,
        stretch: 2,
    };
    assert!(cache.listing(&key).is_none() && cache.places(&places).is_none());
    cache.store_listing(&key, b"entries");
    cache.store_places(&places, b"old");
    cache.store_places(&places, b"new");
    assert_eq!(cache.listing(&key).unwrap(), "entries");
    assert_eq!(cache.places(&places).unwrap(), "new");
    assert!(cache.listing(&listing_key(2)).is_none());

    let (project, version) = (ProjectId([3; 16]), VersionId([4; 16]));
    assert_eq!(
        cache.version_index(&project, &version, &mut 0),
        HashMap::new()
    );
    let entries = [
        (DirId(1), VersionId([1; 16])),
        (DirId(2), VersionId([2; 16])),
    ];
    cache.add_to_version_index(&project, &version, &entries[..1]);
    cache.add_to_version_index(&project, &version, &entries[1..]);
    assert_eq!(
        cache.version_index(&project, &version, &mut 0),
        entries.into()
    );
}

#[test]
fn the_limit_is_kept_and_what_was_used_last_stays() {
    let dir = tempfile::tempdir().unwrap();
    let samples: Vec<_> = (0..12).map(Sample::new).collect();
    let one = samples[0].info.len;
    let cache = open(dir.path(), one * 5);
    for (sample, age) in samples.iter().zip((0..12).rev()) {
        sample.store_all(&cache);
        // The first one was used just now, all others long ago.
        let age = if sample.info == samples[0].info {
            0
        } else {
            age + 10
        };
        let used = SystemTime::now() - Duration::from_secs(age * 60);
        if let Ok(file) = fs::File::open(sample.path(dir.path())) {
            file.set_modified(used).unwrap();
        }
        assert!(disk_usage(dir.path()) < one * 7);
    }
    assert!(cache.stats().evicted > 3, "{:?}", cache.stats());
    assert!(cache.footer(&samples[0].info).is_some());
    assert!(cache.footer(&samples[1].info).is_none());
    assert!(cache.footer(&samples[11].info).is_some());
}

#[test]
fn usage_is_shared_by_processes_that_each_write_little() {
    let dir = tempfile::tempdir().unwrap();
    let samples: Vec<_> = (0..12).map(Sample::new).collect();
    let limit = samples[0].info.len * 4;
    for sample in &samples {
        sample.store_all(&open(dir.path(), limit));
    }
    assert!(disk_usage(dir.path()) < limit + limit / 2);
}

#[test]
fn another_format_is_wiped_and_strange_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::new(1);
    sample.store_all(&open(dir.path(), LARGE));
    fs::write(dir.path().join("format"), "999\n").unwrap();
    fs::write(dir.path().join("diary"), "mine").unwrap();
    let cache = open(dir.path(), LARGE);
    assert!(cache.footer(&sample.info).is_none());
    assert_eq!(fs::read(dir.path().join("diary")).unwrap(), b"mine");
    sample.store_all(&cache);
    assert!(open(dir.path(), LARGE).footer(&sample.info).is_some());
}

#[test]
fn a_directory_that_cannot_be_made_is_a_cache_that_does_not_store() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let result = DiskCache::open(&file, CacheConfig::default());
    assert!(matches!(result, Err(CacheError::NotADirectory { .. })));
    let cache = open(&file.join("below"), LARGE);
    let sample = Sample::new(1);
    sample.store_all(&cache);
    assert!(cache.footer(&sample.info).is_none());
    assert!(cache.stats().write_errors > 1, "{:?}", cache.stats());
    // It recovers as soon as it can.
    fs::remove_file(&file).unwrap();
    sample.store_all(&cache);
    assert!(cache.footer(&sample.info).is_some());
}

#[test]
fn other_users_may_not_look_into_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/cache");
    Sample::new(1).store_all(&open(&below, LARGE));
    for path in [&below, &below.join("chunks")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
}

/// Changes a file until its change time is another than that of an earlier one. Returns it.
fn changed_after(path: &Path, earlier: (i64, i64)) -> (i64, i64) {
    loop {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
        let metadata = fs::metadata(path).unwrap();
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        if changed > earlier {
            return changed;
        }
    }
}

#[test]
fn whole_files_are_kept_by_when_they_were_used_and_not_by_their_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("cache"), LARGE);
    let key = |number: u8| FileKey([number; 32]);
    let mut changed = (0, 0);
    for number in 1..=3 {
        let path = dir.path().join(number.to_string());
        fs::write(&path, vec![number; 50_000]).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(4 - u64::from(number));
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        cache.link_file(&key(number), &path, 50_000);
        // What is there stays.
        cache.link_file(&key(number), &path, 50_000);
        let time = fs::metadata(cache.file_path(&key(number))).unwrap();
        assert_eq!(time.modified().unwrap(), old);
        let used = cache.file_path(&key(number));
        changed = changed_after(&used, changed);
    }
    let files = |cache: &DiskCache| cache.measure().into_iter().find(|it| it.name == "files");
    let files = files(&cache).unwrap();
    assert!(files.files == 3 && files.bytes >= 150_000, "{files:?}");
    // The first one is used once more: it gets another name.
    let again = dir.path().join("again");
    fs::hard_link(cache.file_path(&key(1)), &again).unwrap();
    let _ = changed_after(&again, changed);
    let evicted = cache.prune(120_000).unwrap();
    assert_eq!(evicted.files, 1);
    assert!(cache.file(&key(1)).is_some() && cache.file(&key(3)).is_some());
    assert!(cache.file(&key(2)).is_none());
    cache.remove_file(&key(1));
    cache.remove_file(&key(1));
    assert!(cache.file(&key(1)).is_none() && dir.path().join("1").exists());
    assert_eq!(cache.prune(0).unwrap().left, 0);
}
