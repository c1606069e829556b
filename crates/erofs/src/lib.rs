//! A version as an EROFS image, of which nothing is stored: where each object lies, and what blocks hold.
//!
//! EROFS is the read-only file system of the kernel; `fs/erofs/erofs_fs.h` of Linux defines its structures. An
//! image has a metadata file and [content devices](address::DEVICES). docs/kernel-mode.md has the places of both.
//! Everything here is a function of listings: no I/O, no clock, no memory of what was rendered before. What must
//! be remembered (the blocks that were given away) is the caller's.
//!
//! [`Layout`] decides how a directory lies, and says how many blocks it needs; [`Layout::render`] writes its
//! bytes. [`address`] says which object a byte of the metadata file belongs to.

#![forbid(unsafe_code)]

pub mod address;
mod dirents;
mod error;
mod inode;
mod layout;
mod superblock;
mod table;
mod xattrs;

pub use self::error::RenderError;
pub use self::inode::{ContentPlace, HardLink, content_blocks};
pub use self::layout::{Directory, DirectoryImage, Layout, Places};
pub use self::superblock::{Volume, superblock};

/// Bytes of a block.
pub const BLOCK_LEN: usize = 4096;
