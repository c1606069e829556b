//! The one translation from errors of the file system core to error numbers.

use fuser::Errno;
use lfsfs_vfs::VfsError;

/// Returns the number that a caller of the failed system call sees.
pub(crate) fn of(error: &VfsError) -> Errno {
    match error {
        VfsError::NotFound => Errno::ENOENT,
        VfsError::NotDirectory => Errno::ENOTDIR,
        VfsError::IsDirectory => Errno::EISDIR,
        VfsError::NameTooLong => Errno::ENAMETOOLONG,
        VfsError::Stale => Errno::ESTALE,
        VfsError::NoAttribute => Errno::NO_XATTR,
        VfsError::ReadOnly => Errno::EROFS,
        VfsError::Invalid => Errno::EINVAL,
        VfsError::Unsupported { .. } => Errno::EOPNOTSUPP,
        // A deadline that passed is an input/output error to programs: few expect ETIMEDOUT of a
        // file.
        VfsError::Io { .. } | VfsError::Timeout { .. } => Errno::EIO,
        // The enum may grow in a crate of ours; until its variant is named above it is an error
        // that says least.
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lfsfs_client::RemoteError;

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
            (io, libc::EIO),
            (timeout, libc::EIO),
        ];
        for (error, number) in cases {
            assert_eq!(of(&error).code(), number, "{error:?}");
        }
    }
}
