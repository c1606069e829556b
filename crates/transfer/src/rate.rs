//! How slow the sender of a chunk may be.

use std::time::Duration;

/// Time that a sender may take before its rate counts.
const START_TIME: Duration = Duration::from_secs(30);
/// Least rate of a sender, in bytes a second.
pub const RATE_MIN: u64 = 16 * 1024;
/// Longest time that one chunk may keep its receiver waiting.
pub const CHUNK_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Time after which a sender that is slower than [`RATE_FAIR`] gives way to others.
const FAIR_AFTER: Duration = Duration::from_secs(10);
/// Rate below which a sender gives way to others that wait, in bytes a second.
pub const RATE_FAIR: u64 = 256 * 1024;

/// What a sender has sent, and how long its receiver has waited for that. The time that the
/// receiver needs itself does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderRate {
    bytes: u64,
    waited: Duration,
}

impl SenderRate {
    /// Notes bytes that arrived, and how long the receiver waited for them.
    pub fn received(&mut self, bytes: u64, waited: Duration) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Returns this rate as it is when the receiver has waited for so much longer.
    #[must_use]
    pub fn after(mut self, waiting: Duration) -> Self {
        self.received(0, waiting);
        self
    }

    /// Returns the bytes of each second that the receiver has waited, rounded down.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes / self.waited.as_secs().max(1)
    }

    /// Returns true if the transfer is to be given up in any case.
    #[must_use]
    pub fn is_too_slow(&self) -> bool {
        self.waited > CHUNK_TIME_MAX || self.is_below(RATE_MIN, START_TIME)
    }

    /// Returns true if the transfer is to be given up where others wait for its place.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.is_below(RATE_FAIR, FAIR_AFTER)
    }

    fn is_below(&self, rate: u64, start: Duration) -> bool {
        let counted = self.waited.saturating_sub(start);
        self.waited > start && self.bytes < counted.as_secs().saturating_mul(rate).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_sender_that_trickles_is_too_slow_once_its_rate_counts() {
        let mut rate = SenderRate::default();
        for _ in 0..3 {
            rate.received(1, secs(10));
        }
        assert!(!rate.is_too_slow(), "30 s are free");
        rate.received(1, secs(10));
        assert!(rate.is_too_slow() && rate.gives_way());
    }

    #[test]
    fn a_slow_line_is_served_unless_others_wait() {
        let mut rate = SenderRate::default();
        for _ in 0..300 {
            rate.received(2 * RATE_MIN, secs(1));
            assert!(!rate.is_too_slow());
        }
        assert!(rate.gives_way());
    }

    #[test]
    fn a_fast_sender_never_gives_way() {
        let mut rate = SenderRate::default();
        for _ in 0..300 {
            rate.received(RATE_FAIR, secs(1));
            assert!(!rate.gives_way() && !rate.is_too_slow());
        }
        assert!(rate.after(secs(300 + 20)).gives_way(), "it stopped");
    }

    #[test]
    fn no_chunk_takes_longer_than_the_longest_time() {
        let mut rate = SenderRate::default();
        rate.received(u64::MAX, CHUNK_TIME_MAX + secs(1));
        assert!(rate.is_too_slow());
    }
}
