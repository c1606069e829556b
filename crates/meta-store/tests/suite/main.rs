//! The engines: the contract of the seam, killed processes and damaged files.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod contract;
mod crash;
mod damage;
