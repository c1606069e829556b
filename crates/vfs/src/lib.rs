//! The file system core: inodes, directories and reads, without a kernel.
//!
//! [`Vfs`] is the file system of a mount: operations on inode numbers, with owned buffers and
//! typed errors. It knows no FUSE type, so that a second kernel transport and tests can drive it. Below
//! it is one version of one project, a [`BaseVersion`], which never changes; above that an overlay has the
//! changes of the mount, if it can have any.
//!
//! Contents are read by [`lfsfs_reader`]. Tasks that fetch belong to [`Vfs::tasks`], which ends them.
//!
//! No lock is held across an await. One is taken while another is held only for memory caches, which
//! are always last.

#![forbid(unsafe_code)]

mod access;
mod attr;
mod base;
mod blocking;
mod blocks;
mod changes;
mod commit;
mod config;
mod directory;
mod error;
mod file_contents;
mod ignored;
mod image;
mod inode;
mod kernel;
mod listing;
mod listings;
mod merged;
mod overlay_file;
mod stack;
mod stats;
mod stretch;
mod tries;
mod upload_queue;
mod verb_error;
mod warm;
mod writable;
mod xattr;

pub use attr::{Attr, BLOCK_LEN, FileKind};
pub use base::{BaseVersion, Entry};
pub use changes::{LocalChange, LocalLine};
pub use commit::{CommitError, CommitOutcome, CommitParams, Promised, PublishFailure};
pub use config::{AccessLists, VfsConfig};
pub use directory::{DirEntry, EntrySink};
pub use error::VfsError;
pub use ignored::IgnoredPath;
pub use image::{IMAGE_DEVICES, IMAGE_FILE_LEN, ImageFile, ImageKernel, ImageView, VersionImage};
pub use kernel::{Hold, Kernel, KernelCache, WriteBarrier};
pub use lfsfs_reader::ReaderConfig;
pub use stats::{Statfs, VfsStats};
pub use tries::tried;
pub use upload_queue::MountUploader;
pub use verb_error::{ChangesError, DiscardError, ServerFailure, SwitchError};
pub use warm::{NotWarmed, WarmFigures, WarmProgress};
pub use writable::{
    Allocation, Copied, CopyRange, Exclusive, Existing, ListSetter, ModeEffect, NewMode,
    OverlayPlace, Owner, PreparedSwitch, Privileges, RenameMode, SetAttr, SetTime, Sought,
    SpecialFile, SwitchReport, Vfs, Written, XattrMode,
};
