//! The file system core: inodes, directories and reads, without a kernel.
//!
//! [`Vfs`] is one version of one project as a file system sees it: operations on inode numbers,
//! with owned buffers and typed errors. It knows no FUSE type, so that a second kernel transport
//! and tests can drive it. What it shows never changes. [`WritableVfs`] is the same with changes:
//! an overlay above it.
//!
//! Contents are read by [`lfsfs_reader`]. Tasks that fetch belong to [`Vfs::tasks`], which ends them.
//!
//! No lock is held across an await. One is taken while another is held only for memory caches, which
//! are always last.

#![forbid(unsafe_code)]

mod access;
mod attr;
mod commit;
mod config;
mod directory;
mod error;
mod inode;
mod kernel;
mod listing;
mod listings;
mod stats;
mod stretch;
mod tries;
mod vfs;
mod writable;
mod xattr;

pub use attr::{Attr, BLOCK_LEN, FileKind};
pub use commit::{CommitError, CommitOutcome, CommitParams};
pub use config::VfsConfig;
pub use directory::{DirEntry, EntrySink};
pub use error::VfsError;
pub use kernel::{Hold, KernelCache};
pub use stats::{Statfs, VfsStats};
pub use tries::tried;
pub use vfs::{Entry, Vfs};
pub use writable::{
    Allocation, Existing, LocalChange, LocalLine, ModeEffect, OverlayPlace, Owner, Privileges,
    RenameMode, SetAttr, SetTime, Sought, SpecialFile, SwitchReport, WritableVfs, Written,
    XattrMode,
};
