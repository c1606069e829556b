//! Collecting garbage: versions that no user needs any more expire, contents that no version names go, and
//! chunks in which nothing lies are given up.
//!
//! - [`retention`] decides which versions stay; it is pure.
//! - [`expire`] removes the records of the others, and then the rows that no version needs that stays.
//! - [`holds`]: a mount holds the version that it shows, so that it does not expire.
//! - [`contents`] marks the contents that rows name ([`named`]), and removes those that none names ([`marks`]).
//! - [`listings`] removes the listings of packs that no row names.
//! - [`chunks`] finds the chunks in which nothing lies; the coordinator has their datanodes drop them.
//! - [`compact`] decides which chunks are rewritten; it is pure. [`moves`] says what lies in them, and changes the
//!   places of what the coordinator has written anew.
//!
//! docs/durability.md "Collecting garbage" has the order of steps, and what a crash leaves after each.

mod chunks;
mod compact;
mod contents;
mod expire;
mod holds;
mod listings;
mod marks;
mod moves;
mod named;
mod retention;

pub use self::chunks::UnneededChunks;
pub use self::compact::{ChunkUse, CompactLimits, Gathering, gatherings};
pub use self::contents::{CollectParams, Collected};
pub use self::expire::{ExpireParams, Expired};
pub use self::holds::Hold;
pub(crate) use self::marks::{Part, parts};
pub use self::moves::{ContentMove, MovedContents};
pub(crate) use self::named::NamedContents;
pub use self::retention::Retention;
