//! Attributes as fuser wants them.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use lfsfs_types::Timestamp;
use lfsfs_vfs::{Attr, DirEntry, FileKind};

/// Whom all objects of a mount belong to, where the user chose that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The owner shown instead of the recorded one.
    pub(crate) uid: Option<u32>,
    /// The group shown instead of the recorded one.
    pub(crate) gid: Option<u32>,
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::CharDevice => FileType::CharDevice,
    }
}

pub(super) fn file_attr(attr: &Attr, owner: Owner) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: owner.uid.unwrap_or(attr.uid),
        gid: owner.gid.unwrap_or(attr.gid),
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// The answer that lets the kernel remember that a name does not exist: node number 0.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// An entry without attributes. The kernel takes no node from `.` and `..`, whatever their number
/// is; any other entry must have the number 0 to count no lookup.
pub(super) fn without_attributes(entry: &DirEntry<'_>) -> FileAttr {
    let is_dot = matches!(entry.name, b"." | b"..");
    FileAttr {
        ino: INodeNo(if is_dot { entry.ino } else { 0 }),
        kind: file_type(entry.kind),
        ..absent()
    }
}

/// Clamps times that the system's clock type cannot hold to the epoch.
fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let seconds = if time.secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    seconds
        .and_then(|seconds| seconds.checked_add(Duration::from_nanos(u64::from(time.nanos))))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        let time = Timestamp {
            secs: -2,
            nanos: 999_999_999,
        };
        let expected = SystemTime::UNIX_EPOCH - Duration::new(1, 1);
        assert_eq!(system_time(time), expected);
        assert_eq!(
            system_time(Timestamp {
                secs: i64::MIN,
                nanos: 0
            }),
            SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 63)
        );
    }

    #[test]
    fn a_chosen_owner_replaces_the_recorded_one() {
        let attr = Attr {
            ino: 7,
            size: 1,
            blocks: 1,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            kind: FileKind::File,
            mode: 0o4755,
            nlink: 1,
            uid: 1,
            gid: 2,
            rdev: 0,
            blksize: 4096,
        };
        let chosen = file_attr(
            &attr,
            Owner {
                uid: Some(9),
                gid: None,
            },
        );
        assert_eq!((chosen.uid, chosen.gid, chosen.perm), (9, 2, 0o4755));
    }
}
