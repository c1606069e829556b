//! The client of coordinator and datanodes.
//!
//! [`Remote`] is what a mount needs of a server: a version, directories, places of contents, bytes
//! of chunks. [`GrpcRemote`] speaks it over the wire; [`MemoryRemote`] (feature `testing`) serves it
//! from memory. Everything here has a deadline and ends in a typed error.

#![forbid(unsafe_code)]

mod remote;

pub use remote::{
    ChunkLocation, DirectoryListing, Project, Remote, RemoteError, Resolved, Snapshot,
};
