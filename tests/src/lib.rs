//! The world of a test: a server, a client with places of its own, mounts.
//!
//! Everything is driven as a user would: by the programs `lfsfs` and `lfsfsd`. A world lies in one
//! scratch directory; dropping it ends what it started and removes what it made. Tests that mount
//! run in a private namespace besides (`lfsfs_testkit::namespace`), so that a failure leaves
//! nothing on the machine either.

#![expect(clippy::panic, reason = "a helper of a test fails like the test")]

pub mod listing;
mod mounted;
mod run;
mod world;

pub use mounted::Mounted;
pub use run::Run;
pub use world::World;
