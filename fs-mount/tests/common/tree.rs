//! A small version in memory, served by the adapter alone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_mount::nodes::{
    Attr, DirEntry, DirSink, EntryLookup, NodeError, NodeKind, Nodes, Statfs,
};
use lfsfs_types::Timestamp;

const ROOT: u64 = 1;
/// Files below this are answered from memory at once, others by a task.
const SLOW_NAME: &str = "slow";

/// What a node is.
#[derive(Debug, Clone)]
pub enum Body {
    File { bytes: Bytes, mode: u32 },
    Symlink(Bytes),
    Directory(Vec<(String, u64)>),
}

/// Nodes numbered from the root on.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<u64, Body>,
    slow: Vec<u64>,
    lookups: Mutex<BTreeMap<u64, u64>>,
}

impl Tree {
    /// Makes `directories` directories with `files` files each, a link in each, and at the root a
    /// few objects that tests name: `hello` (a file), `slow` (a file whose bytes take a while),
    /// `panic` (one whose bytes cannot be read without a panic), and `programs` given.
    pub fn new(directories: u64, files: u64, programs: &[(&str, Vec<u8>, u32)]) -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            slow: Vec::new(),
            lookups: Mutex::default(),
        };
        let mut root = Vec::new();
        for directory in 0..directories {
            let entries = (0..files).map(|file| {
                let bytes = format!("{directory}/{file}\n").repeat(100);
                (format!("file-{file}"), file_of(bytes.into_bytes(), 0o644))
            });
            let link = (
                "link".to_owned(),
                Body::Symlink(Bytes::from_static(b"file-0")),
            );
            let entries = entries.chain([link]).collect::<Vec<_>>();
            let entries = entries
                .into_iter()
                .map(|(name, body)| (name, tree.add(body)))
                .collect();
            let number = tree.add(Body::Directory(entries));
            root.push((format!("directory-{directory}"), number));
        }
        for (name, bytes, mode) in [
            ("hello", b"hello\n".to_vec(), 0o644),
            (SLOW_NAME, b"slow\n".to_vec(), 0o644),
            ("panic", b"panic\n".to_vec(), 0o644),
        ]
        .iter()
        .chain(programs)
        {
            let number = tree.add(file_of(bytes.clone(), *mode));
            if *name == SLOW_NAME {
                tree.slow.push(number);
            }
            root.push(((*name).to_owned(), number));
        }
        tree.nodes.insert(ROOT, Body::Directory(root));
        tree
    }

    fn add(&mut self, body: Body) -> u64 {
        let number = ROOT + 1 + self.nodes.len() as u64;
        self.nodes.insert(number, body);
        number
    }

    fn body(&self, ino: u64) -> Result<&Body, NodeError> {
        self.nodes.get(&ino).ok_or(NodeError::Stale)
    }

    fn entries(&self, ino: u64) -> Result<&[(String, u64)], NodeError> {
        match self.body(ino)? {
            Body::Directory(entries) => Ok(entries),
            _ => Err(NodeError::NotDirectory),
        }
    }

    fn attr(&self, ino: u64) -> Result<Attr, NodeError> {
        let (kind, mode, size) = match self.body(ino)? {
            Body::File { bytes, mode } => (NodeKind::File, *mode, bytes.len()),
            Body::Symlink(target) => (NodeKind::Symlink, 0o777, target.len()),
            Body::Directory(_) => (NodeKind::Directory, 0o755, 4096),
        };
        let time = Timestamp {
            secs: 1_700_000_000,
            nanos: 123_456_789,
        };
        Ok(Attr {
            ino,
            size: size as u64,
            blocks: (size as u64).div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            kind,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
        })
    }

    fn find(&self, parent: u64, name: &[u8]) -> Result<Attr, NodeError> {
        let entries = self.entries(parent)?;
        let found = entries.iter().find(|(entry, _)| entry.as_bytes() == name);
        let (_, number) = found.ok_or(NodeError::NotFound)?;
        *self.lookups.lock().unwrap().entry(*number).or_default() += 1;
        self.attr(*number)
    }

    fn bytes(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, NodeError> {
        let Body::File { bytes, .. } = self.body(ino)? else {
            return Err(NodeError::IsDirectory);
        };
        assert!(!bytes.starts_with(b"panic"), "this file cannot be read");
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let end = (start + size as usize).min(bytes.len());
        Ok(bytes.slice(start..end))
    }

    fn list(
        &self,
        ino: u64,
        offset: u64,
        lookup: EntryLookup,
        sink: &mut DirSink<'_>,
    ) -> Result<(), NodeError> {
        let entries = self.entries(ino)?;
        let dots = [(".", ino), ("..", ROOT)];
        let all = dots.into_iter().chain(
            entries
                .iter()
                .map(|(name, number)| (name.as_str(), *number)),
        );
        for (index, (name, number)) in all.enumerate().skip(usize::try_from(offset).unwrap()) {
            let entry = DirEntry {
                next_offset: index as u64 + 1,
                name: name.as_bytes(),
                attr: self.attr(number)?,
            };
            if !sink(entry) {
                break;
            }
            if lookup == EntryLookup::Counted && index >= dots.len() {
                *self.lookups.lock().unwrap().entry(number).or_default() += 1;
            }
        }
        Ok(())
    }
}

