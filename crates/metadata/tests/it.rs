//! Tests of the metadata through its public door.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers in tests are small and known"
)]

#[path = "it/crash.rs"]
mod crash;
#[path = "it/killed.rs"]
mod killed;
#[path = "it/model.rs"]
mod model;
#[path = "it/refusals.rs"]
mod refusals;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/support.rs"]
mod support;
#[path = "it/tree.rs"]
mod tree;
