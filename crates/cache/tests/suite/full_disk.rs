//! A full or read-only file system under the cache, in a mount namespace of its own.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::requirements::{require_program, require_root};

use crate::support::{Sample, open};

const DIR: &str = "LFSFS_CACHE_TEST_DISK";
const LARGE: u64 = 1 << 30;

/// Runs one of the children below with a file system of 1 MiB at a directory that it is told.
fn run(child: &str) {
    if require_root().is_err() || require_program("unshare").is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$1\" && exec \"$2\" --exact \"$3\" --ignored";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(env::current_exe().unwrap())
        .arg(child)
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn a_full_disk_is_a_cache_that_does_not_store_until_there_is_room() {
    run("full_disk::on_a_full_disk");
}

#[test]
fn a_read_only_cache_is_read() {
    run("full_disk::on_a_read_only_disk");
}

#[test]
#[ignore = "runs inside the namespace of a test above"]
fn on_a_full_disk() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let cache = open(dir, LARGE);
    let samples: Vec<_> = (0..8).map(Sample::new).collect();
    fs::write(dir.join("other"), vec![0; 100_000]).unwrap();
    for _ in 0..2 {
        for sample in &samples {
            sample.store_all(&cache);
            for index in 0..sample.count() {
                if let Some(raw) = cache.block(&sample.info, &sample.footer, index) {
                    assert_eq!(raw, sample.raw(index));
                }
            }
        }
    }
    let stats = cache.stats();
    assert!(
        stats.write_errors > 8 && stats.hits > 0 && stats.damaged == 0,
        "{stats:?}"
    );
    fs::remove_dir_all(dir.join("chunks")).unwrap();
    samples[7].store_all(&cache);
    assert!(
        cache
            .block(&samples[7].info, &samples[7].footer, 0)
            .is_some()
    );
    assert_eq!(cache.stats().write_errors, stats.write_errors);
}

#[test]
#[ignore = "runs inside the namespace of a test above"]
fn on_a_read_only_disk() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let (kept, other) = (Sample::new(1), Sample::new(2));
    kept.store_all(&open(dir, LARGE));
    let remount = |options: &str| {
        let mount = Command::new("mount")
            .args(["-o", options])
            .arg(dir)
            .status();
        assert!(mount.unwrap().success());
    };
    remount("remount,ro");
    let cache = open(dir, LARGE);
    other.store_all(&cache);
    assert!(cache.footer(&other.info).is_none());
    assert!(cache.stats().write_errors > 0);
    assert_eq!(cache.footer(&kept.info).unwrap(), kept.footer);
    let raw = cache.block(&kept.info, &kept.footer, 1).unwrap();
    assert_eq!(raw, kept.raw(1));
    remount("remount,rw");
    other.store_all(&cache);
    assert!(cache.footer(&other.info).is_some());
}
