//! Decisions of a cluster: which datanodes there are, where a chunk goes, which copies are made and
//! dropped.
//!
//! Everything here is a function of events and of the time that the caller tells: no I/O, no clock, no
//! message of the wire. [`Cluster`] takes events and returns actions; the coordinator carries them out
//! and tells how they ended. What must outlive the coordinator, nodes and who has which chunk, is in the
//! metadata; everything in this crate can be found again by a scan of the chunks. So any coordinator can
//! begin where another one stopped.

#![forbid(unsafe_code)]

mod balance;
mod cluster;
mod copies;
mod member;
mod membership;
mod placement;
mod repair;
pub mod select;
#[cfg(test)]
mod testing;

pub use balance::Tolerance;
pub use cluster::{Action, Cluster, ClusterConfig, Event, Summary};
pub use copies::{Assessment, ChunkCopies};
pub use member::{Member, MemberState, Timing};
pub use membership::{Beat, Membership, Updates};
pub use placement::{Placement, UnknownPlacement, Wanted};
pub use repair::{CopyOrder, DropOrder, RepairFigures, RepairLimits};
