//! Which mode serves a mount, and why. Pure.

use crate::options::{Access, MountOptions};

/// What serves a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServedBy {
    /// The kernel's EROFS.
    Kernel,
    /// This program, through FUSE.
    Fuse {
        /// Why it is not the kernel, if that was wanted where it can be had.
        why: Option<String>,
    },
}

/// What matters of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) is_root: bool,
    /// The kernel has EROFS.
    pub(crate) has_erofs: bool,
}

/// Returns why a mount cannot be in kernel mode.
pub(crate) fn objection(options: &MountOptions, machine: Machine) -> Option<&'static str> {
    let objections = [
        (options.access == Access::ReadWrite, "the mount is writable"),
        (!machine.is_root, "only root can mount EROFS"),
        (!machine.has_erofs, "this kernel has no EROFS"),
    ];
    objections
        .into_iter()
        .find(|(holds, _)| *holds)
        .map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: Machine = Machine {
        is_root: true,
        has_erofs: true,
    };

    fn options(list: &str) -> MountOptions {
        MountOptions::parse([list]).unwrap()
    }

    #[test]
    fn what_needs_fuse_says_so() {
        assert_eq!(objection(&options("ro"), ABLE), None);
        assert_eq!(objection(&options("ro,uid=5,noxattr,noexec"), ABLE), None);
        assert_eq!(
            objection(&options("rw"), ABLE),
            Some("the mount is writable")
        );
        let user = Machine {
            is_root: false,
            ..ABLE
        };
        assert_eq!(
            objection(&options("ro"), user),
            Some("only root can mount EROFS")
        );
        let old = Machine {
            has_erofs: false,
            ..ABLE
        };
        assert!(objection(&options("ro"), old).is_some_and(|why| why.contains("EROFS")));
    }
}
