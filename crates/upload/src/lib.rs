//! Changes and contents on their way into a version.
//!
//! What an import of a directory and a commit of a mount have in common: [`ContentSender`] packs
//! what the server lacks into chunks and sends them, [`ChangeSink`] streams the entries that differ
//! into one [`Publishing`], which becomes a version when everything was sent, or not at all.
//! [`Progress`] counts.
//!
//! Where contents come from and what differs is decided by others. Nothing here reads a file, and
//! nothing holds more than what is on its way.

#![forbid(unsafe_code)]

mod changes;
mod contents;
mod difference;
mod error;
mod progress;
mod publishing;
mod uploads;

pub use changes::{ChangeSink, channel};
pub use contents::{ContentSender, SendMode};
pub use difference::{Difference, difference};
pub use error::UploadError;
pub use progress::{Expected, Phase, Progress, ProgressFigures};
pub use publishing::Publishing;
