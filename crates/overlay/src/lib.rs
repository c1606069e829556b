//! The overlay of a writable mount: what changed above a base version, and the log that keeps it.
//!
//! [`State`] is the changes in memory: persistent maps, so that a view of them is taken in O(1)
//! while writers go on. The log on disk is their truth: every [`Operation`] is one record, written
//! before it is acknowledged and replayed at the next start. [`Overlay`] is the two together.
//!
//! This crate applies what was decided elsewhere. It knows no FUSE, no server and no content of the
//! base; it checks no permission and no rule of POSIX, but refuses what contradicts the state.

#![forbid(unsafe_code)]

mod base;
mod changes;
mod checkpoint;
mod durability;
mod entries;
mod error;
mod extent;
mod field;
mod inode;
mod inode_map;
mod log;
mod numbers;
mod operation;
mod overlay;
mod state;
mod touched;

pub use base::{Base, ProjectBase};
pub use changes::{ChangedEntry, Changes, DirectoryRef, Entry};
pub use durability::Durability;
pub use entries::Entries;
pub use error::{ApplyError, Damage, OverlayError};
pub use extent::{Extent, ExtentSource, FileData, Location, Piece, PieceSource, SharedContent};
pub use inode::{Attributes, BaseKey, BaseObject, DirectoryData, Inode, Node, Slot};
pub use numbers::{NUMBERS_MAX, NumberRow};
pub use operation::{Change, Creation, EntryName, FileRange, NewAttributes, NewNode, Operation};
pub use overlay::{
    CommitIds, CompactionReport, Overlay, OverlayOptions, OverlayStats, Sealed, View,
};
pub use state::{Lookup, State};

/// A map whose clone is O(1) and shares all that neither side changes.
pub(crate) type Map<K, V> = rpds::RedBlackTreeMapSync<K, V>;
