//! Several processes store, read, evict and wipe at once; every byte that is returned is checked.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lfsfs_types::{DirId, ProjectId, VersionId};

use crate::support::{Sample, disk_usage, listing_key, open};

const DIR: &str = "LFSFS_CACHE_TEST_DIR";
const SEED: &str = "LFSFS_CACHE_TEST_SEED";
const PROCESSES: u64 = 6;
const ROUNDS: u64 = 150;
const SIZE_MAX: u64 = 4 << 20;

#[test]
fn processes_that_share_a_cache_never_get_wrong_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..PROCESSES).map(|seed| child(dir.path(), seed)).collect();
    for (seed, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "process {seed}: {text}");
        assert!(
            text.contains("hits: "),
            "process {seed} did nothing: {text}"
        );
    }
    assert!(disk_usage(dir.path()) < 3 * SIZE_MAX);
}

#[test]
fn processes_that_are_killed_leave_a_cache_that_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let children: Vec<_> = (0..2).map(|it| child(dir.path(), round * 2 + it)).collect();
        thread::sleep(Duration::from_millis(60 + round * 25));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let cache = open(dir.path(), SIZE_MAX);
        for (number, sample) in (0..).zip((0..10).map(Sample::new)) {
            check(&cache, &sample, number);
        }
        assert_eq!(
            cache.stats().damaged,
            0,
            "the page cache survives a killed process"
        );
    }
}

fn child(dir: &Path, seed: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::work_as_a_child",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "one of the processes of the test above"]
fn work_as_a_child() {
    let (Some(dir), Ok(seed)) = (env::var_os(DIR), env::var(SEED)) else {
        return;
    };
    let (dir, mut state) = (Path::new(&dir), seed.parse::<u64>().unwrap() * 7919 + 1);
    let samples: Vec<_> = (0..10).map(Sample::new).collect();
    let mut cache = open(dir, SIZE_MAX);
    let (project, version) = (ProjectId([3; 16]), VersionId([4; 16]));
    let mut hits = 0;
    for _ in 0..ROUNDS {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let choice = state >> 33;
        let sample = &samples[usize::try_from(choice % 10).unwrap()];
        let number = u8::try_from(choice % 20).unwrap();
        let entry = (DirId(u64::from(number)), VersionId([number; 16]));
        hits += check(&cache, sample, number);
        for (dir, version) in cache.version_index(&project, &version, &mut 0) {
            assert_eq!(u64::from(version.as_bytes()[0]), dir.0);
        }
        match choice % 40 {
            0 => drop(fs::remove_dir_all(dir.join("chunks"))),
            1 => drop(fs::remove_file(dir.join("format"))),
            2 => drop(fs::remove_file(dir.join("lock"))),
            3 => {
                for store in ["listings", "versions"] {
                    drop(fs::remove_dir_all(dir.join(store)));
                }
            }
            4..8 => {
                hits += cache.stats().hits;
                cache = open(dir, SIZE_MAX);
            }
            _ => {
                sample.store_all(&cache);
                cache.store_listing(&listing_key(number), &vec![number; 5000]);
                cache.add_to_version_index(&project, &version, &[entry]);
            }
        }
        assert_eq!(cache.stats().damaged, 0, "nothing here damages a file");
    }
    assert!(hits > 0);
    println!("hits: {hits}");
}

fn check(cache: &lfsfs_cache::DiskCache, sample: &Sample, number: u8) -> u64 {
    let mut hits = 0;
    if let Some(footer) = cache.footer(&sample.info) {
        assert_eq!(footer, sample.footer);
    }
    for index in 0..sample.count() {
        if let Some(raw) = cache.block(&sample.info, &sample.footer, index) {
            assert_eq!(raw, sample.raw(index));
            hits += 1;
        }
    }
    if let Some(listing) = cache.listing(&listing_key(number)) {
        assert_eq!(listing, vec![number; 5000]);
    }
    hits
}
