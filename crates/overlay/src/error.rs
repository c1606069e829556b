//! What can go wrong: an operation that contradicts the state, and a log that cannot be used.

use std::io;
use std::path::PathBuf;

use lfsfs_common::PathError;
use lfsfs_types::{DecodeError, Name, ProjectId, VersionId, XattrName};
use thiserror::Error;

use crate::base::{Base, ProjectBase};

/// An operation that cannot follow on the state. The state is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The overlay has no such inode.
    #[error("the overlay has no inode {ino}")]
    NoInode {
        /// Which.
        ino: u64,
    },
    /// A new object was given the number of another one.
    #[error("the overlay has an inode {ino} already")]
    InodeExists {
        /// Which.
        ino: u64,
    },
    /// An object of the base has an inode already.
    #[error("inode {ino} is that object of the base already")]
    CopiedUpAlready {
        /// Which.
        ino: u64,
    },
    /// Not a directory, or one that was removed.
    #[error("inode {ino} is not a directory that can hold entries")]
    NotDirectory {
        /// Which.
        ino: u64,
    },
    /// A directory where none may be.
    #[error("inode {ino} is a directory")]
    IsDirectory {
        /// Which.
        ino: u64,
    },
    /// Not a regular file.
    #[error("inode {ino} is not a regular file")]
    NotFile {
        /// Which.
        ino: u64,
    },
    /// The name does not stand for what the operation says.
    #[error("{name:?} in directory {directory} is not inode {ino}")]
    NoEntry {
        /// The directory's inode.
        directory: u64,
        /// The name.
        name: Name,
        /// What it should be.
        ino: u64,
    },
    /// The name is taken.
    #[error("{name:?} in directory {directory} is taken")]
    EntryExists {
        /// The directory's inode.
        directory: u64,
        /// The name.
        name: Name,
    },
    /// The overlay says nothing about the name.
    #[error("{name:?} in directory {directory} is as in the base")]
    EntryUnchanged {
        /// The directory's inode.
        directory: u64,
        /// The name.
        name: Name,
    },
    /// A directory that should be empty is not.
    #[error("directory {ino} is not empty")]
    NotEmpty {
        /// Which.
        ino: u64,
    },
    /// An offset or size beyond what a file can have.
    #[error("offset or size of inode {ino} out of range")]
    OutOfRange {
        /// Which.
        ino: u64,
    },
    /// Data where none belongs, or none where it does.
    #[error("the operation has data that does not belong to it, or lacks its own")]
    Data,
    /// An attribute that is not there.
    #[error("inode {ino} has no attribute {name:?}")]
    NoXattr {
        /// Which inode.
        ino: u64,
        /// Which attribute.
        name: XattrName,
    },
    /// The inode has a name, changes, or no place in the base.
    #[error("inode {ino} is not in the state that this needs")]
    InodeInUse {
        /// Which.
        ino: u64,
    },
    /// A commit is under way.
    #[error("commit {commit} is not finished")]
    SealOutstanding {
        /// Which.
        commit: VersionId,
    },
    /// No such commit is under way.
    #[error("no commit {commit} is under way")]
    NotSealed {
        /// Which.
        commit: VersionId,
    },
    /// A commit ended without saying what an inode became.
    #[error("the commit did not say what inode {ino} became")]
    NotMapped {
        /// Which.
        ino: u64,
    },
    /// The overlay holds changes where none may be.
    #[error("the overlay holds changes")]
    Changed,
}

/// An overlay that cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum OverlayError {
    /// The operation contradicts the state; nothing was written.
    #[error("the operation contradicts the overlay")]
    Apply(#[from] ApplyError),
    /// The disk or the quota is full; the log is as it was and works again once there is space.
    #[error("no space for the overlay log")]
    NoSpace(#[source] io::Error),
    /// The changes would take more than they may; those that take nothing go on.
    #[error("the changes may take {len_max} bytes: commit, discard or remove some of them")]
    SizeLimit {
        /// How many bytes they may take.
        len_max: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] PathError),
    /// Data that was written may not have reached the disk. Nothing that was not synced before is
    /// promised; the overlay must be opened again.
    #[error("the overlay log could not be synced")]
    Sync(#[source] io::Error),
    /// An append failed and could not be taken back; the overlay must be opened again.
    #[error("an earlier write to the overlay log failed half way")]
    Broken,
    /// Another process has the overlay open.
    #[error("overlay {} is in use by another process", path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// A later or foreign program made it.
    #[error(
        "overlay {} has another format ({found:?}); use the program that made it to commit or discard",
        path.display()
    )]
    OtherFormat {
        /// Its directory.
        path: PathBuf,
        /// The first bytes of its format file.
        found: String,
    },
    /// The overlay belongs to another project.
    #[error("overlay {} belongs to project {project}", path.display())]
    OtherProject {
        /// Its directory.
        path: PathBuf,
        /// Whose it is.
        project: ProjectId,
    },
    /// The overlay holds changes of another version.
    #[error(
        "overlay {} holds changes of {}, not of {}; commit or discard them first, or mount {}",
        path.display(), found.number, asked.base.number, found.number
    )]
    OtherBase {
        /// Its directory.
        path: PathBuf,
        /// What the changes were made on.
        found: Base,
        /// What was asked for.
        asked: ProjectBase,
    },
    /// Bytes of the overlay are not what was written.
    #[error(
        "{} is damaged at byte {position}: {problem}; copy the overlay's directory, then restore the \
         file from a backup or discard the overlay",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        problem: Damage,
    },
    /// A record is larger than a log record can be.
    #[error("a record of {len} bytes is too large")]
    TooLarge {
        /// Its length.
        len: usize,
    },
}

/// What is wrong with bytes of the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// A record does not have the checksum that it had.
    #[error("no whole record, though records that count follow")]
    Record,
    /// The header of a file.
    #[error("no header of this log")]
    Header,
    /// A file that others refer to.
    #[error("the file is missing or too short")]
    Missing,
    /// A checksum that is right over bytes that make no sense.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A record that cannot follow on those before it.
    #[error("record cannot be applied: {0}")]
    Apply(#[from] ApplyError),
    /// A checkpoint that contradicts itself.
    #[error("the checkpoint contradicts itself")]
    Checkpoint,
}

impl OverlayError {
    /// Sorts the failure of a write.
    pub(crate) fn of_write(error: PathError) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace(error.source)
            }
            _ => Self::File(error),
        }
    }
}
