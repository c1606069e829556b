//! Tests of the overlay as its users see it: a state and a log together.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod base;
mod bytes;
mod common;
mod compaction;
mod crash;
mod discard;
mod disk;
mod every;
mod golden;
mod left_out;
mod log;
mod memory;
mod model;
mod mount;
mod namespace;
