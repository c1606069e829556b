//! The one translation from errors of nodes to error numbers.

use fuser::Errno;

use crate::nodes::NodeError;

/// Returns the number that a caller of the failed system call sees.
pub(crate) fn of(error: &NodeError) -> Errno {
    match error {
        NodeError::NotFound => Errno::ENOENT,
        NodeError::NotDirectory => Errno::ENOTDIR,
        NodeError::IsDirectory => Errno::EISDIR,
        NodeError::NameTooLong => Errno::ENAMETOOLONG,
        NodeError::Stale => Errno::ESTALE,
        NodeError::NoAttribute => Errno::NO_XATTR,
        NodeError::Range => Errno::ERANGE,
        // A deadline that passed is an input/output error to programs: few know ETIMEDOUT of a
        // file, and interface.md promises EIO.
        NodeError::Io(_) | NodeError::Timeout(_) => Errno::EIO,
        NodeError::ReadOnly => Errno::EROFS,
        NodeError::Invalid => Errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_see_the_numbers_that_local_file_systems_give() {
        let cases = [
            (NodeError::NotFound, libc::ENOENT),
            (NodeError::NotDirectory, libc::ENOTDIR),
            (NodeError::IsDirectory, libc::EISDIR),
            (NodeError::NameTooLong, libc::ENAMETOOLONG),
            (NodeError::Stale, libc::ESTALE),
            (NodeError::NoAttribute, libc::ENODATA),
            (NodeError::Range, libc::ERANGE),
            (NodeError::Io("cut".into()), libc::EIO),
            (NodeError::Timeout("30 s".into()), libc::EIO),
            (NodeError::ReadOnly, libc::EROFS),
            (NodeError::Invalid, libc::EINVAL),
        ];
        for (error, number) in cases {
            assert_eq!(of(&error).code(), number, "{error:?}");
        }
    }
}
