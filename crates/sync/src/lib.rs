//! A directory becomes a version, and a version a directory.
//!
//! [`Import`] walks a directory beside the newest version of a project, entry by entry in path
//! order. What differs is read, hashed and sent as chunks while the walk goes on; the changes stream
//! into one commit that is published when everything has been looked at, or not at all. Nothing
//! here holds the whole tree: only hard-linked files are remembered until the end.
//!
//! [`Export`] is the way back: a version is written into a directory, or one path of it into a work
//! tree, or one file of it into a file. It remembers directories and hard-linked files until the end.
//!
//! [`Rebuild`] brings a directory to a version, from whatever version it has;
//! [`DirectoryDiff`] tells what a user changed in such a directory, and [`Update`] makes that a version.
//!
//! [`Put`] makes one file a version.
//!
//! [`directory_sync`] keeps a directory and a project in step, both ways.

#![forbid(unsafe_code)]

mod attributes;
mod changes;
mod checksum;
mod compare;
mod count;
mod directories;
mod directory_diff;
pub mod directory_sync;
mod entry;
mod error;
mod export;
mod failure;
mod file_match;
mod filter;
mod fit;
mod ignored;
mod import;
mod links;
mod listings;
mod local;
mod problems;
mod put;
mod rebuild;
mod selection;
mod settle;
mod summary;
mod tree;
mod update;
mod walk;
mod worker;

pub use count::Counter;
pub use directory_diff::{CompareBy, DirectoryDiff};
pub use error::ImportError;
pub use export::shared::{SharedFiles, Sharing};
pub use export::{Export, ExportError, ExportFigures, ExportProgress, InTheWay, LeftOut};
pub use filter::PatternError;
pub use import::{Import, ImportOutcome, ImportParams};
pub use lfsfs_upload::{Expected, IgnoreWarning, IgnoredPaths, Phase, Progress, ProgressFigures};
pub use listings::{Coverage, Listings};
pub use problems::Problem;
pub use put::{Put, PutError, PutOutcome, PutParams};
pub use rebuild::{Rebuild, RebuildError, RebuildOutcome, RebuildParams, Refusal};
pub use update::{Merged, Update, UpdateError, UpdateOutcome, UpdateParams};
