//! A small version to be written to, and a mount of it without a kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{DirId, Kind, Link, LinkId, Record, Timestamp, nodeid};
use lfsfs_vfs::{BaseVersion, OverlayPlace, Owner, Vfs, VfsError};

pub(crate) use crate::support::find;
use crate::support::{self, CHUNK_LEN, noise};

pub(crate) const ROOT: u64 = nodeid::ROOT;
pub(crate) const OWNER: Owner = Owner { uid: 0, gid: 0 };
/// The time of everything in the base.
pub(crate) const TIME: (i64, u32) = (1_000_000_000, 5);
pub(crate) const LARGE_LEN: usize = 3 << 20;

/// What the base has at a path.
#[derive(Clone)]
pub(crate) enum Entry {
    Directory { mode: u16, gid: u32 },
    File { bytes: Vec<u8>, nlink: u32 },
    Link { to: &'static str },
    Symlink { target: &'static str },
}

/// The base, directories first.
pub(crate) fn entries() -> Vec<(&'static str, Entry)> {
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

/// Splits names with a NUL behind each.
pub(crate) fn split(names: &[u8]) -> Vec<String> {
    let names = names.split(|byte| *byte == 0).filter(|it| !it.is_empty());
    names
        .map(|it| String::from_utf8(it.to_vec()).unwrap())
        .collect()
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

pub(crate) fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for (path, entry) in entries() {
        let record = record(&mut tree, &entry);
        tree.add(path, record);
    }
    tree
}

/// A server, directories for cache and overlay, and a clock that moves when it is told.
pub(crate) struct Machine {
    pub(crate) remote: Arc<MemoryRemote>,
    pub(crate) dir: ThreadDir,
    pub(crate) clock: Arc<TestClock>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(&tree())
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
