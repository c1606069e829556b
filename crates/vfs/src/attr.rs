//! What stat shows of an object.

use lfsfs_overlay::{Inode, Node};
use lfsfs_types::limits::PIECE_LEN_MAX;
use lfsfs_types::{ACCESS_LIST, Kind, Record, Timestamp, XattrValue};

use crate::access;

/// The block size that stat and statfs tell.
pub const BLOCK_LEN: u32 = 4096;

/// What a directory seems to take, as on a local file system.
const DIRECTORY_LEN: u64 = 4096;

/// The longest that a file can be for the kernel. A record may say more, but no content has that.
const FILE_LEN_MAX: u64 = u64::MAX >> 1;

/// The kind of an object, as far as a file system tells kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
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

impl FileKind {
    /// Returns the kind of a record.
    #[must_use]
    pub const fn of(kind: &Kind) -> Self {
        match kind {
            Kind::File { .. } => Self::File,
            Kind::Directory { .. } => Self::Directory,
            Kind::Symlink { .. } => Self::Symlink,
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
            Kind::BlockDevice { .. } => Self::BlockDevice,
            Kind::CharDevice { .. } => Self::CharDevice,
        }
    }
}

/// The attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Units of 512 bytes, without holes as far as they are known. Of a large file of the version, less than
    /// all of it if they are not.
    pub blocks: u64,
    /// Last access: always `mtime`.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: 12 bits. Those of group and others are without
    /// what an access list denies.
    pub mode: u16,
    /// The same bits as they are recorded: where access lists are enforced they are shown.
    pub recorded_mode: u16,
    /// Differs where access lists do; 0 without any.
    pub lists_mark: u64,
    /// Number of names. 1 for a directory, so that no program infers its number of subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of a device.
    pub rdev: u32,
    /// Best length of a read.
    pub blksize: u32,
}

impl Attr {
    /// Returns the attributes of the object with this record.
    #[must_use]
    pub fn of(ino: u64, record: &Record) -> Self {
        let kind = FileKind::of(&record.kind);
        let size = match kind {
            FileKind::Directory => DIRECTORY_LEN,
            _ => record.size().min(FILE_LEN_MAX),
        };
        let rdev = match record.kind {
            Kind::BlockDevice { rdev } | Kind::CharDevice { rdev } => rdev,
            _ => 0,
        };
        Self {
            ino,
            size,
            blocks: match kind {
                FileKind::File => size.div_ceil(512) - unknown_blocks(size),
                _ => size.div_ceil(512),
            },
            atime: record.mtime,
            mtime: record.mtime,
            ctime: record.ctime,
            kind,
            mode: access::shown(bits(record.mode), list_of(record)),
            recorded_mode: bits(record.mode),
            lists_mark: access::mark(record.xattrs.iter().map(|it| (&it.name, &it.value))),
            nlink: record.link.map_or(1, |link| link.nlink.max(1)),
            uid: record.uid,
            gid: record.gid,
            // The kernel's own form has 32 bits; a number beyond that names no device here.
            rdev: u32::try_from(rdev).unwrap_or(0),
            blksize: BLOCK_LEN,
        }
    }

    /// Returns the attributes of an object of the overlay.
    pub(crate) fn of_inode(ino: u64, inode: &Inode) -> Self {
        let attributes = &inode.attributes;
        let (kind, size, rdev) = match &inode.node {
            Node::File(file) => (FileKind::File, file.size().min(FILE_LEN_MAX), 0),
            Node::Directory(_) => (FileKind::Directory, DIRECTORY_LEN, 0),
            Node::Symlink(target) => (FileKind::Symlink, target.len() as u64, 0),
            Node::Fifo => (FileKind::Fifo, 0, 0),
            Node::Socket => (FileKind::Socket, 0, 0),
            Node::BlockDevice(rdev) => (FileKind::BlockDevice, 0, *rdev),
            Node::CharDevice(rdev) => (FileKind::CharDevice, 0, *rdev),
        };
        Self {
            ino,
            size,
            blocks: blocks_of(&inode.node, size),
            atime: attributes.atime.unwrap_or(attributes.mtime),
            mtime: attributes.mtime,
            ctime: attributes.ctime,
            kind,
            mode: access::shown(bits(attributes.mode), list_of_inode(inode)),
            recorded_mode: bits(attributes.mode),
            lists_mark: access::mark(attributes.xattrs.iter()),
            nlink: attributes.nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev: u32::try_from(rdev).unwrap_or(0),
            blksize: BLOCK_LEN,
        }
    }
}

/// Returns how much an object seems to take. A file that has a length takes something: programs like
/// tar take a file without blocks for a hole and do not read it, and the kernel may hold what a mapping
/// wrote.
fn blocks_of(node: &Node, size: u64) -> u64 {
    let Node::File(file) = node else {
        return size.div_ceil(512);
    };
    let unknown = unknown_blocks(file.base_len());
    blocks_of_data(file.data_len(), size).saturating_sub(unknown)
}

/// Returns the blocks of a file of which so many bytes are in no hole.
pub(crate) fn blocks_of_data(data_len: u64, size: u64) -> u64 {
    data_len.div_ceil(512).max(u64::from(size > 0))
}

/// Returns how many blocks less than all a file seems to take of which so much is in the version, as long
/// as it is not known whether that has holes. Programs look for holes where blocks are missing, and nowhere
/// else.
fn unknown_blocks(base_len: u64) -> u64 {
    if may_have_holes(base_len) {
        u64::from(BLOCK_LEN / 512)
    } else {
        0
    }
}

/// Returns true if a content of so many bytes may have holes.
pub(crate) fn may_have_holes(len: u64) -> bool {
    len >= u64::from(PIECE_LEN_MAX)
}

/// Returns the permission bits of a recorded mode, with setuid, setgid and sticky.
pub(crate) fn bits(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or(0)
}

/// Returns the access list of a record.
pub(crate) fn list_of(record: &Record) -> Option<&XattrValue> {
    let mut xattrs = record.xattrs.iter();
    let list = xattrs.find(|it| it.name.as_bytes() == ACCESS_LIST);
    list.map(|it| &it.value)
}

/// Returns the access list of an object of the overlay.
pub(crate) fn list_of_inode(inode: &Inode) -> Option<&XattrValue> {
    let mut xattrs = inode.attributes.xattrs.iter();
    let list = xattrs.find(|it| it.0.as_bytes() == ACCESS_LIST);
    list.map(|it| it.1)
}
