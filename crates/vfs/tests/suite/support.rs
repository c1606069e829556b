//! A tree, a server, a cache, and a walk over everything.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::SystemClock;
use lfsfs_remote::MemoryRemote;
pub(crate) use lfsfs_remote::memory::sample::noise;
use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{DirId, Kind, Link, LinkId, Source, Xattr, XattrName, XattrValue, nodeid};
use lfsfs_vfs::{Attr, BaseVersion, FileKind, Vfs, VfsConfig, VfsError};

pub(crate) const CHUNK_LEN: u64 = 1 << 20;

/// A tree with something of everything.
pub(crate) fn sample() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.directory("empty")
        .directory("bin")
        .symlink("bin/tool", "../lib/tool.js")
        .directory("lib")
        .file("lib/tool.js", b"console.log('tool')\n")
        .file("lib/nothing", b"")
        .file("large", &noise(1, 9 << 20));
    for package in 0..40u64 {
        let dir = format!("lib/p{package:02}");
        tree.directory(&dir);
        for file in 0..12u64 {
            let len = 200 + (package * 977 + file * 3301) % 40_000;
            let bytes = noise(package * 100 + file, usize::try_from(len).unwrap());
            tree.file(&format!("{dir}/f{file:02}.js"), &bytes);
        }
    }
    add_links(&mut tree);
    add_specials(&mut tree);
    tree
}

fn add_links(tree: &mut MemoryTree) {
    let content = tree.content(b"shared by names");
    let mut record = plain(Kind::File { size: 15, content }, 0o600);
    record.link = Some(Link {
        id: LinkId(5),
        nlink: 2,
    });
    tree.add("bin/link-a", record.clone())
        .add("lib/link-b", record);
}

fn add_specials(tree: &mut MemoryTree) {
    tree.add("fifo", plain(Kind::Fifo, 0o644));
    tree.add("null", plain(Kind::CharDevice { rdev: 0x103 }, 0o666));
    let value = noise(77, 5000);
    let content = tree.content(&value);
    let mut record = plain(Kind::Directory { dir: DirId::ROOT }, 0o1777);
    let xattr = |name: &[u8], value| Xattr {
        name: XattrName::new(name).unwrap(),
        value,
    };
    record.xattrs = vec![
        xattr(b"user.big", XattrValue::Content { content, len: 5000 }),
        xattr(
            b"user.small",
            XattrValue::Inline(b"value".as_slice().into()),
        ),
    ];
    tree.add("attributed", record);
}

pub(crate) struct Setup {
    pub(crate) remote: Arc<MemoryRemote>,
    pub(crate) tree: MemoryTree,
    pub(crate) dir: ThreadDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let (remote, tree) = (MemoryRemote::new(), sample());
        remote.serve("app", 9, &tree, CHUNK_LEN);
        let dir = ThreadDir::new().unwrap();
        Self { remote, tree, dir }
    }

    pub(crate) fn cache_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn mount(&self) -> Vfs {
        self.mount_with(config()).await
    }

    pub(crate) async fn mount_with(&self, config: VfsConfig) -> Vfs {
        open(&self.remote, self.cache_dir(), config).await.unwrap()
    }
}

pub(crate) fn config() -> VfsConfig {
    VfsConfig {
        timeout: Duration::from_secs(5),
        ..VfsConfig::default()
    }
}

/// Opens the newest version as a mount that cannot be written does.
pub(crate) async fn open(
    remote: &Arc<MemoryRemote>,
    dir: &Path,
    config: VfsConfig,
) -> Result<Vfs, VfsError> {
    let base = open_base(remote, dir, config).await?;
    Vfs::read_only(base, Arc::new(SystemClock))
}

/// Opens the newest version, to put a file system above it.
pub(crate) async fn open_base(
    remote: &Arc<MemoryRemote>,
    dir: &Path,
    config: VfsConfig,
) -> Result<BaseVersion, VfsError> {
    let cache = DiskCache::open(dir, CacheConfig::default()).unwrap();
    let source: Source = "app".parse().unwrap();
    BaseVersion::open(remote.clone(), cache, &source, config).await
}

/// What a user sees of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) attr: Attr,
    /// Bytes of a file, target of a link.
    pub(crate) bytes: Bytes,
}

/// Reads everything below the root, by path.
pub(crate) async fn walk(vfs: &Vfs) -> Result<BTreeMap<String, Seen>, VfsError> {
    let mut seen = BTreeMap::new();
    let mut open = vec![(String::new(), nodeid::ROOT)];
    while let Some((dir, ino)) = open.pop() {
        for (name, attr) in list(vfs, ino).await? {
            let path = format!("{dir}{name}");
            let bytes = match attr.kind {
                FileKind::File => read_all(vfs, &attr).await?,
                FileKind::Symlink => vfs.readlink(attr.ino).await?,
                _ => Bytes::new(),
            };
            if attr.kind == FileKind::Directory {
                open.push((format!("{path}/"), attr.ino));
            }
            let attr = lasting(attr);
            seen.insert(path, Seen { attr, bytes });
        }
    }
    Ok(seen)
}

/// Lists a directory as a kernel would, in small replies.
pub(crate) async fn list(vfs: &Vfs, ino: u64) -> Result<Vec<(String, Attr)>, VfsError> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    loop {
        let before = offset;
        let mut room = 7;
        vfs.readdir(ino, offset, true, &mut |entry| {
            if room == 0 {
                return false;
            }
            room -= 1;
            offset = entry.offset;
            if let Some(attr) = entry.attr {
                entries.push((String::from_utf8_lossy(entry.name).into_owned(), attr));
            }
            true
        })
        .await?;
        if offset == before {
            return Ok(entries);
        }
    }
}

/// Returns what never changes of attributes: blocks of a large file are an estimate until it is known what
/// that is cut into.
pub(crate) fn lasting(attr: Attr) -> Attr {
    Attr { blocks: 0, ..attr }
}

pub(crate) async fn read_all(vfs: &Vfs, attr: &Attr) -> Result<Bytes, VfsError> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < attr.size {
        let part = vfs.read(attr.ino, bytes.len() as u64, 128 << 10).await?;
        assert!(!part.is_empty(), "a read before the end brought nothing");
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.into())
}

/// Looks up a path; every part keeps its lookup.
pub(crate) async fn find(vfs: &Vfs, path: &str) -> Result<Attr, VfsError> {
    let mut attr = vfs.getattr(nodeid::ROOT).await?;
    for name in path.split('/').filter(|it| !it.is_empty()) {
        attr = vfs.lookup(attr.ino, name.as_bytes()).await?.attr;
    }
    Ok(attr)
}

/// Returns what a call answers at once, as a kernel transport asks where it received the request;
/// `None` if the call waits for something.
pub(crate) fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(call).poll(&mut context) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
