//! A whole server in one process, spoken to over gRPC.

mod chunks;
mod commits;
mod files;
mod lists;
mod start_and_stop;
mod support;
