//! Attributes as fuser wants them.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use lfsfs_types::Timestamp;

use crate::nodes::{Attr, NodeKind};

/// Whom all objects of a mount belong to, where the user chose that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The owner shown instead of the recorded one.
    pub uid: Option<u32>,
    /// The group shown instead of the recorded one.
    pub gid: Option<u32>,
}

pub(super) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::CharDevice => FileType::CharDevice,
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
        // 12 bits always fit.
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or_default(),
        nlink: attr.nlink,
        uid: owner.uid.unwrap_or(attr.uid),
        gid: owner.gid.unwrap_or(attr.gid),
        rdev: kernel_device(attr.rdev),
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

/// Packs a device number as the kernel's 32 bit encoding: 12 bits major, 20 bits minor.
fn kernel_device(rdev: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
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
    fn device_numbers_keep_large_minors() {
        let rdev = rustix::fs::makedev(8, 0x12345);
        assert_eq!(kernel_device(rdev), 0x45 | 8 << 8 | 0x12300 << 12);
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
            kind: NodeKind::File,
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
