//! What is open while the version below it goes and comes again.

use super::world::{ROOT, World};
use super::{next, tree};
use crate::writable::request::{Allocation, Privileges};

#[tokio::test]
async fn a_file_that_was_made_here_can_be_written_again_when_its_version_is_back() {
    let mut world = World::new(&tree()).await;
    world.create("made", b"made").await;
    world.commit().await;
    let ino = world.find("made").await;
    let (first, second) = (world.snapshot(1), world.snapshot(2));
    world.switch(&first).await.unwrap();
    assert_eq!(world.lookup(ROOT, "made").await, None);
    assert_eq!(world.read(ino).await, b"made");
    world.switch(&second).await.unwrap();
    world.check().await;

    // No program looked the name up again: the number alone is enough.
    let keep = Privileges::Keep;
    let longer = world.vfs.fallocate(ino, 0, 6, Allocation::Extend, keep);
    longer.await.unwrap();
    world.vfs.write(ino, 0, b"M", keep).await.unwrap();
    assert_eq!(world.vfs.read(ino, 0, 10).await.unwrap(), &b"Made\0\0"[..]);
    assert_eq!(world.find("made").await, ino);
    let remounted = world.remount().await;
    let ino = remounted.find("made").await;
    assert_eq!(remounted.read(ino).await, b"Made\0\0");
}

#[tokio::test]
async fn a_file_that_was_opened_can_be_written_again_when_its_version_is_back() {
    let world = World::new(&tree()).await;
    let (first, second) = (world.snapshot(1), world.serve(&next()));
    let opened = [world.find("a/other").await, world.find("top").await];
    for to in [&second, &first] {
        world.switch(to).await.unwrap();
        world.check().await;
    }
    for ino in opened {
        world
            .vfs
            .write(ino, 0, b"x", Privileges::Keep)
            .await
            .unwrap();
    }
    assert_eq!(world.find("a/other").await, opened[0]);
    assert_eq!(world.find("top").await, opened[1]);
}
