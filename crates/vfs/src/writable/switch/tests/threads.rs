//! Readers and writers in threads while one version takes the place of another below them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lfsfs_remote::memory::MemoryTree;

use super::world::{ROOT, World};
use crate::verb_error::SwitchError;
use crate::writable::Vfs;

const FLIPS: usize = 150;
const READERS: usize = 3;
const FILES: usize = 12;

/// A version whose every file says which version it is of, but for those that never change.
fn tree(version: usize) -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.directory("d")
        .file(&format!("d/{version}-first"), b"shifts the others")
        .file("d/same", b"same in all");
    for file in 0..FILES {
        let bytes = format!("{version} {file}").repeat(version * 50);
        tree.file(&format!("d/f{file}"), bytes.as_bytes());
    }
    tree
}

/// Reads for as long as there are flips. Every answer must be whole and of one version.
async fn read_on(vfs: Arc<Vfs>, done: Arc<AtomicBool>) -> usize {
    let dir = vfs.lookup(ROOT, b"d").await.unwrap().attr.ino;
    let same = vfs.lookup(dir, b"same").await.unwrap().attr.ino;
    let mut contents: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        for file in 0..FILES {
            let found = vfs.lookup(dir, format!("f{file}").as_bytes()).await;
            let attr = found.unwrap().attr;
            let bytes = vfs.read(attr.ino, 0, 1 << 20).await.unwrap().to_vec();
            assert_eq!(bytes.len() as u64, attr.size);
            let known = contents.entry(attr.ino).or_insert_with(|| bytes.clone());
            assert!(*known == bytes, "{} changed its content", attr.ino);
            tokio::task::yield_now().await;
        }
        assert_eq!(vfs.lookup(dir, b"same").await.unwrap().attr.ino, same);
        assert_eq!(&vfs.read(same, 0, 100).await.unwrap()[..], b"same in all");
        list_one_version(&vfs, dir).await;
        rounds += 1;
    }
    for (ino, bytes) in contents {
        assert!(vfs.read(ino, 0, 1 << 20).await.unwrap() == bytes);
    }
    rounds
}

async fn list_one_version(vfs: &Vfs, dir: u64) {
    let mut firsts = 0;
    let mut names = 0;
    vfs.readdir(dir, 0, true, &mut |entry| {
        firsts += usize::from(entry.name.ends_with(b"-first"));
        names += 1;
        true
    })
    .await
    .unwrap();
    // A reply may end early; it never has names of two versions.
    assert!(firsts <= 1 && names <= FILES + 4, "{firsts} {names}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_a_mixture_an_error_or_a_wrong_byte() {
    let world = World::new(&tree(1)).await;
    let mut snapshots = vec![world.snapshot(1)];
    snapshots.extend([2, 3].map(|version| world.serve(&tree(version))));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| tokio::spawn(read_on(world.vfs.clone(), done.clone())))
        .collect();
    for flip in 0..FLIPS {
        world.switch(&snapshots[flip % 3]).await.unwrap();
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_switches_never_lose_a_change() {
    let world = World::new(&tree(1)).await;
    let other = world.serve(&tree(2));
    let snapshots = [world.snapshot(1), other];
    let vfs = world.vfs.clone();
    let made = tokio::spawn(async move {
        for round in 0..FLIPS {
            let name = format!("made-{round}");
            let owner = crate::writable::request::Owner { uid: 0, gid: 0 };
            let made = vfs.mkdir(ROOT, name.as_bytes(), 0o755, owner).await;
            let ino = made.unwrap().attr.ino;
            let found = vfs.lookup(ROOT, name.as_bytes()).await.unwrap();
            assert_eq!(found.attr.ino, ino);
            vfs.rmdir(ROOT, name.as_bytes()).await.unwrap();
            vfs.forget(ino, 2);
        }
    });
    for flip in 0..FLIPS {
        // Once something was written it is refused; until then it may go through.
        match world.switch(&snapshots[flip % 2]).await {
            Ok(_) | Err(SwitchError::HasChanges { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        tokio::task::yield_now().await;
    }
    made.await.unwrap();
    world.check().await;
}
