//! The client of coordinator and datanodes.
//!
//! [`Remote`] is the seam: what client-side code asks of the system, to read and to write.
//! [`GrpcRemote`] speaks it over the wire, [`Layered`] puts retries and the like around it, and
//! [`Admin`] has the calls of administration. Every call has a deadline and ends in a typed error.
//! What arrives is checked on arrival; the caller decides what is done with it.

#![forbid(unsafe_code)]

mod admin;
mod call;
mod client;
mod config;
mod connection;
mod data;
mod error;
mod grpc;
mod layered;
#[cfg(feature = "testing")]
pub mod memory;
mod remote;
mod retry;

pub use admin::Admin;
pub use call::Call;
pub use client::Client;
pub use config::ClientConfig;
pub use data::{
    Change, ChangedName, ChunkLocation, Cluster, DiffEntry, DirectoryListing, DirectoryPlace,
    Opened, Project, Published, Renames, Resolved, SessionParams, Snapshot, StoredList,
    VersionRange,
};
pub use error::RemoteError;
pub use grpc::GrpcRemote;
pub use layered::{Answer, Asked, Layer, Layered, Retrying};
#[cfg(feature = "testing")]
pub use memory::MemoryRemote;
pub use remote::{DiffStream, Remote, RemoteRead, RemoteWrite};
pub use retry::{Notice, PAUSES, Retry, Tries};
