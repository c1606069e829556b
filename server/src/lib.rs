//! The server side: what `lfsfsd` runs, usable in a process of its own or inside a test.
//!
//! [`run`] serves on a listener until it is told to stop. The coordinator (`coordinator`) has the
//! metadata, the datanode (`datanode`) has the chunks; they talk gRPC to each other even when they
//! share a process. Services translate messages and delegate: policy lives in `lfsfs-metadata`,
//! the rules of a transfer in `lfsfs-transfer`, the disk in `lfsfs-chunk-store`. Every failure
//! becomes a typed fault in `fault`, and only there.

#![forbid(unsafe_code)]

mod backup;
mod blocking;
mod budget;
mod calls;
pub mod check;
pub mod cli;
mod config;
mod connections;
mod coordinator;
mod data;
mod datanode;
mod datanodes;
mod error;
mod fault;
mod figures;
mod frames;
mod health;
mod ids;
mod listen;
mod meta_place;
mod metrics;
mod panics;
mod process_key;
mod refusals;
mod serve;
mod stats;
mod streams;
mod throttle;
mod weight;

pub use config::{ClusterSettings, GarbageSettings, Role, ServerConfig};
pub use error::ServerError;
pub use listen::{ListenPolicy, Listeners, bind};
pub use meta_place::{MetaPlace, MetaPlaceError};
pub use serve::run;
