//! Real mounts of a small version in memory, each test in a mount namespace of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    reason = "helpers of tests fail as tests do, and one test is a whole process"
)]

mod discarding;
mod harness;
mod kernel;
mod life;
mod overlay;
mod privileges;
mod refusals;
mod stamps;
mod switching;
mod writing;

/// What the mount process of every test runs: this executable, started again.
#[test]
fn mount_process() {
    harness::serve_if_asked();
}