fn file_of(bytes: Vec<u8>, mode: u32) -> Body {
    Body::File {
        bytes: bytes.into(),
        mode,
    }
}

#[async_trait]
impl Nodes for Tree {
    async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr, NodeError> {
        self.find(parent, name)
    }

    fn try_lookup(&self, parent: u64, name: &[u8]) -> Option<Result<Attr, NodeError>> {
        Some(self.find(parent, name))
    }

    async fn attributes(&self, ino: u64) -> Result<Attr, NodeError> {
        self.attr(ino)
    }

    fn try_attributes(&self, ino: u64) -> Option<Result<Attr, NodeError>> {
        Some(self.attr(ino))
    }

    async fn readlink(&self, ino: u64) -> Result<Bytes, NodeError> {
        match self.body(ino)? {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(NodeError::Invalid),
        }
    }

    fn try_readlink(&self, _ino: u64) -> Option<Result<Bytes, NodeError>> {
        None
    }

    async fn read_directory(
        &self,
        ino: u64,
        offset: u64,
        lookup: EntryLookup,
        sink: &mut DirSink<'_>,
    ) -> Result<(), NodeError> {
        self.list(ino, offset, lookup, sink)
    }

    fn try_read_directory(
        &self,
        ino: u64,
        offset: u64,
        lookup: EntryLookup,
        sink: &mut DirSink<'_>,
    ) -> Option<Result<(), NodeError>> {
        // The root as if it had to be fetched, the rest as if it were there.
        (ino != ROOT).then(|| self.list(ino, offset, lookup, sink))
    }

    async fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, NodeError> {
        tokio::task::yield_now().await;
        self.bytes(ino, offset, size)
    }

    fn try_read(&self, ino: u64, offset: u64, size: u32) -> Option<Result<Bytes, NodeError>> {
        (!self.slow.contains(&ino)).then(|| self.bytes(ino, offset, size))
    }

    async fn xattr(&self, ino: u64, name: &[u8]) -> Result<Bytes, NodeError> {
        match (ino, name) {
            (ROOT, b"user.lfsfs.version") => Ok(Bytes::from_static(b"app@v42")),
            _ => Err(NodeError::NoAttribute),
        }
    }

    fn try_xattr(&self, _ino: u64, _name: &[u8]) -> Option<Result<Bytes, NodeError>> {
        None
    }

    async fn xattr_names(&self, ino: u64) -> Result<Bytes, NodeError> {
        Ok(match ino {
            ROOT => Bytes::from_static(b"user.lfsfs.version\0"),
            _ => Bytes::new(),
        })
    }

    fn try_xattr_names(&self, _ino: u64) -> Option<Result<Bytes, NodeError>> {
        None
    }

    fn forget(&self, ino: u64, count: u64) {
        let mut lookups = self.lookups.lock().unwrap();
        let left = lookups
            .get_mut(&ino)
            .expect("only what was looked up is forgotten");
        *left = left
            .checked_sub(count)
            .expect("no more is forgotten than was looked up");
    }

    fn statfs(&self) -> Statfs {
        Statfs {
            bytes: 1 << 20,
            objects: self.nodes.len() as u64,
        }
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let lookups = self.lookups.lock().unwrap();
        BTreeMap::from([("lookups_held", lookups.values().sum())])
    }
}
