//! What every other crate needs from the operating system, written once.
//!
//! Owns: time ([`clock`]), retry delays ([`backoff`]), file operations that survive power loss
//! ([`durable`]), advisory locks ([`flock`]), the limit of open files ([`open_files`]), threads that
//! do the jobs of one producer ([`WorkerPool`]), tasks that end with their owner ([`tasks`]), log set-up
//! of programs ([`telemetry`]), the text of an error with its causes ([`full_text()`]), random bytes
//! ([`random`]), completions and manual pages of programs ([`documents`]), sizes as people write them
//! ([`size`]). It knows nothing of projects, versions or chunks, and it is no place for miscellaneous
//! helpers: a new module needs a second user first.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod documents;
pub mod durable;
pub mod flock;
mod full_text;
pub mod open_files;
mod path_error;
pub mod random;
pub mod request;
pub mod size;
pub mod tasks;
pub mod telemetry;
mod worker_pool;

pub use full_text::full_text;
pub use path_error::PathError;
pub use worker_pool::{JobQueue, PoolError, WorkerPool};
