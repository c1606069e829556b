//! What a commit costs follows what changed, in rows and in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_types::Timestamp;
use lfsfs_vfs::{CommitOutcome, Existing, Privileges, SetAttr, SetTime};

use crate::commit_support::{Client, Cluster, Mount};
use crate::memory::{ENTRIES, anonymous_kib, in_a_child};
use crate::writable_support::OWNER;

/// Where the server of a child is.
const SERVER: &str = "LFSFS_VFS_TEST_SERVER";

/// Makes a directory with files of a few bytes.
async fn fill(mount: &Mount, dir: &str, files: u64) {
    let parent = mount.mkdir(dir).await;
    for file in 0..files {
        let bytes = format!("{dir}/{file}");
        make(mount, parent, file, bytes.as_bytes()).await;
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
    let cost = |it: &CommitOutcome| (it.told, it.rows, it.bytes_sent);
    assert_eq!(cost(&small), cost(&large));
    assert!(large.told <= 3 && large.rows <= 10, "{large:?}");
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
        let content = if file == 500 { file + 1 } else { file };
        let bytes = format!("node_modules/pkg/{content}");
        make(&mount, parent, file, bytes.as_bytes()).await;
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
    assert_eq!(outcome.changes(), counts.modified);
    assert!(outcome.told > 1000, "{outcome:?}");
    let version = cluster.version("app@v2").await;
    for (path, seen) in &expected {
        assert_eq!(version[path].bytes, seen.bytes, "{path}");
        assert_eq!(version[path].attr.mtime, seen.attr.mtime, "{path}");
    }
}

/// The server is in this process, so that the mount is measured alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_take_bounded_memory() {
    let cluster = Cluster::new().await;
    let address = cluster.servers.address().to_owned();
    let run = move || {
        let settings = [(ENTRIES, "20000"), (SERVER, address.as_str())];
        in_a_child("commit::scale::commit_as_a_child", &settings)
    };
    let grown = tokio::task::spawn_blocking(run).await.unwrap();
    // Chunks on their way are most of it; the overlay itself is not counted.
    assert!(grown < 64_000, "{grown} KiB for 20,000 changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of the test above"]
async fn commit_as_a_child() {
    let (Some(entries), Ok(address)) = (crate::memory::entries(), std::env::var(SERVER)) else {
        return;
    };
    let mount = Client::of(&address).mount("app@v0", "first").await;
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
