//! The one translation from errors of the file system core to error numbers.

use lfsfs_overlay::OverlayError;
use lfsfs_vfs::VfsError;
use rustix::io::Errno;

/// Returns the number that a caller of the failed system call sees.
pub(super) fn of(error: &VfsError) -> Errno {
    match error {
        VfsError::NotFound => Errno::NOENT,
        VfsError::NotDirectory => Errno::NOTDIR,
        VfsError::IsDirectory => Errno::ISDIR,
        VfsError::NameTooLong => Errno::NAMETOOLONG,
        VfsError::Stale => Errno::STALE,
        VfsError::NoAttribute => Errno::NODATA,
        VfsError::ReadOnly => Errno::ROFS,
        VfsError::Invalid => Errno::INVAL,
        VfsError::Exists => Errno::EXIST,
        VfsError::NotEmpty => Errno::NOTEMPTY,
        VfsError::NotPermitted => Errno::PERM,
        VfsError::TooManyLinks => Errno::MLINK,
        VfsError::FileTooLarge => Errno::FBIG,
        VfsError::NoSuchOffset => Errno::NXIO,
        VfsError::AttributeTooLarge => Errno::TOOBIG,
        VfsError::AttributeNameTooLong => Errno::RANGE,
        VfsError::NoSpace => Errno::NOSPC,
        VfsError::Unsupported { .. } => Errno::OPNOTSUPP,
        VfsError::Overlay { source } if matches!(**source, OverlayError::InUse { .. }) => {
            Errno::BUSY
        }
        // What else is wrong with an overlay is for the log; to programs it is a broken disk.
        VfsError::Overlay { .. } => Errno::IO,
        // A deadline that passed is an input/output error to programs: few expect ETIMEDOUT of a
        // file.
        VfsError::Io { .. } | VfsError::Timeout { .. } => Errno::IO,
        // A defect of this program, which was logged. Not ESTALE: the inode may be as good as ever.
        VfsError::Internal { .. } => Errno::IO,
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
            (
                VfsError::Unsupported {
                    what: "a namespace",
                },
                libc::EOPNOTSUPP,
            ),
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
            (VfsError::Internal { what: "a panic" }, libc::EIO),
        ];
        for (error, number) in cases {
            assert_eq!(of(&error).raw_os_error(), number, "{error:?}");
        }
    }
}
