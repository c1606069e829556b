//! Changes and contents on their way into a version.
//!
//! What an import of a directory and a commit of a mount have in common. [`ContentSender`] reads files,
//! hashes and cuts them, asks what the server lacks, packs that into chunks and sends it.
//! [`ChangeSink`] streams the entries that differ into one [`Publishing`], which becomes a version when
//! everything was sent, or not at all. [`Progress`] counts.
//!
//! Callers decide which files there are and what differs, and say where bytes come from: a
//! [`ContentSource`] is an open file ([`FileSource`]) or a changed one with an unchanged base
//! ([`ChangedFile`]). Nothing holds more than what is on its way. [`IgnoreScope`] decides which new paths stay out.

#![forbid(unsafe_code)]

mod changes;
mod contents;
mod difference;
mod error;
mod file_source;
mod ignored;
mod progress;
mod publishing;
mod read;
mod recut;
mod source;
mod uploads;
mod window;

pub use changes::{ChangeSink, channel};
pub use contents::{ContentBytes, ContentSender, SendMode};
pub use difference::{Difference, difference};
pub use error::UploadError;
pub use file_source::{FileSource, describe_file};
pub use ignored::{
    IGNORE_FILE, IGNORE_FILE_LEN_MAX, IgnoreFile, IgnorePatternError, IgnoreScope, IgnoreWarning,
    IgnoredPaths,
};
pub use progress::{Expected, Phase, Progress, ProgressFigures};
pub use publishing::Publishing;
pub use read::{OFFER_LEN, ReadContent, ReadError};
pub use recut::{ChangedFile, Stretch, StretchOrigin};
pub use source::{ContentSource, Cut, StreamSource};
