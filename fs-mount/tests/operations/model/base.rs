//! The tree that both sides begin with, and a machine that mounts it without a kernel.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_mount::operations::{Operations, OperationsConfig};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{DirId, Kind, Link, LinkId, Record, Timestamp};
use lfsfs_vfs::{BaseVersion, OverlayPlace, Vfs, VfsConfig};
use tokio::runtime::Handle;

/// The time of everything in the base: seconds and nanoseconds.
pub(super) const TIME: (i64, u32) = (1_000_000_000, 5);
pub(super) const XATTRS: [&str; 3] = ["user.a", "user.b/c", "user.long-name"];
const CHUNK_LEN: u64 = 1 << 20;
const LARGE_LEN: usize = 3 << 20;

/// What the base has at a path.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Directory { mode: u16, gid: u32 },
    File { bytes: Vec<u8>, nlink: u32 },
    Link { to: &'static str },
    Symlink { target: &'static str },
}

/// The base, directories first.
pub(super) fn entries() -> Vec<(&'static str, Entry)> {
    let directory = |mode, gid| Entry::Directory { mode, gid };
    let file = |seed, len, nlink| Entry::File {
        bytes: noise(seed, len),
        nlink,
    };
    vec![
        ("a", directory(0o755, 1000)),
        ("a/a", file(1, 100, 1)),
        ("a/b", file(2, 5000, 1)),
        ("a/c", directory(0o700, 1000)),
        ("a/c/a", file(3, 10, 1)),
        ("b", directory(0o2775, 77)),
        ("b/a", Entry::Symlink { target: "nowhere" }),
        ("b/b", file(4, 300, 2)),
        ("c", Entry::Link { to: "b/b" }),
        ("d", file(5, LARGE_LEN, 1)),
    ]
}

/// Bytes that do not compress, the same for equal seeds.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..len).map(next).collect()
}

/// The value of an attribute.
pub(super) fn value(seed: u8) -> Vec<u8> {
    noise(u64::from(seed), usize::from(seed) / 2)
}

fn record(tree: &mut MemoryTree, entry: &Entry) -> Record {
    let mut record = match entry {
        Entry::Directory { mode, gid } => {
            let mut record = plain(Kind::Directory { dir: DirId::ROOT }, (*mode).into());
            record.gid = *gid;
            record
        }
        Entry::File { bytes, nlink } => {
            let (size, content) = (bytes.len() as u64, tree.content(bytes));
            let mut record = plain(Kind::File { size, content }, 0o644);
            record.link = (*nlink > 1).then_some(Link {
                id: LinkId(5),
                nlink: *nlink,
            });
            record
        }
        Entry::Link { to } => {
            let linked = entries().into_iter().find(|it| it.0 == *to).unwrap();
            record(tree, &linked.1)
        }
        Entry::Symlink { target } => {
            let target = target.as_bytes().into();
            plain(Kind::Symlink { target }, 0o777)
        }
    };
    record.mtime = Timestamp {
        secs: TIME.0,
        nanos: TIME.1,
    };
    record.ctime = record.mtime;
    record
}

fn remote() -> Arc<MemoryRemote> {
    static REMOTE: OnceLock<Arc<MemoryRemote>> = OnceLock::new();
    let serve = || {
        let mut tree = MemoryTree::new();
        for (path, entry) in entries() {
            let record = record(&mut tree, &entry);
            tree.add(path, record);
        }
        let remote = MemoryRemote::new();
        remote.serve("app", 9, &tree, CHUNK_LEN);
        remote
    };
    Arc::clone(REMOTE.get_or_init(serve))
}

/// Directories for cache and overlay, and a clock that moves when it is told.
pub(super) struct Machine {
    dir: ThreadDir,
    clock: Arc<TestClock>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            dir: ThreadDir::in_memory().unwrap(),
            clock: Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000))),
        }
    }

    pub(super) fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// Mounts the base with the changes of earlier mounts.
    pub(super) async fn mount(&self) -> Operations {
        let cache = DiskCache::open(&self.path("cache"), CacheConfig::default()).unwrap();
        let source = "app".parse().unwrap();
        let base = BaseVersion::open(remote(), cache, &source, VfsConfig::default()).await;
        let place = OverlayPlace {
            dir: self.path("overlay"),
            options: OverlayOptions {
                // A process that another test is just starting holds every lock until it runs its
                // program.
                lock_wait: Duration::from_secs(1),
                ..OverlayOptions::default()
            },
        };
        let vfs = Vfs::open(base.unwrap(), place, self.clock.clone()).await;
        let vfs = Arc::new(vfs.unwrap());
        Operations::new(vfs, OperationsConfig::default(), None, Handle::current())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
