//! The operations of a mount by a transport in memory: what they decide, and the model.
//!
//! Apart from the tests that mount: the model sets the umask of its whole process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod decided;
mod memory_transport;
mod model;
