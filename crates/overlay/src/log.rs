//! The log on disk: a directory of segments, each a sequence of checksummed records.
//!
//! Owns the files and their bytes: `files.rs` the small ones, `record.rs` and `segment.rs` the form of
//! records and segments, `writer.rs` appending and syncing, `replay.rs` reading everything at the
//! start, `checkpoint_file.rs` checkpoints. It knows operations as bytes; what they mean is the state's.
//! docs/formats.md "Overlay log" has the tables.

pub(crate) mod checkpoint_file;
pub(crate) mod files;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;
pub(crate) mod writer;
