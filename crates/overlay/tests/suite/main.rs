//! Tests of the overlay as its users see it: a state and a log together.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod base;
mod common;
mod crash;
mod discard;
mod disk;
mod log;
mod model;
mod mount;
mod namespace;
