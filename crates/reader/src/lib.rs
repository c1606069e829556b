//! Contents as they lie in chunks: where they are, read from any replica, verified, and cached.
//!
//! [`ContentReader`] is the one implementation of reading contents. A mount reads ranges of files with
//! it ([`ContentReader::read`]), an export many whole contents at once ([`ContentReader::load`]). It
//! knows places, footers and blocks, in memory and in the disk cache, and nothing of inodes, listings
//! or overlays: what is resolved together is a [`Group`] that the caller names.
//!
//! What fetches runs in tasks of the owner that [`Source::spawner`] belongs to, one fetch for each
//! thing ([`SingleFlight`]), with a bound for each kind of fetch. No lock is held across an await. One
//! is taken while another is held only in `chunks`, in the order stated there, and for memory caches,
//! which are always last.

#![forbid(unsafe_code)]

mod backend;
mod chunks;
mod config;
mod content_reader;
mod counters;
mod deadline;
mod error;
mod given_up;
mod group;
mod located;
mod place_table;
mod places;
mod single_flight;
mod weighted;
mod whole;
mod write_behind;

pub use backend::Source;
pub use config::ReaderConfig;
pub use content_reader::ContentReader;
pub use counters::{Counter, ReaderStats};
pub use deadline::Deadline;
pub use error::ReadError;
pub use group::{Group, GroupKey};
pub use located::Wanted;
pub use single_flight::{Launch, SingleFlight, Start};
pub use weighted::{Weight, WeightedCache};
pub use whole::Loaded;
pub use write_behind::WriteBehindCache;
