//! What is asked of the server, and how often.

use std::sync::Arc;

use lfsfs_reader::ReaderConfig;
use lfsfs_remote::Call;
use lfsfs_remote::memory::Calls;
use lfsfs_types::nodeid;
use lfsfs_vfs::{FileKind, VfsConfig};

use crate::support::{Setup, at_once, config, find, lasting, walk};

#[tokio::test]
async fn a_second_pass_asks_the_server_nothing() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let first = walk(&vfs).await.unwrap();
    let calls = setup.remote.take_calls();
    assert_eq!(calls.of(Call::ResolveSource), 1);
    let listings = calls.of(Call::ListDirectory) + calls.of(Call::ListTree);
    assert!((5..=10).contains(&listings), "{calls:?}");
    // A loaded chunk answers for its neighbours, so most directories need not be resolved.
    assert!(calls.of(Call::Resolve) < 20, "{calls:?}");
    assert!(calls.of(Call::ReadChunk) < 65, "{calls:?}");
    assert_eq!(walk(&vfs).await.unwrap(), first);
    assert_eq!(setup.remote.take_calls(), Calls::default());
}

#[tokio::test]
async fn a_remount_with_a_warm_cache_only_resolves_its_source() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    let first = walk(&vfs).await.unwrap();
    vfs.base().settle().await;
    drop(vfs);
    setup.remote.take_calls();
    let vfs = setup.mount().await;
    assert_eq!(walk(&vfs).await.unwrap(), first);
    let only = Calls::made([(Call::ResolveSource, 1)]);
    assert_eq!(setup.remote.take_calls(), only);
}

#[tokio::test]
async fn tiny_memory_is_made_up_for_by_the_disk() {
    let setup = Setup::new();
    let tiny = VfsConfig {
        listings_len_max: 1,
        reader: ReaderConfig {
            blocks_len_max: 1,
            places_len_max: 1,
            footers_len_max: 1,
            ..ReaderConfig::default()
        },
        ..config()
    };
    let vfs = setup.mount_with(tiny).await;
    let first = walk(&vfs).await.unwrap();
    vfs.base().settle().await;
    setup.remote.take_calls();
    assert_eq!(walk(&vfs).await.unwrap(), first);
    assert_eq!(setup.remote.take_calls(), Calls::default());
    let stats = vfs.base().stats();
    assert!(stats.blocks <= 1 && stats.listings <= 1, "{stats:?}");
}

#[tokio::test]
async fn answers_from_memory_are_those_that_waiting_gives() {
    let setup = Setup::new();
    let vfs = setup.mount().await;
    assert!(at_once(vfs.lookup(nodeid::ROOT, b"lib")).is_none());
    for (path, seen) in walk(&vfs).await.unwrap() {
        let ino = seen.attr.ino;
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parent = find(&vfs, dir).await.unwrap().ino;
        let entry = at_once(vfs.lookup(parent, name.as_bytes())).unwrap();
        assert_eq!(lasting(entry.unwrap().attr), seen.attr);
        let attr = at_once(vfs.getattr(ino)).unwrap().unwrap();
        assert_eq!(lasting(attr), seen.attr);
        match seen.attr.kind {
            FileKind::Symlink => {
                assert_eq!(at_once(vfs.readlink(ino)).unwrap().unwrap(), seen.bytes);
            }
            FileKind::File => {
                let bytes = at_once(vfs.read(ino, 0, u32::MAX)).unwrap();
                assert_eq!(bytes.unwrap(), seen.bytes, "{path}");
            }
            _ => {}
        }
    }
    let tool = find(&vfs, "lib/tool.js").await.unwrap().ino;
    assert_eq!(at_once(vfs.read(tool, 8, 3)).unwrap().unwrap(), "log");
    assert_eq!(at_once(vfs.read(tool, 99, 3)).unwrap().unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_readers_of_one_block_are_one_fetch() {
    let setup = Setup::new();
    let vfs = Arc::new(setup.mount().await);
    let ino = find(&vfs, "lib/p00/f03.js").await.unwrap().ino;
    setup.remote.take_calls();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let vfs = Arc::clone(&vfs);
            tokio::spawn(async move { vfs.read(ino, 0, 1000).await.unwrap() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().len(), 1000);
    }
    // One read for the index of the chunk, one for blocks.
    let once = Calls::made([(Call::Resolve, 1), (Call::ReadChunk, 2)]);
    assert_eq!(setup.remote.take_calls(), once);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_mounts_share_one_cache() {
    let setup = Arc::new(Setup::new());
    let first = Arc::new(walk(&setup.mount().await).await.unwrap());
    let mounts: Vec<_> = (0..20)
        .map(|_| {
            let (setup, first) = (Arc::clone(&setup), Arc::clone(&first));
            tokio::spawn(async move {
                assert_eq!(walk(&setup.mount().await).await.unwrap(), *first);
            })
        })
        .collect();
    for mount in mounts {
        mount.await.unwrap();
    }
}
