//! The on-disk cache that all mounts of a machine share.
//!
//! Immutable files named by what they hold, each verified when it is read; no database. Several
//! processes may use one directory at once, any of them may die at any moment, and a user may remove
//! any part of it at any time: the worst that follows is a miss. What is damaged is counted,
//! removed, and a miss too. What cannot be written is not cached; that is logged once, not an error.
//!
//! Everything here blocks on file operations of a few microseconds when the page cache is warm.

#![forbid(unsafe_code)]

mod batch;
mod batches;
mod chunk_file;
mod disk;
mod evict;
mod format;
mod layout;
mod sealed;
mod stats;
mod usage;
mod version_index;
mod whole_file;

pub use disk::{CacheConfig, CacheError, DiskCache};
pub use evict::{Evicted, StoreUsage};
pub use layout::{FileKey, ListingKey, PlacesKey};
pub use stats::CacheStats;
