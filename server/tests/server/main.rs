//! A whole server in one process, spoken to over gRPC.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod checks;
mod chunks;
mod commits;
mod differences;
mod false_values;
mod files;
mod lists;
mod lost_chunks;
mod metrics;
mod packs;
mod projects;
mod restored;
mod start_and_stop;
mod stats;
mod support;
mod trees;
mod wire;
