//! The changes of a writable mount, each with every value that was chosen.
//!
//! An operation is decided by the file system, which checks permissions and POSIX rules. It can be
//! applied without asking a clock, a counter or the base, so replaying the log gives the same state.
//! The tags and the order of the fields are a durable format: docs/formats.md "Overlay log".

use std::sync::Arc;

use lfsfs_types::{
    ContentId, DecodeError, DirId, Name, Reader, Timestamp, VersionId, Writer, XattrName,
    XattrValue,
};

use crate::base::Base;
use crate::extent::{Location, SharedContent};
use crate::field::{Field, records, struct_field};
use crate::inode::BaseObject;

/// An entry of a directory of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName {
    /// The inode of the directory.
    pub directory: u64,
    /// The name in it.
    pub name: Name,
}
struct_field!(EntryName { directory, name });

/// What [`Operation::Create`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewNode {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device with its number.
    BlockDevice(u64),
    /// A character device with its number.
    CharDevice(u64),
}

/// Whom a new object belongs to and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creation {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Its mtime and ctime, and those of its directory.
    pub time: Timestamp,
}
struct_field!(Creation {
    mode,
    uid,
    gid,
    time
});

/// New attributes; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewAttributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last change of the content.
    pub mtime: Option<Timestamp>,
}
struct_field!(NewAttributes {
    mode,
    uid,
    gid,
    mtime
});

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub ino: u64,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
}
struct_field!(FileRange { ino, offset, len });

