//! The one translation from errors of the file system core to error numbers.

use fuser::Errno;
use lfsfs_overlay::OverlayError;
use lfsfs_vfs::VfsError;

/// Returns the number that a caller of the failed system call sees.
pub(crate) fn of(error: &VfsError) -> Errno {
    match error {
        VfsError::NotFound => Errno::ENOENT,
        VfsError::NotDirectory => Errno::ENOTDIR,
        VfsError::IsDirectory => Errno::EISDIR,
        VfsError::NameTooLong | VfsError::PathTooLong { .. } => Errno::ENAMETOOLONG,
        VfsError::Stale => Errno::ESTALE,
        VfsError::NoAttribute => Errno::NO_XATTR,
        VfsError::ReadOnly => Errno::EROFS,
        VfsError::Invalid => Errno::EINVAL,
        VfsError::Exists => Errno::EEXIST,
        VfsError::NotEmpty => Errno::ENOTEMPTY,
        VfsError::NotPermitted => Errno::EPERM,
        VfsError::TooManyLinks => Errno::EMLINK,
        VfsError::FileTooLarge => Errno::EFBIG,
        VfsError::NoSuchOffset => Errno::ENXIO,
        VfsError::AttributeTooLarge => Errno::E2BIG,
        VfsError::AttributeNameTooLong => Errno::ERANGE,
        VfsError::NoSpace => Errno::ENOSPC,
        VfsError::HasChanges { .. } => Errno::EBUSY,
        VfsError::Unsupported { .. } => Errno::EOPNOTSUPP,
        VfsError::Overlay { source } if matches!(**source, OverlayError::InUse { .. }) => {
            Errno::EBUSY
        }
        // What else is wrong with an overlay is for the log; to programs it is a broken disk.
        VfsError::Overlay { .. } => Errno::EIO,
        // A deadline that passed is an input/output error to programs: few expect ETIMEDOUT of a
        // file.
        VfsError::Io { .. } | VfsError::Timeout { .. } => Errno::EIO,
        // Only verbs end so, and no verb comes as a request of the kernel.
        VfsError::NoSuchPath { .. }
        | VfsError::DiscardBlocked { .. }
        | VfsError::CommitUnderWay => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lfsfs_remote::RemoteError;

    use super::*;

    #[test]
    fn programs_see_the_numbers_that_local_file_systems_give() {
        let io = VfsError::Io {
            action: "read",
            source: Arc::new(RemoteError::Corrupt("x".into())),
        };
        let timeout = VfsError::Timeout {
            what: "a read",
            seconds: 30,
        };
        let cases = [
            (VfsError::NotFound, libc::ENOENT),
            (VfsError::NotDirectory, libc::ENOTDIR),
            (VfsError::IsDirectory, libc::EISDIR),
            (VfsError::NameTooLong, libc::ENAMETOOLONG),
            (VfsError::Stale, libc::ESTALE),
            (VfsError::NoAttribute, libc::ENODATA),
            (VfsError::ReadOnly, libc::EROFS),
            (VfsError::Invalid, libc::EINVAL),
            (VfsError::Unsupported { what: "a pack" }, libc::EOPNOTSUPP),
            (VfsError::Exists, libc::EEXIST),
            (VfsError::NotEmpty, libc::ENOTEMPTY),
            (VfsError::NotPermitted, libc::EPERM),
            (VfsError::TooManyLinks, libc::EMLINK),
            (VfsError::FileTooLarge, libc::EFBIG),
            (VfsError::NoSuchOffset, libc::ENXIO),
            (VfsError::AttributeTooLarge, libc::E2BIG),
            (VfsError::AttributeNameTooLong, libc::ERANGE),
            (VfsError::NoSpace, libc::ENOSPC),
            (io, libc::EIO),
            (timeout, libc::EIO),
        ];
        for (error, number) in cases {
            assert_eq!(of(&error).code(), number, "{error:?}");
        }
    }
}
