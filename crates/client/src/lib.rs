//! The client of coordinator and datanodes.
//!
//! [`Remote`] is what a mount needs of a server: a version, directories, places of contents, bytes
//! of chunks; [`GrpcRemote`] speaks it over the wire, and the calls of verbs, uploads and commits
//! besides. Everything here has a deadline and ends in a typed error. What arrives is checked on
//! arrival; what is done with it is somebody else's business.

#![forbid(unsafe_code)]

mod admin;
mod commit;
mod config;
mod connection;
mod differences;
mod error;
mod grpc;
#[cfg(feature = "testing")]
pub mod memory;
mod remote;
mod upload;

pub use admin::Cluster;
pub use commit::{Change, Opened, Published, SessionParams};
pub use config::ClientConfig;
pub use differences::DiffEntry;
pub use error::RemoteError;
pub use grpc::GrpcRemote;
#[cfg(feature = "testing")]
pub use memory::MemoryRemote;
pub use remote::{
    ChangedName, ChunkLocation, DirectoryListing, DirectoryPlace, Project, Remote, Resolved,
    Snapshot, StoredList,
};
pub use upload::Slot;
