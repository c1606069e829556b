//! The client of coordinator and datanodes.
//!
//! [`Servers`] speaks the seam ([`lfsfs_remote::Remote`]) over the wire, and [`Admin`] has the calls of
//! administration, [`Files`] those for single files, [`History`] those that make versions of versions, [`Nodes`]
//! those for operators of a cluster. Every call has a deadline and ends in a typed error. What arrives is checked on
//! arrival; the caller decides what is done with it.

#![forbid(unsafe_code)]

mod admin;
mod ahead;
mod chunks;
mod client;
mod config;
mod connection;
mod development;
mod fault;
mod files;
mod garbage;
mod grpc;
mod history;
mod nodes;
mod seen;
mod servers;
mod signs;
mod turns;
mod versions;
mod watch;

pub use admin::{Admin, Cluster, DeletedProject, Inspected, NewProject, NewSettings, ProjectUsage};
pub use chunks::{
    CheckStep, ChunkCheck, ChunkDifference, ChunkFinding, ChunkHealth, UnhealthyChunk,
    UnhealthyPage,
};
pub use client::Client;
pub use config::ClientConfig;
pub use development::{Development, ProjectStates};
pub use files::{Files, NewFile, NewVersion};
pub use garbage::{Collected, ExpireOrder, Garbage};
pub use history::{CloneOrder, History, Made};
pub use nodes::{
    ChunkScan, ClusterNode, ClusterStatus, NodeState, Nodes, RepairStatus, RestoredFrom,
};
pub use servers::Servers;
pub use watch::Watch;
