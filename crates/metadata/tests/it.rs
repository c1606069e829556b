//! Tests of the metadata through its public interface.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail like tests; numbers are small and known"
)]

#[path = "it/collect.rs"]
mod collect;
#[path = "it/compact.rs"]
mod compact;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/crashes.rs"]
mod crashes;
#[path = "it/flat.rs"]
mod flat;
#[path = "it/kept.rs"]
mod kept;
#[path = "it/killed.rs"]
mod killed;
#[path = "it/links.rs"]
mod links;
#[path = "it/lost.rs"]
mod lost;
#[path = "it/merge.rs"]
mod merge;
#[path = "it/model.rs"]
mod model;
#[path = "it/objects.rs"]
mod objects;
#[path = "it/packs.rs"]
mod packs;
#[path = "it/projects.rs"]
mod projects;
#[path = "it/refusals.rs"]
mod refusals;
#[path = "it/restored.rs"]
mod restored;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/stored.rs"]
mod stored;
#[path = "it/support.rs"]
mod support;
#[path = "it/times.rs"]
mod times;
#[path = "it/tree.rs"]
mod tree;
#[path = "it/trips.rs"]
mod trips;
#[path = "it/usage.rs"]
mod usage;
