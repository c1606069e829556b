//! The seam between what reads and writes versions and the system that keeps them.
//!
//! [`Remote`] is what is asked of the system, to read and to write. The client speaks it over the wire, a
//! server may answer it by itself, and `memory` keeps a system in memory for tests. [`Layered`] puts
//! retries and the like around any of them. Every call ends in a typed error.

#![forbid(unsafe_code)]

mod call;
mod data;
mod error;
mod layered;
#[cfg(feature = "testing")]
pub mod memory;
mod remote;
mod retry;
mod subdirectory;

pub use call::Call;
pub use data::{
    Change, ChangedName, ChunkBytes, ChunkLocation, DiffEntry, DirectoryListing, DirectoryPlace,
    Hold, Opened, Project, Published, Renames, Resolved, SessionParams, Snapshot, StoredList,
    TreeParams, VersionRange,
};
pub use error::RemoteError;
pub use layered::{Answer, Asked, Layer, Layered, Retrying};
#[cfg(feature = "testing")]
pub use memory::MemoryRemote;
pub use remote::{DiffStream, Remote, RemoteContents, RemoteRead, RemoteWrite, TreeStream};
pub use retry::{Notice, PAUSES, Retry, Tries, may_pass};
pub use subdirectory::{Subdirectory, SubdirectoryError};
