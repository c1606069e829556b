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
    /// The first second of the year 0, and with [`Self::SECS_MAX`] the range of times that a version
    /// can have: those that RFC 3339 can write.
    pub const SECS_MIN: i64 = -62_167_219_200;
    /// The last second of the year 9999.
    pub const SECS_MAX: i64 = 253_402_300_799;

    /// Returns true if a version can have this time.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        (Self::SECS_MIN..=Self::SECS_MAX).contains(&self.secs)
    }

    /// Returns the time, or the nearest one that a version can have; local file systems do the same
    /// with times that they cannot keep.
    #[must_use]
    pub fn clamped(self) -> Self {
        match self.secs {
            secs if secs < Self::SECS_MIN => Self {
                secs: Self::SECS_MIN,
                nanos: 0,
            },
            secs if secs > Self::SECS_MAX => Self {
                secs: Self::SECS_MAX,
                nanos: 0,
            },
            _ => self,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_of_range_becomes_the_nearest_in_range() {
        let time = |secs, nanos| Timestamp { secs, nanos };
        let (first, last) = (Timestamp::SECS_MIN, Timestamp::SECS_MAX);
        for inside in [
            time(first, 7),
            time(0, 999_999_999),
            time(last, 999_999_999),
        ] {
            assert!(inside.is_in_range());
            assert_eq!(inside.clamped(), inside);
        }
        for (outside, nearest) in [
            (time(i64::MIN, 5), time(first, 0)),
            (time(first - 1, 5), time(first, 0)),
            (time(last + 1, 5), time(last, 0)),
            (time(i64::MAX, 5), time(last, 0)),
        ] {
            assert!(!outside.is_in_range());
            assert_eq!(outside.clamped(), nearest);
        }
    }
}
