//! A small tree with something of most kinds, for tests that compare with a local directory.

use lfsfs_types::{DirId, Kind, Link, LinkId, Record, Timestamp};

use super::{MemoryTree, plain};

/// The time of everything in the tree: seconds and nanoseconds.
pub const TIME: (i64, u32) = (1_000_000_000, 5);
/// Length of the largest file, in bytes: it is stored in pieces.
pub const LARGE_LEN: usize = 3 << 20;

/// What the tree has at a path.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A directory.
    Directory {
        /// Its mode.
        mode: u16,
        /// Its group.
        gid: u32,
    },
    /// A regular file of mode 0644.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// How many names it has in the tree.
        nlink: u32,
    },
    /// Another name of a file.
    Link {
        /// The path of the file.
        to: &'static str,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'static str,
    },
}

/// Returns the entries by path, directories first.
#[must_use]
pub fn entries() -> Vec<(&'static str, Entry)> {
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

/// Returns the tree.
#[must_use]
pub fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for (path, entry) in entries() {
        let record = record(&mut tree, &entry);
        tree.add(path, record);
    }
    tree
}

/// Returns bytes that do not compress, the same for equal seeds.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..len).map(next).collect()
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
            let linked = entries().into_iter().find(|(path, _)| path == to);
            let (_, linked) = linked.expect("a link names an entry of the tree");
            self::record(tree, &linked)
        }
        Entry::Symlink { target } => {
            let target = target.as_bytes().into();
            plain(Kind::Symlink { target }, 0o777)
        }
    };
    let (secs, nanos) = TIME;
    record.mtime = Timestamp { secs, nanos };
    record.ctime = record.mtime;
    record
}
