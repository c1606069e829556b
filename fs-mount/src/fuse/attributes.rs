//! Attributes, kinds and times as fuser has them.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use lfsfs_types::Timestamp;
use lfsfs_vfs::{Attr, FileKind, SetTime};

use crate::operations::ListedEntry;

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp_of(time)),
    }
}

/// Takes a time from fuser. Before 1970 fuser 0.18 takes the nanoseconds of a request away instead
/// of adding them, so here seconds and nanoseconds behind the epoch are those of the request.
pub(super) fn timestamp_of(time: SystemTime) -> Timestamp {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let time = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Timestamp {
            secs: seconds(after),
            nanos: after.subsec_nanos(),
        },
        Err(before) => Timestamp {
            secs: -seconds(before.duration()),
            nanos: before.duration().subsec_nanos(),
        },
    };
    time.clamped()
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

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
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
        uid: attr.uid,
        gid: attr.gid,
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
pub(super) fn without_attributes(entry: &ListedEntry<'_>) -> FileAttr {
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
    fn times_of_requests_are_taken_as_fuser_means_them() {
        let of_fuser = |secs: u64, nanos| SystemTime::UNIX_EPOCH - Duration::new(secs, nanos);
        let before = |secs, nanos| Timestamp { secs, nanos };
        assert_eq!(timestamp_of(of_fuser(2, 300)), before(-2, 300));
        assert_eq!(timestamp_of(of_fuser(1, 0)), before(-1, 0));
        let after = SystemTime::UNIX_EPOCH + Duration::new(5, 7);
        assert_eq!(timestamp_of(after), Timestamp { secs: 5, nanos: 7 });
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(timestamp_of(far).secs, Timestamp::SECS_MAX);
    }
}
