//! Kernel mode: a read-only mount that the kernel's EROFS serves, from the files of an image.
//!
//! A FUSE file system that is in no mount table has the metadata file and the content devices ([`files`]). The kernel
//! mounts EROFS on them ([`attach`]) and keeps them as long as that mount lives; then the FUSE session ends, and with
//! it the mount process. docs/kernel-mode.md has what users see of it.

pub(crate) mod attach;
pub(crate) mod choice;
pub(crate) mod files;
pub(crate) mod mount;
