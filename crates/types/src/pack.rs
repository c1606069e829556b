//! Packs: what lies in and below a directory, as two values.
//!
//! The listing says what the objects are and is the same bytes for the same package wherever it is
//! found. The attributes say what differs each time one is unpacked: times and owners. Both are
//! format 1, docs/formats.md "Pack listing" and "Pack attributes".
//!
//! What a listing cannot hold (hard links, devices, extended attributes) is never packed.

mod attributes;
mod listing;

pub use self::attributes::{EntryAttributes, Owner, PackAttributes};
pub use self::listing::{PackEntry, PackError, PackKind, PackListing};
