//! The upload queue: local files become remote, behind the programs that write them.
//!
//! An [`Uploader`] has the files and the way to the remote. The queue decides which of them are uploaded when, in
//! batches, by executors that come and go, and repeats what failed: `state` decides, `queue` runs, `notes` keeps what a
//! restart needs. docs/upload-queue.md has the rules. This crate knows no mount, no cluster and no content: a mount
//! brings its own uploader, and the suite in `contract` (feature `testing`) holds for each.

#![forbid(unsafe_code)]

mod config;
#[cfg(feature = "testing")]
pub mod contract;
#[cfg(feature = "testing")]
pub mod directory;
mod event;
mod notes;
mod pace;
mod queue;
mod rate;
mod state;
mod uploader;

pub use config::QueueConfig;
pub use event::Event;
pub use queue::{Hold, QueueStats, Totals, UploadQueue};
pub use state::{Counts, QueuedFile, Standing};
pub use uploader::{Failure, FileId, Uploader, Uploads};
