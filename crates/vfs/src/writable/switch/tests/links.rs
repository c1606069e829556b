//! Hard links that come, go and change between versions.

use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_types::{Kind, Link, LinkId};

use super::world::{ROOT, World};
use crate::writable::request::Privileges;

/// A tree with these names for one content; those with a link id are hard links.
fn tree(names: &[(&str, Option<u64>)]) -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.directory("d");
    for (name, link) in names {
        let content = tree.content(b"text");
        let nlink = names.iter().filter(|it| it.1 == *link).count();
        let mut record = plain(Kind::File { size: 4, content }, 0o644);
        record.link = link.map(|id| Link {
            id: LinkId(id),
            nlink: u32::try_from(nlink).unwrap(),
        });
        tree.add(name, record);
    }
    tree
}

/// Returns a world that shows the second of two versions, whose names were all looked up in this
/// order.
async fn second_of(
    first: &[(&str, Option<u64>)],
    second: &[(&str, Option<u64>)],
) -> (World, lfsfs_remote::Snapshot) {
    let world = World::new(&tree(first)).await;
    let before = world.snapshot(1);
    let after = world.serve(&tree(second));
    world.switch(&after).await.unwrap();
    for (name, _) in second {
        let ino = world.find(name).await;
        world.attr(ino).await;
    }
    (world, before)
}

#[tokio::test]
async fn a_link_that_was_committed_here_is_a_plain_file_in_the_version_before() {
    let mut world = World::new(&tree(&[])).await;
    world.create("file", b"text").await;
    world.commit().await;
    let second = world.snapshot(2);
    let ino = world.find("file").await;
    world.link("file", "file-2").await;
    world.commit().await;
    assert_eq!(world.attr(ino).await.nlink, 2);
    world.check().await;

    world.switch(&second).await.unwrap();
    world.check().await;
    assert_eq!(world.find("file").await, ino);
    assert_eq!(world.attr(ino).await.nlink, 1);
    assert_eq!(world.lookup(ROOT, "file-2").await, None);
    let third = world.snapshot(3);
    world.switch(&third).await.unwrap();
    world.check().await;
    for name in ["file", "file-2"] {
        assert_eq!(world.find(name).await, ino, "{name}");
    }
    assert_eq!(world.attr(ino).await.nlink, 2);
}

#[tokio::test]
async fn a_link_stays_itself_when_the_name_that_led_to_it_goes() {
    let link = Some(7);
    let (world, before) = second_of(
        &[("d/a", link), ("b", link)],
        &[("c", link), ("d/a", link), ("b", link)],
    )
    .await;
    let ino = world.find("c").await;
    world.switch(&before).await.unwrap();
    world.check().await;
    for name in ["d/a", "b"] {
        assert_eq!(world.find(name).await, ino, "{name}");
    }
    let written = world.vfs.write(ino, 0, b"x", Privileges::Keep).await;
    assert_eq!(written.unwrap().len, 1);
}

#[tokio::test]
async fn names_that_stop_being_one_file_are_two() {
    let link = Some(7);
    let (world, before) = second_of(&[("a", None), ("b", None)], &[("a", link), ("b", link)]).await;
    let ino = world.find("b").await;
    world.switch(&before).await.unwrap();
    world.check().await;
    let (a, b) = (world.find("a").await, world.find("b").await);
    assert_ne!(a, b);
    assert!(a == ino || b == ino, "{ino} became {a} and {b}");
}

#[tokio::test]
async fn names_that_become_one_file_are_one() {
    let link = Some(7);
    let (world, before) = second_of(&[("a", link), ("b", link)], &[("a", None), ("b", None)]).await;
    let plain = [world.find("a").await, world.find("b").await];
    let second = world.snapshot(2);
    for _ in 0..2 {
        world.switch(&before).await.unwrap();
        world.check().await;
        let (a, b) = (world.find("a").await, world.find("b").await);
        assert_eq!(a, b);
        assert!(plain.contains(&a), "{a} is new");
        world.switch(&second).await.unwrap();
        world.check().await;
        assert_eq!(plain, [world.find("a").await, world.find("b").await]);
    }
}
