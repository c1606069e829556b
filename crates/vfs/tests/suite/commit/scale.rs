//! What a commit costs follows what changed, in rows and in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_types::Timestamp;
use lfsfs_vfs::{CommitOutcome, Existing, Privileges, SetAttr, SetTime};

use crate::commit_support::{Cluster, Mount};
use crate::memory::{anonymous_kib, in_a_child};
use crate::writable_support::OWNER;

/// Makes a directory with files of a few bytes.
async fn fill(mount: &Mount, dir: &str, files: u64) {
    let parent = mount.mkdir(dir).await;
    for file in 0..files {
        make(mount, parent, file, &file.to_be_bytes()).await;
    }
}

/// Makes a file whose times depend on its name only, as package managers do.
async fn make(mount: &Mount, parent: u64, file: u64, bytes: &[u8]) {
    let name = format!("some-module-{file:06}.js");
    let vfs = &mount.vfs;
    let made = vfs.create(parent, name.as_bytes(), 0o644, OWNER, Existing::Refuse);
    let ino = made.await.unwrap().attr.ino;
    let written = vfs.write(ino, 0, bytes, Privileges::Keep).await;
    written.unwrap();
    let mtime = Timestamp {
        secs: 500_000_000,
        nanos: u32::try_from(file).unwrap(),
    };
    let times = SetAttr {
        mtime: Some(SetTime::At(mtime)),
        ..SetAttr::default()
    };
    vfs.setattr(ino, times).await.unwrap();
    vfs.forget(ino, 1);
}

/// Returns what renaming a directory of so many files costs.
async fn rename_of(files: u64) -> CommitOutcome {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    fill(&mount, "old", files).await;
    mount.commit().await.unwrap();
    drop(mount);
    let mount = cluster.mount("app@v1", "second").await;
    mount.rename("old", "new").await;
    mount.commit().await.unwrap()
}

#[tokio::test]
async fn renaming_a_large_directory_costs_what_a_small_one_costs() {
    let (small, large) = (rename_of(10).await, rename_of(10_000).await);
    let cost = |it: &CommitOutcome| (it.changes, it.rows, it.bytes_sent);
    assert_eq!(cost(&small), cost(&large));
    assert!(large.changes <= 3 && large.rows <= 10, "{large:?}");
}

#[tokio::test]
async fn what_is_removed_and_made_again_costs_what_differs() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    mount.mkdir("node_modules").await;
    fill(&mount, "node_modules/pkg", 1000).await;
    mount.commit().await.unwrap();
    drop(mount);
    let mount = cluster.mount("app@v1", "second").await;
    mount.remove_all("node_modules").await;
    mount.mkdir("node_modules").await;
    let parent = mount.mkdir("node_modules/pkg").await;
    for file in 0..1000_u64 {
        let bytes = if file == 500 { file + 1 } else { file };
        make(&mount, parent, file, &bytes.to_be_bytes()).await;
    }
    let expected = mount.tree().await;
    let outcome = mount.commit().await.unwrap();
    assert_eq!(
        outcome.contents_sent, 0,
        "the server has the bytes of another file"
    );
    let counts = outcome.version.counts;
    assert_eq!((counts.added, counts.removed), (0, 0));
    // The file, and the times of the directories around it.
    assert!(counts.modified <= 4 && outcome.rows <= 20, "{outcome:?}");
    let version = cluster.version("app@v2").await;
    for (path, seen) in &expected {
        assert_eq!(version[path].bytes, seen.bytes, "{path}");
        assert_eq!(version[path].attr.mtime, seen.attr.mtime, "{path}");
    }
}

#[test]
fn many_changes_take_bounded_memory() {
    // Both sides in one process; the overlay itself is not counted.
    let grown = in_a_child("commit::scale::commit_as_a_child", "20000");
    assert!(grown < 120_000, "{grown} KiB for 20,000 changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of the test above"]
async fn commit_as_a_child() {
    let Some(entries) = crate::memory::entries() else {
        return;
    };
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "first").await;
    for dir in 0..entries / 1000 {
        fill(&mount, &format!("dir{dir}"), 1000).await;
    }
    let before = anonymous_kib();
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    let watch = std::thread::spawn(move || {
        let mut peak = before;
        while !until.load(Ordering::Relaxed) {
            peak = peak.max(anonymous_kib());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        peak
    });
    let started = std::time::Instant::now();
    let outcome = mount.commit().await.unwrap();
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    let grown = watch.join().unwrap() - before;
    println!("grown by {grown} KiB for {entries} changes in {took:?}: {outcome:?}");
}
