//! What the adapter serves to the kernel: the nodes of one mounted version.
//!
//! The product serves an [`lfsfs_vfs`] file system; the tests of this crate serve a small tree in
//! memory, so that what is measured there is the adapter alone. Nothing here knows a fuser type.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_types::Timestamp;
use thiserror::Error;

/// What kind of object a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
}

/// What stat shows of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Its number, which is its inode number too.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number as stat(2) gives it.
    pub rdev: u64,
    /// Preferred length of a read.
    pub blksize: u32,
}

/// One entry of a directory, on its way to the kernel.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// Where reading goes on after this entry.
    pub next_offset: u64,
    /// Its name; `.` and `..` are entries too.
    pub name: &'a [u8],
    /// What it names.
    pub attr: Attr,
}

/// Takes entries until it has no room: then it returns false, and the entry was not taken.
pub type DirSink<'a> = dyn FnMut(DirEntry<'_>) -> bool + Send + 'a;

/// What statfs shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statfs {
    /// Sum of the sizes of all files, in bytes.
    pub bytes: u64,
    /// Number of objects.
    pub objects: u64,
}

/// Why a node could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No entry of that name.
    #[error("no such entry")]
    NotFound,
    /// The node is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The node is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// A name above 255 bytes.
    #[error("name too long")]
    NameTooLong,
    /// No node of that number.
    #[error("no such node")]
    Stale,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The caller's buffer is too small.
    #[error("buffer too small")]
    Range,
    /// The bytes could not be had.
    #[error("{0}")]
    Io(String),
    /// No progress within the deadline.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The version cannot be changed.
    #[error("read-only")]
    ReadOnly,
    /// The request makes no sense for that node.
    #[error("invalid request")]
    Invalid,
}

/// The nodes of one version.
///
/// The `try_` methods answer from memory and never wait; `None` means that only the method of the
/// same name without `try_` can answer. A successful lookup, and each entry that a sink took with
/// attributes (not `.` and `..`), holds the node until as many are forgotten.
#[async_trait]
pub trait Nodes: Send + Sync + Debug + 'static {
    /// Returns the entry `name` of a directory.
    async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr, NodeError>;
    /// See [`lookup`](Self::lookup).
    fn try_lookup(&self, parent: u64, name: &[u8]) -> Option<Result<Attr, NodeError>>;

    /// Returns what stat shows.
    async fn attributes(&self, ino: u64) -> Result<Attr, NodeError>;
    /// See [`attributes`](Self::attributes).
    fn try_attributes(&self, ino: u64) -> Option<Result<Attr, NodeError>>;

    /// Returns where a symbolic link points.
    async fn readlink(&self, ino: u64) -> Result<Bytes, NodeError>;
    /// See [`readlink`](Self::readlink).
    fn try_readlink(&self, ino: u64) -> Option<Result<Bytes, NodeError>>;

    /// Gives the entries from `offset` on to `sink` until it takes no more.
    async fn read_directory(
        &self,
        ino: u64,
        offset: u64,
        lookup: EntryLookup,
        sink: &mut DirSink<'_>,
    ) -> Result<(), NodeError>;
    /// See [`read_directory`](Self::read_directory). Where it returns `None`, `sink` was not called.
    fn try_read_directory(
        &self,
        ino: u64,
        offset: u64,
        lookup: EntryLookup,
        sink: &mut DirSink<'_>,
    ) -> Option<Result<(), NodeError>>;

    /// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
    async fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, NodeError>;
    /// See [`read`](Self::read).
    fn try_read(&self, ino: u64, offset: u64, size: u32) -> Option<Result<Bytes, NodeError>>;

    /// Returns the value of an extended attribute.
    async fn xattr(&self, ino: u64, name: &[u8]) -> Result<Bytes, NodeError>;
    /// See [`xattr`](Self::xattr).
    fn try_xattr(&self, ino: u64, name: &[u8]) -> Option<Result<Bytes, NodeError>>;

    /// Returns the names of all extended attributes, each with a NUL behind it.
    async fn xattr_names(&self, ino: u64) -> Result<Bytes, NodeError>;
    /// See [`xattr_names`](Self::xattr_names).
    fn try_xattr_names(&self, ino: u64) -> Option<Result<Bytes, NodeError>>;

    /// Gives back `count` lookups of a node.
    fn forget(&self, ino: u64, count: u64);

    /// Returns what statfs shows, from memory.
    fn statfs(&self) -> Statfs;

    /// Returns counters of cache and network under fixed names.
    fn counters(&self) -> BTreeMap<&'static str, u64>;
}

/// Whether a taken entry counts as a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryLookup {
    /// READDIRPLUS: each entry but `.` and `..`.
    Counted,
    /// READDIR: none.
    Uncounted,
}
