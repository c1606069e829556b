//! What callers ask of a writable mount, where a number or a flag would say too little.

use lfsfs_overlay::OverlayOptions;
use lfsfs_types::Timestamp;
use std::path::PathBuf;

/// Where the changes of a mount are kept.
#[derive(Debug, Clone)]
pub struct OverlayPlace {
    /// The directory of the overlay; it is made when something is changed first.
    pub dir: PathBuf,
    /// How to open it.
    pub options: OverlayOptions,
}

/// Whom a new object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group, unless the directory gives its own to what is made in it (setgid).
    pub gid: u32,
}

/// The mode of a new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMode {
    /// Permission bits with setuid, setgid and sticky.
    pub bits: u16,
    /// The bits that the process takes away from them, unless the directory has a default list.
    pub umask: u16,
}

impl From<u16> for NewMode {
    /// Nothing is to be taken away: the kernel has done that.
    fn from(bits: u16) -> Self {
        Self { bits, umask: 0 }
    }
}

/// What [`Vfs::mknod`](crate::Vfs::mknod) makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialFile {
    /// An empty regular file.
    File,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device with its number.
    BlockDevice(u32),
    /// A character device with its number.
    CharDevice(u32),
}

/// What to do with a file that a create finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Take it (O_CREAT).
    Take,
    /// Fail (O_CREAT with O_EXCL).
    Refuse,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// That of the mount's clock.
    Now,
    /// This one.
    At(Timestamp),
}

/// Whether a change of content takes setuid and setgid away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privileges {
    /// They stay: the caller may keep them (CAP_FSETID).
    #[default]
    Keep,
    /// They go: what the kernel calls KILL_SUIDGID.
    Kill,
}

/// What a change of content did to the mode of the file: a kernel that keeps attributes must hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeEffect {
    /// It is as it was.
    Kept,
    /// Setuid or setgid went.
    Cleared,
}

impl ModeEffect {
    pub(crate) fn of(mode: Option<u32>) -> Self {
        match mode {
            Some(_) => Self::Cleared,
            None => Self::Kept,
        }
    }
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were written: all of them.
    pub len: u32,
    /// What became of the mode.
    pub mode: ModeEffect,
}

/// Attributes to set; `None` leaves one as it is. A change of owner always takes setuid and setgid
/// away from what is no directory, unless a mode is set with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length of a file.
    pub size: Option<u64>,
    /// Last access. It is not kept; setting it changes the ctime only.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
    /// Last change of the attributes, where the caller has stamped that: a kernel that gathers
    /// writes. It is the mount's own stamp without it.
    pub ctime: Option<Timestamp>,
    /// What becomes of setuid and setgid if the size is set.
    pub privileges: Privileges,
}

/// What a rename does about an entry that has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place.
    Replace,
    /// Fails (RENAME_NOREPLACE).
    NoReplace,
    /// Gives it the old name (RENAME_EXCHANGE).
    Exchange,
}

/// What a seek looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// The next byte that is in no hole (SEEK_DATA).
    Data,
    /// The next hole; behind the last byte of a file is one (SEEK_HOLE).
    Hole,
}

/// What a fallocate does. None reserves space: a later write may still find the disk full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Makes the file as long as the range needs.
    Extend,
    /// Nothing but what a local file system does to the times (FALLOC_FL_KEEP_SIZE).
    KeepSize,
    /// Makes the range zeros, as far as the file goes (FALLOC_FL_PUNCH_HOLE).
    PunchHole,
    /// Makes the range zeros and the file as long as it needs (FALLOC_FL_ZERO_RANGE).
    ZeroRange,
    /// Makes the range zeros, as far as the file goes (FALLOC_FL_ZERO_RANGE with KEEP_SIZE).
    ZeroRangeKeepSize,
}

/// Whether an attribute may, must not or must exist when it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Either.
    Set,
    /// It must not (XATTR_CREATE).
    Create,
    /// It must (XATTR_REPLACE).
    Replace,
}
