//! The world of a test: a server, a client with places of its own, mounts.
//!
//! Everything is driven as a user would: by the programs `lfsfs` and `lfsfsd`. A world lies in one
//! scratch directory; dropping it ends what it started and removes what it made. Tests that mount
//! run in a private namespace besides (`lfsfs_testkit::namespace`), so that a failure leaves
//! nothing on the machine either.

#![expect(clippy::panic, reason = "a helper of a test fails like the test")]

mod cluster;
mod counts;
pub mod listing;
mod meter;
mod mounted;
mod namespace;
mod numbers;
mod proxied;
mod run;
mod walk;
mod world;

pub use cluster::{Cluster, Manner, Way};
pub use counts::{Counts, count, counted, counts, fetched, requests_of, wait_for_cache};
pub use meter::{Resident, Usage, usage_at_end};
pub use mounted::Mounted;
pub use namespace::{eventually, in_namespace, in_namespace_for, is_running, mount_table};
pub use numbers::Numbers;
pub use proxied::Proxied;
pub use run::{Run, run};
pub use walk::{files, inode_numbers, paths, read_all, walk};
pub use world::World;
