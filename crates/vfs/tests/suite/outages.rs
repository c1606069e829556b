//! Servers that are away, silent, or another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lfsfs_reader::ReaderConfig;
use lfsfs_remote::RemoteError;
use lfsfs_remote::memory::{Faults, MemoryTree};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::nodeid;
use lfsfs_vfs::{VfsConfig, VfsError};

use crate::support::{Setup, config, find, open, walk};

fn down() -> Faults {
    Faults {
        is_down: true,
        ..Faults::default()
    }
}

fn hanging() -> Faults {
    Faults {
        hangs: true,
        ..Faults::default()
    }
}

fn impatient() -> VfsConfig {
    VfsConfig {
        timeout: Duration::from_millis(300),
        open_timeout: Duration::from_millis(200),
        ..config()
    }
}

#[tokio::test]
async fn a_missing_server_or_project_fails_the_opening_at_once() {
    let setup = Setup::new();
    setup.remote.set_faults(down());
    let error = open(&setup.remote, setup.cache_dir(), config())
        .await
        .unwrap_err();
    let VfsError::Io { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(*source, RemoteError::NoServer { .. }));
    setup.remote.set_faults(hanging());
    let error = open(&setup.remote, setup.cache_dir(), impatient())
        .await
        .unwrap_err();
    assert!(matches!(error, VfsError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_ends_in_an_error_and_the_next_try_works() {
    let setup = Setup::new();
    let vfs = setup.mount_with(impatient()).await;
    let ino = find(&vfs, "lib/tool.js").await.unwrap().ino;
    setup.remote.set_faults(hanging());
    let started = Instant::now();
    let error = vfs.read(ino, 0, 10).await.unwrap_err();
    assert!(matches!(error, VfsError::Timeout { .. }), "{error:?}");
    let error = vfs.lookup(nodeid::ROOT, b"bin").await.map(|_| ());
    assert!(error.is_ok(), "the root's listing is known: {error:?}");
    let bin = find(&vfs, "bin").await.unwrap().ino;
    let error = vfs.lookup(bin, b"tool").await.unwrap_err();
    assert!(matches!(error, VfsError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    setup.remote.set_faults(Faults::default());
    assert_eq!(vfs.read(ino, 0, 7).await.unwrap(), "console");
    assert!(vfs.lookup(bin, b"tool").await.is_ok());
}

#[tokio::test]
async fn cached_data_is_served_while_the_server_is_down() {
    let setup = Setup::new();
    let vfs = setup.mount_with(impatient()).await;
    let whole = walk(&vfs).await.unwrap();
    vfs.base().settle().await;
    let cold = ThreadDir::new().unwrap();
    let other = open(&setup.remote, cold.path(), impatient()).await.unwrap();
    let warm = setup.mount_with(impatient()).await;
    setup.remote.set_faults(down());
    assert_eq!(walk(&vfs).await.unwrap(), whole);
    assert_eq!(walk(&warm).await.unwrap(), whole);
    assert!(other.getattr(nodeid::ROOT).await.is_ok());
    assert_eq!(other.statfs(), vfs.statfs());
    let error = other.lookup(nodeid::ROOT, b"bin").await.unwrap_err();
    assert!(matches!(error, VfsError::Io { .. }), "{error:?}");
    setup.remote.set_faults(Faults::default());
    assert_eq!(walk(&other).await.unwrap(), whole);
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_is_not_noticed() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    setup.remote.set_faults(down());
    let remote = Arc::clone(&setup.remote);
    let back = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        remote.set_faults(Faults::default());
    });
    let tool = find(&vfs, "lib/tool.js").await.unwrap();
    assert_eq!(vfs.read(tool.ino, 0, 7).await.unwrap(), "console");
    back.await.unwrap();
}

#[tokio::test]
async fn a_slow_server_is_waited_for_as_long_as_blocks_come() {
    let setup = Setup::new();
    let small_windows = VfsConfig {
        reader: ReaderConfig {
            window_len_first: 1,
            window_len_max: 1,
            ..ReaderConfig::default()
        },
        ..impatient()
    };
    let vfs = setup.mount_with(small_windows).await;
    let ino = find(&vfs, "large").await.unwrap().ino;
    // Where the bytes are is no progress, so it is known before.
    vfs.read(ino, 0, 1).await.unwrap();
    setup.remote.set_faults(Faults {
        delay: Duration::from_millis(100),
        ..Faults::default()
    });
    let started = Instant::now();
    // These are eight blocks or more.
    assert_eq!(vfs.read(ino, 0, 4 << 20).await.unwrap().len(), 4 << 20);
    assert!(started.elapsed() > Duration::from_millis(600));
}

/// Everything answers but the datanodes.
fn without_datanodes() -> Faults {
    Faults {
        tamper: Some(Arc::new(|chunk, _, _| {
            let address = chunk.nodes[0].clone();
            Err(RemoteError::NoDataNode { address })
        })),
        ..Faults::default()
    }
}

#[tokio::test]
async fn a_datanode_that_is_away_ends_a_read_though_the_coordinator_answers() {
    let setup = Setup::new();
    let vfs = setup.mount_with(impatient()).await;
    let ino = find(&vfs, "large").await.unwrap().ino;
    // What is at hand already comes again at each attempt, and is no progress.
    vfs.read(ino, 0, 1).await.unwrap();
    setup.remote.set_faults(without_datanodes());
    let read = vfs.read(ino, 0, 1 << 20);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    let error = read.expect("a read ends").unwrap_err();
    let VfsError::Io { source, .. } = error else {
        panic!("{error:?}");
    };
    let text = source.to_string();
    assert!(matches!(*source, RemoteError::NoDataNode { .. }), "{text}");
    assert!(!text.contains("lfsfsd all"), "{text}");

    setup.remote.set_faults(Faults::default());
    assert_eq!(vfs.read(ino, 0, 1 << 20).await.unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn the_second_read_of_what_was_given_up_does_not_wait_as_long_again() {
    let setup = Setup::new();
    let patient = VfsConfig {
        timeout: Duration::from_secs(4),
        ..config()
    };
    let vfs = setup.mount_with(patient).await;
    let ino = find(&vfs, "large").await.unwrap().ino;
    setup.remote.set_faults(hanging());
    // The kernel reads ahead, and when that fails it asks for the page alone.
    vfs.read(ino, 0, 1 << 17).await.unwrap_err();
    let started = Instant::now();
    vfs.read(ino, 0, 1 << 12).await.unwrap_err();
    let second = started.elapsed();
    assert!(second < Duration::from_secs(3), "{second:?}");
    // One attempt is enough where the server is back.
    setup.remote.set_faults(Faults::default());
    assert_eq!(vfs.read(ino, 0, 1 << 12).await.unwrap().len(), 1 << 12);
}

#[tokio::test]
async fn a_project_made_again_is_stale_and_never_other_data() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let lib = find(&vfs, "lib").await.unwrap().ino;
    let mut other = MemoryTree::new();
    other
        .directory("lib")
        .file("lib/tool.js", b"something else");
    setup.remote.serve("app", 10, &other, 1 << 20);
    let bin = find(&vfs, "bin").await.unwrap().ino;
    assert!(matches!(
        vfs.lookup(bin, b"tool").await,
        Err(VfsError::Stale)
    ));
    assert!(matches!(
        vfs.lookup(lib, b"tool.js").await,
        Err(VfsError::Stale)
    ));
    let again = setup.mount().await;
    let tool = find(&again, "lib/tool.js").await.unwrap();
    assert_eq!(
        again.read(tool.ino, 0, 100).await.unwrap(),
        "something else"
    );
}

#[tokio::test]
async fn no_fetch_is_left_when_the_file_system_is_dropped() {
    let setup = Setup::new();
    let vfs = Arc::new(setup.mount().await);
    let ino = find(&vfs, "large").await.unwrap().ino;
    setup.remote.set_faults(hanging());
    let reader = tokio::spawn({
        let vfs = Arc::clone(&vfs);
        async move { vfs.read(ino, 0, 1 << 20).await }
    });
    let spawner = vfs.tasks().spawner().clone();
    let until = async |is_empty| {
        while spawner.is_empty() != is_empty {
            tokio::task::yield_now().await;
        }
    };
    until(false).await;
    reader.abort();
    drop(reader.await);
    assert!(!spawner.is_empty(), "the fetch goes on for others");
    drop(vfs);
    let ended = tokio::time::timeout(Duration::from_secs(2), until(true));
    ended.await.expect("the fetch ends with the file system");
}

#[tokio::test]
async fn an_aborted_reader_leaves_the_fetch_to_the_others() {
    let setup = Setup::new();
    let vfs = Arc::new(setup.mount().await);
    let ino = find(&vfs, "large").await.unwrap().ino;
    let reader = tokio::spawn({
        let vfs = Arc::clone(&vfs);
        async move { vfs.read(ino, 0, 1 << 20).await }
    });
    tokio::task::yield_now().await;
    reader.abort();
    assert_eq!(vfs.read(ino, 0, 1 << 20).await.unwrap().len(), 1 << 20);
}
