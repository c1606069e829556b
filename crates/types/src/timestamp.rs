//! Points in time as file systems keep them: seconds since the epoch, negative before it, and
//! nanoseconds within the second.

use crate::codec::{DecodeError, Reader, Writer};

/// A point in time with nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// Returns the time, or `None` if `nanos` is a second or more.
    #[must_use]
    pub fn new(secs: i64, nanos: u32) -> Option<Self> {
        (nanos < 1_000_000_000).then_some(Self { secs, nanos })
    }

    pub(crate) fn encode(self, writer: &mut Writer) {
        writer.signed(self.secs).varint(u64::from(self.nanos));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let secs = reader.signed()?;
        let nanos = reader.varint32()?;
        Self::new(secs, nanos).ok_or_else(|| reader.error("nanoseconds above a second"))
    }
}
