//! Listings in bulk: how few calls bring a tree, and what becomes of streams that break, of caches that are damaged or
//! gone, and of versions that differ in little.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lfsfs_remote::Call;
use lfsfs_remote::memory::{Calls, Faults, MemoryRemote, MemoryTree};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::nodeid;
use lfsfs_vfs::{Vfs, VfsConfig};

use crate::support::{CHUNK_LEN, config, find, list, open, walk};

const TOPS: usize = 20;
const BELOW: usize = 200;
/// With the root.
const DIRECTORIES: usize = 1 + TOPS + TOPS * BELOW;

fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for top in 0..TOPS {
        tree.directory(&format!("t{top:02}"));
        for below in 0..BELOW {
            let dir = format!("t{top:02}/d{below:03}");
            tree.directory(&dir).file(&format!("{dir}/empty"), b"");
        }
    }
    tree
}

struct World {
    remote: Arc<MemoryRemote>,
    tree: MemoryTree,
    cache: ThreadDir,
}

impl World {
    fn new() -> Self {
        let (remote, tree) = (MemoryRemote::new(), tree());
        remote.serve("app", 9, &tree, CHUNK_LEN);
        let cache = ThreadDir::new().unwrap();
        Self {
            remote,
            tree,
            cache,
        }
    }

    async fn mount(&self) -> Vfs {
        self.mount_with(config()).await
    }

    async fn mount_with(&self, config: VfsConfig) -> Vfs {
        let vfs = open(&self.remote, self.cache.path(), config).await.unwrap();
        self.remote.take_calls();
        vfs
    }

    /// Walks over everything in a mount of its own, and returns the calls for listings.
    async fn walked(&self, objects: usize) -> Listed {
        let vfs = self.mount().await;
        assert_eq!(walk(&vfs).await.unwrap().len(), objects);
        let listed = Listed::of(&self.remote.take_calls());
        at_rest(&vfs).await;
        listed
    }

    fn files(&self, store: &str) -> Vec<PathBuf> {
        files_below(&self.cache.path().join(store))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    alone: u64,
    in_bulk: u64,
}

impl Listed {
    fn of(calls: &Calls) -> Self {
        Self {
            alone: calls.of(Call::ListDirectory),
            in_bulk: calls.of(Call::ListTree),
        }
    }

    fn all(self) -> u64 {
        self.alone + self.in_bulk
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

/// Waits until no stream runs and all that came is on disk.
async fn at_rest(vfs: &Vfs) {
    for _ in 0..1000 {
        if vfs.base().tasks().spawner().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    vfs.base().settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_takes_a_few_calls_the_next_version_fewer_and_a_warm_cache_none() {
    let mut world = World::new();
    let objects = DIRECTORIES - 1 + TOPS * BELOW;
    let first = world.walked(objects).await;
    assert!(first.all() <= 10, "{first:?}");
    assert_eq!(world.walked(objects).await.all(), 0);
    let (alone, together) = (world.files("listings").len(), world.files("batches").len());
    assert!(alone <= 8 && together <= 4, "{alone} files and {together}");

    world.tree.file("t07/d100/more", b"");
    let _ = world.remote.serve_next("app", &world.tree, CHUNK_LEN);
    let second = world.walked(objects + 1).await;
    assert!(second.all() <= 3, "{second:?}");
    assert_eq!(world.walked(objects + 1).await.all(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_look_at_the_root_brings_nothing_else() {
    let world = World::new();
    let vfs = world.mount().await;
    assert_eq!(list(&vfs, nodeid::ROOT).await.unwrap().len(), TOPS);
    at_rest(&vfs).await;
    let listed = Listed::of(&world.remote.take_calls());
    assert_eq!((listed.alone, listed.in_bulk), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_stays_near_to_the_program_that_goes_through_the_tree() {
    let world = World::new();
    let near = VfsConfig {
        listings_ahead_max: 100,
        ..config()
    };
    let vfs = world.mount_with(near).await;
    for dir in 0..6 {
        let found = find(&vfs, &format!("t00/d{dir:03}")).await.unwrap();
        list(&vfs, found.ino).await.unwrap();
    }
    // It rests when no directory was asked for in five seconds.
    at_rest(&vfs).await;
    let logged: u64 = world
        .files("versions")
        .iter()
        .map(|it| it.metadata().unwrap().len() / 28)
        .sum();
    assert!((6..150).contains(&logged), "{logged} listings");
    for top in 0..TOPS {
        for below in 0..BELOW {
            let path = format!("t{top:02}/d{below:03}");
            let found = find(&vfs, &path).await.unwrap();
            list(&vfs, found.ino).await.unwrap();
        }
    }
    let listed = Listed::of(&world.remote.take_calls());
    assert!(listed.all() <= 30, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_that_goes_elsewhere_is_answered_all_the_same() {
    let world = World::new();
    let near = VfsConfig {
        listings_ahead_max: 100,
        ..config()
    };
    let vfs = world.mount_with(near).await;
    let objects = DIRECTORIES - 1 + TOPS * BELOW;
    // From the last directory to the first: never what the stream brings next.
    assert_eq!(walk(&vfs).await.unwrap().len(), objects);
    let listed = Listed::of(&world.remote.take_calls());
    assert!(listed.in_bulk <= 20, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_breaks_costs_calls_and_nothing_else() {
    let world = World::new();
    let objects = DIRECTORIES - 1 + TOPS * BELOW;
    world.remote.set_faults(Faults {
        tree_breaks_after: Some(1000),
        ..Faults::default()
    });
    let vfs = world.mount().await;
    assert_eq!(walk(&vfs).await.unwrap().len(), objects);
    let broken = Listed::of(&world.remote.take_calls());
    assert!(broken.in_bulk >= 1, "{broken:?}");
    assert!(broken.alone > 10, "{broken:?}");
    at_rest(&vfs).await;
    drop(vfs);
    world.remote.set_faults(Faults::default());
    assert_eq!(world.walked(objects).await.all(), 0, "all of it was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_that_is_damaged_or_gone_is_filled_again() {
    let world = World::new();
    let objects = DIRECTORIES - 1 + TOPS * BELOW;
    assert!(world.walked(objects).await.all() <= 10);
    for path in world.files("batches") {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&path, bytes).unwrap();
    }
    let again = world.walked(objects).await;
    assert!(again.all() <= 12, "{again:?}");
    assert_eq!(world.walked(objects).await.all(), 0);
    fs::remove_dir_all(world.cache.path().join("batches")).unwrap();
    let again = world.walked(objects).await;
    assert!((1..=12).contains(&again.all()), "{again:?}");
    assert_eq!(world.walked(objects).await.all(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_of_many_entries_comes_with_the_others() {
    let world = World::new();
    let mut tree = MemoryTree::new();
    tree.directory("large");
    for number in 0..100_000 {
        tree.file(&format!("large/f{number}"), b"");
    }
    for dir in 0..50 {
        tree.directory(&format!("s{dir}"));
    }
    world.remote.serve("app", 8, &tree, CHUNK_LEN);
    let listed = world.walked(100_051).await;
    assert!(listed.all() <= 10, "{listed:?}");
    assert_eq!(world.walked(100_051).await.all(), 0);
}
