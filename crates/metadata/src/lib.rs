//! Projects, versions, objects and publishing: all policy over the key-value seam.
//!
//! [`Metadata`] is the only entry point. It owns every key and value of the store (docs/formats.md
//! "Metadata keys"), the way a version comes to be (docs/durability.md) and what a reader sees of
//! it. It must not know a wire, a chunk's bytes or an async runtime: every call blocks, and callers
//! on a runtime use `spawn_blocking`.
//!
//! A version never changes once it is published, and no reader reads above the newest one, so it
//! needs no lock: what it reads of a version is the same before, during and after any
//! commit, crash or undo.

#![forbid(unsafe_code)]

mod ahead;
mod changed;
mod check;
mod collect;
mod commit;
mod content;
mod content_filter;
mod counts;
mod diff;
mod error;
mod exact;
mod history;
mod kept;
mod keys;
mod listing;
mod metadata;
mod node;
mod objects;
mod pack;
mod pack_row;
mod packed;
mod project;
mod readers;
mod removal;
mod restored;
mod roots;
mod rows;
mod settings;
mod side;
mod staging_space;
mod tree;
mod usage;
mod version;
mod view;

pub use changed::ChangedName;
pub use check::{CheckSummary, Finding};
pub use collect::{
    ChunkUse, CollectParams, Collected, CompactLimits, ContentMove, ExpireParams, Expired,
    Gathering, Hold, MovedContents, Retention, UnneededChunks, gatherings,
};
pub use commit::{
    Begun, CacheParams, Change, CloneParams, CommitParams, CommitSession, MadeParams, ObjectState,
    ObjectUpdate, Published, RollbackParams, UpdateParams, UpdatePath, UpdatePathError,
};
pub use content::{
    ChunkHolders, ChunkLocation, ChunkReceipt, Forgotten, Keep, Resolution, Resolved,
    ResolvedContents, StoredFor,
};
pub use counts::CountedProject;
pub use diff::{DiffEntry, DiffLine, Renames};
pub use error::{MetadataError, Place, Refusal, Result};
pub use exact::ExactVersion;
pub use kept::DeletedProject;
pub use listing::{Listing, WholeListing};
pub use metadata::{Metadata, MetadataOptions};
pub use node::{Node, NodeFigures};
pub use objects::{ObjectQuery, ObjectSink, QueryFault, Selection, VersionedObject};
pub use pack::patterns::{PackPatterns, PatternError};
pub use project::{Page, Project};
pub use removal::Deletion;
pub use restored::{RestoreError, RestoredFrom, back_up_store, restore_backup, verify_backup};
pub use settings::ProjectSettings;
pub use staging_space::StagingPlace;
pub use tree::{TreeParams, TreePart, TreeWalk};
pub use usage::ProjectUsage;
pub use version::Snapshot;
pub use view::Found;