records! {
    /// One change.
    ///
    /// `time` becomes the ctime of what the operation touches, and the mtime where POSIX says so;
    /// `mode` is set where a change of content clears setuid and setgid.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Operation ("operation of the overlay log") {
        /// Copies an object of the base up: it has an inode in the overlay. Changes nothing that a reader
        /// sees.
        1 => CopyUp {
            /// Its inode number.
            ino: u64,
            /// What it is in the base.
            base: Arc<BaseObject>,
        },
        /// Makes a new object.
        2 => Create {
            /// Where.
            place: EntryName,
            /// Its inode number, which nothing in the overlay has.
            ino: u64,
            /// What it is.
            node: NewNode,
            /// Its attributes.
            creation: Creation,
        },
        /// Writes the data of the log record into a file.
        3 => Write {
            /// The file.
            ino: u64,
            /// Where the data begins.
            offset: u64,
            /// When.
            time: Timestamp,
            /// The mode without setuid and setgid, if it had them.
            mode: Option<u32>,
        },
        /// Sets the size of a file.
        4 => Truncate {
            /// The file.
            ino: u64,
            /// The new size.
            size: u64,
            /// When.
            time: Timestamp,
            /// The mode without setuid and setgid, if it had them.
            mode: Option<u32>,
        },
        /// Sets attributes.
        5 => SetAttributes {
            /// Of what.
            ino: u64,
            /// The new ones.
            attributes: NewAttributes,
            /// When.
            time: Timestamp,
        },
        /// Gives a file another name.
        6 => Link {
            /// The file.
            ino: u64,
            /// The new name.
            place: EntryName,
            /// When.
            time: Timestamp,
        },
        /// Takes a name away from anything but a directory. Without a name it lives until
        /// [`Forget`](Self::Forget).
        7 => Unlink {
            /// The name.
            place: EntryName,
            /// What has it.
            ino: u64,
            /// When.
            time: Timestamp,
        },
        /// Removes an empty directory.
        8 => Rmdir {
            /// Where it is.
            place: EntryName,
            /// The directory.
            ino: u64,
            /// When.
            time: Timestamp,
        },
        /// Moves a name, over another one or not.
        9 => Rename {
            /// The old name.
            from: EntryName,
            /// The new name.
            to: EntryName,
            /// What is moved.
            ino: u64,
            /// What had the new name.
            replaced: Option<u64>,
            /// When.
            time: Timestamp,
        },
        /// Exchanges what two names stand for.
        10 => Exchange {
            /// One name.
            first: EntryName,
            /// What has it.
            first_ino: u64,
            /// The other name.
            second: EntryName,
            /// What has it.
            second_ino: u64,
            /// When.
            time: Timestamp,
        },
        /// Sets an extended attribute.
        11 => SetXattr {
            /// Of what.
            ino: u64,
            /// Its name.
            name: XattrName,
            /// Its value; inline up to the kernel's limit of 64 KiB.
            value: XattrValue,
            /// When.
            time: Timestamp,
        },
        /// Removes an extended attribute.
        12 => RemoveXattr {
            /// Of what.
            ino: u64,
            /// Its name, which it has.
            name: XattrName,
            /// When.
            time: Timestamp,
        },
        /// Sets the size of a file and makes a range of it zeros: fallocate in all its forms.
        13 => Fallocate {
            /// The file.
            ino: u64,
            /// Where the zeros begin.
            offset: u64,
            /// How many; none for a plain allocation.
            len: u64,
            /// The size afterwards, not below the size before.
            size: u64,
            /// When.
            time: Timestamp,
            /// The mode without setuid and setgid, if it had them.
            mode: Option<u32>,
        },
        /// Drops an inode that has no name and is not open any more, or one that was copied up and did
        /// not change.
        14 => Forget {
            /// Which.
            ino: u64,
        },
        /// Drops all changes. Objects of the base are as and where the base has them; new ones lose
        /// their names and live until [`Forget`](Self::Forget).
        15 => DiscardAll {},
        /// Takes the changes so far for a commit.
        18 => Seal {
            /// The random id that the version will have.
            commit: VersionId,
        },
        /// Says what a sealed inode is in the new version, before [`Committed`](Self::Committed).
        /// Needed for those that changed after the seal.
        19 => Mapped {
            /// Which.
            ino: u64,
            /// What it became.
            base: Arc<BaseObject>,
        },
        /// Makes what a commit led to the base and drops what the seal held.
        20 => Committed {
            /// The commit.
            commit: VersionId,
            /// The version that has what it took: the one that it made, or the head if that had it
            /// already.
            base: Base,
            /// The ids that new directories got.
            directories: Vec<(u64, DirId)>,
        },
        /// Gives a commit up; nothing else changes.
        21 => Aborted {
            /// Which.
            commit: VersionId,
        },
        /// Makes another version the base of an overlay without changes.
        22 => Switch {
            /// The version.
            base: Base,
        },
        /// Says that the data of the log record is a copy of what lies elsewhere in the log.
        23 => Move {
            /// The file.
            ino: u64,
            /// The offset of the extent in the file.
            offset: u64,
            /// Where the extent lies.
            from: Location,
        },
        /// Begins a new process: what had no name is gone.
        24 => Reopen {},
        /// Drops changes, all or none of them: the base shows through again.
        25 => Discard {
            /// Names about which the overlay says nothing any more.
            entries: Vec<EntryName>,
            /// Hard-linked files with names, by the base's directory, that the base has and that show
            /// again.
            revealed: Vec<(u64, (DirId, Name))>,
            /// Objects of the base that become what they are there. What they contain must be among
            /// the entries, and so must all names of one that is not in its place.
            inodes: Vec<u64>,
        },
        /// Sets the last access.
        26 => SetAccessTime {
            /// Of what.
            ino: u64,
            /// The last access from now on.
            atime: Timestamp,
            /// When.
            time: Timestamp,
        },
        /// Takes the changes so far for a commit that has not begun: [`LeaveOut`](Self::LeaveOut) takes names
        /// out of it.
        27 => Draft {
            /// The random id that the version will have.
            commit: VersionId,
        },
        /// Takes new objects out of a draft, with all below them. They stay in the overlay.
        28 => LeaveOut {
            /// The draft.
            commit: VersionId,
            /// Their names.
            names: Vec<EntryName>,
        },
        /// Makes a draft a seal.
        29 => Begin {
            /// The draft.
            commit: VersionId,
        },
        /// Makes another version the base of an overlay without changes but some new objects, which stay.
        30 => SwitchKeeping {
            /// The version.
            base: Base,
            /// Their names.
            names: Vec<EntryName>,
            /// What the directories are in the version that the names are in.
            directories: Vec<(u64, Arc<BaseObject>)>,
        },
        /// Says that the remote has the bytes of a file as they are now. Changes nothing that a reader sees.
        31 => Uploaded {
            /// The file.
            ino: u64,
            /// Names its bytes.
            content: ContentId,
        },
        /// Makes a range of a file that of another one: both have the bytes, which are not copied.
        32 => Share {
            /// What it is made.
            from: FileRange,
            /// The file.
            ino: u64,
            /// Where the range begins in it.
            at: u64,
            /// When.
            time: Timestamp,
            /// The mode without setuid and setgid, if it had them.
            mode: Option<u32>,
        },
        /// Makes a range of a file that of a content of the base.
        33 => ShareContent {
            /// What it is made a part of.
            content: SharedContent,
            /// The file, and the part of the content.
            from: FileRange,
            /// Where the range begins in the file.
            at: u64,
            /// When.
            time: Timestamp,
            /// The mode without setuid and setgid, if it had them.
            mode: Option<u32>,
        },
        /// Says that the data of the log record is a copy of a range that a file has of a content.
        34 => Own {
            /// The file.
            ino: u64,
            /// Where the range begins in it.
            offset: u64,
        },
        /// Says that the bytes of an extent lie elsewhere in the log, too, where it has them from now on.
        35 => Repoint {
            /// The file.
            ino: u64,
            /// The offset of the extent in the file.
            offset: u64,
            /// Where it lies.
            from: Location,
            /// Where else.
            to: Location,
        },
    }
}

impl Field for NewNode {
    fn put(&self, writer: &mut Writer) {
        match self {
            Self::File => writer.u8(1),
            Self::Directory => writer.u8(2),
            Self::Symlink(target) => writer.u8(3).bytes(target),
            Self::Fifo => writer.u8(5),
            Self::Socket => writer.u8(6),
            Self::BlockDevice(rdev) => writer.u8(7).varint(*rdev),
            Self::CharDevice(rdev) => writer.u8(8).varint(*rdev),
        };
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Symlink(Field::take(reader)?),
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::BlockDevice(reader.varint()?),
            8 => Self::CharDevice(reader.varint()?),
            _ => return Err(reader.error("unknown kind")),
        })
    }
}

/// An operation with the data that its log record carries: bytes for `Write`, `Move` and `Own`, none else.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The operation.
    pub operation: Operation,
    /// The data.
    pub data: &'a [u8],
}

impl From<Operation> for Change<'_> {
    fn from(operation: Operation) -> Self {
        Self {
            operation,
            data: &[],
        }
    }
}
