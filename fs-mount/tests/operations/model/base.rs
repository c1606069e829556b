//! The tree that both sides begin with, and a machine that mounts it without a kernel.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_mount::operations::{Operations, OperationsConfig};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::sample::tree;
pub(super) use lfsfs_remote::memory::sample::{Entry, TIME, entries, noise};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_vfs::{BaseVersion, OverlayPlace, Vfs, VfsConfig};
use tokio::runtime::Handle;

pub(super) const XATTRS: [&str; 3] = ["user.a", "user.b/c", "user.long-name"];
const CHUNK_LEN: u64 = 1 << 20;

/// The value of an attribute.
pub(super) fn value(seed: u8) -> Vec<u8> {
    noise(u64::from(seed), usize::from(seed) / 2)
}

fn remote() -> Arc<MemoryRemote> {
    static REMOTE: OnceLock<Arc<MemoryRemote>> = OnceLock::new();
    let serve = || {
        let remote = MemoryRemote::new();
        remote.serve("app", 9, &tree(), CHUNK_LEN);
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
