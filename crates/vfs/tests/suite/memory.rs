//! What a fully walked tree costs in memory, measured in a process of its own.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::SystemClock;
use lfsfs_remote::memory::{AlteredListings, MemoryTree, plain};
use lfsfs_remote::{DirectoryListing, MemoryRemote, RemoteRead};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{ContentId, DirId, Kind, Name, Record, Source, VersionId, nodeid};
use lfsfs_vfs::{BaseVersion, Vfs, VfsConfig};

/// How many entries a child is to make.
pub(crate) const ENTRIES: &str = "LFSFS_VFS_TEST_ENTRIES";
const FILES_PER_DIRECTORY: u64 = 50;

/// Returns a server that makes listings up when it is asked, so that only the file system takes memory.
fn synthetic(remote: Arc<MemoryRemote>, directories: u64) -> Arc<dyn RemoteRead> {
    let alter = move |_, dir: DirId, _| {
        let entries = match dir {
            DirId::ROOT => (0..directories).map(directory).collect(),
            DirId(number) => (0..FILES_PER_DIRECTORY)
                .map(|file| synthetic_file(number, file))
                .collect(),
        };
        let listing_version = VersionId(u128::from(dir.0).to_be_bytes());
        Ok(DirectoryListing {
            entries,
            listing_version,
        })
    };
    AlteredListings::around(remote, Box::new(alter))
}

fn directory(number: u64) -> (Name, Record) {
    let dir = DirId(number + 2);
    let name = Name::new(format!("directory-{number:06}").as_bytes()).unwrap();
    (name, plain(Kind::Directory { dir }, 0o755))
}

fn synthetic_file(dir: u64, file: u64) -> (Name, Record) {
    let mut content = [0; 32];
    content[..8].copy_from_slice(&dir.to_be_bytes());
    content[24..].copy_from_slice(&file.to_be_bytes());
    let kind = Kind::File {
        size: 4096 + file,
        content: ContentId(content),
    };
    let name = Name::new(format!("some-module-{file:04}.js").as_bytes()).unwrap();
    (name, plain(kind, 0o644))
}

pub(crate) fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

/// Runs an ignored test in a process of its own and returns by how many KiB it says it has grown.
pub(crate) fn in_a_child(test: &str, settings: &[(&str, &str)]) -> u64 {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let grown = text.split("grown by ").nth(1).expect("the child says it");
    grown.split(' ').next().unwrap().parse().unwrap()
}

/// Returns how many entries the parent wants; `None` without one.
pub(crate) fn entries() -> Option<u64> {
    Some(env::var(ENTRIES).ok()?.parse().unwrap())
}

#[test]
fn a_walked_entry_costs_little_memory() {
    let grown = in_a_child("memory::walk_as_a_child", &[(ENTRIES, "200000")]);
    // 250 MB for 1,000,000 entries, everything else included, is the bar.
    assert!(grown < 50_000, "{grown} KiB for 200,000 entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of the test above"]
async fn walk_as_a_child() {
    let Some(entries) = entries() else {
        return;
    };
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &MemoryTree::new(), 1 << 20);
    let remote = synthetic(remote, entries / FILES_PER_DIRECTORY);
    let dir = ThreadDir::new().unwrap();
    let cache = DiskCache::open(dir.path(), CacheConfig::default()).unwrap();
    let before = anonymous_kib();
    let started = Instant::now();
    let source: Source = "app".parse().unwrap();
    let base = BaseVersion::open(remote, cache, &source, VfsConfig::default());
    let clock = Arc::new(SystemClock);
    let vfs = Vfs::read_only(base.await.unwrap(), clock).unwrap();
    let mut directories = Vec::new();
    vfs.readdir(nodeid::ROOT, 0, true, &mut |entry| {
        directories.extend(entry.attr.map(|attr| attr.ino));
        true
    })
    .await
    .unwrap();
    for ino in &directories {
        vfs.readdir(*ino, 0, true, &mut |_| true).await.unwrap();
    }
    let walked = started.elapsed();
    vfs.base().settle().await;
    let stats = vfs.base().stats();
    assert_eq!(stats.inodes, entries + directories.len() as u64 + 1);
    let grown = anonymous_kib() - before;
    println!("grown by {grown} KiB for {entries} entries in {walked:?}: {stats:?}");
}
