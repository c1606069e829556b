//! A small version to be written to, and a mount of it without a kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::MemoryTree;
use lfsfs_remote::memory::sample;
pub(crate) use lfsfs_remote::memory::sample::LARGE_LEN;
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::nodeid;
use lfsfs_vfs::{BaseVersion, OverlayPlace, Owner, Vfs, VfsError};

pub(crate) use crate::support::find;
use crate::support::{self, CHUNK_LEN};

pub(crate) const ROOT: u64 = nodeid::ROOT;
pub(crate) const OWNER: Owner = Owner { uid: 0, gid: 0 };
/// Splits names with a NUL behind each.
pub(crate) fn split(names: &[u8]) -> Vec<String> {
    let names = names.split(|byte| *byte == 0).filter(|it| !it.is_empty());
    names
        .map(|it| String::from_utf8(it.to_vec()).unwrap())
        .collect()
}

/// A server, directories for cache and overlay, and a clock that moves when it is told.
pub(crate) struct Machine {
    pub(crate) remote: Arc<MemoryRemote>,
    pub(crate) dir: ThreadDir,
    pub(crate) clock: Arc<TestClock>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(&sample::tree())
    }

    pub(crate) fn with(tree: &MemoryTree) -> Self {
        let remote = MemoryRemote::new();
        remote.serve("app", 9, tree, CHUNK_LEN);
        Self {
            remote,
            dir: ThreadDir::in_memory().unwrap(),
            clock: Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000))),
        }
    }

    pub(crate) fn overlay_dir(&self) -> PathBuf {
        self.dir.path().join("overlay")
    }

    pub(crate) async fn mount(&self) -> Vfs {
        self.try_mount(&self.overlay_dir()).await.unwrap()
    }

    pub(crate) async fn base(&self) -> Result<BaseVersion, VfsError> {
        let cache = self.dir.path().join("cache");
        support::open_base(&self.remote, &cache, support::config()).await
    }

    pub(crate) async fn try_mount(&self, overlay: &Path) -> Result<Vfs, VfsError> {
        let base = self.base().await?;
        let options = OverlayOptions {
            // A process that another test is just starting holds every lock until it runs its program.
            lock_wait: Duration::from_secs(1),
            ..OverlayOptions::default()
        };
        let place = OverlayPlace {
            dir: overlay.to_owned(),
            options,
        };
        Vfs::open(base, place, self.clock.clone()).await
    }

    pub(crate) fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// Returns how many bytes the segments of the log have.
    pub(crate) fn log_len(&self) -> u64 {
        let files = std::fs::read_dir(self.overlay_dir()).into_iter().flatten();
        let logs = files.filter_map(|file| {
            let file = file.unwrap();
            let is_log = file.path().extension().is_some_and(|it| it == "log");
            is_log.then(|| file.metadata().unwrap().len())
        });
        logs.sum()
    }
}

pub(crate) async fn ino(vfs: &Vfs, path: &str) -> u64 {
    find(vfs, path).await.unwrap().ino
}

/// Lists a directory as a kernel would, in small replies, without counting.
pub(crate) async fn list(vfs: &Vfs, ino: u64) -> Vec<String> {
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let part = list_some(vfs, ino, &mut offset, 5).await;
        if part.is_empty() {
            names.sort();
            return names;
        }
        names.extend(part.into_iter().filter(|it| it != "." && it != ".."));
    }
}

/// Reads up to `room` entries from `offset` on and moves it.
pub(crate) async fn list_some(vfs: &Vfs, ino: u64, offset: &mut u64, room: usize) -> Vec<String> {
    let mut names = Vec::new();
    vfs.readdir(ino, *offset, false, &mut |entry| {
        if names.len() == room {
            return false;
        }
        *offset = entry.offset;
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .await
    .unwrap();
    names
}

pub(crate) async fn read_all(vfs: &Vfs, ino: u64) -> Vec<u8> {
    let size = vfs.getattr(ino).await.unwrap().size;
    let bytes = vfs.read(ino, 0, u32::try_from(size).unwrap()).await;
    bytes.unwrap().to_vec()
}
