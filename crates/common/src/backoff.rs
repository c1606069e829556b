//! Delays between attempts: doubling from a base to a maximum, with jitter.
//!
//! Pure: it computes delays and never sleeps, so the same code serves threads and tasks, and a
//! queue that persists its attempt count continues where it stopped.

use std::time::Duration;

/// How long to wait before each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    maximum: Duration,
}

impl Backoff {
    /// Creates a backoff that waits about `base` first and never longer than `maximum`.
    pub const fn new(base: Duration, maximum: Duration) -> Self {
        Self { base, maximum }
    }

    /// Returns the delay after `failures` failures in a row (0 counts as the first), without
    /// jitter: `base * 2^failures`, at most the maximum.
    pub fn ceiling(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.maximum)
    }

    /// Returns the delay after `failures` failures, spread by `random` over the upper half of its
    /// ceiling, so that many clients that failed together do not return together.
    pub fn delay(self, failures: u32, random: u32) -> Duration {
        let half = self.ceiling(failures) / 2;
        let nanoseconds = half.as_nanos() * u128::from(random) / u128::from(u32::MAX);
        half + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Returns the delays one after another, without end. Equal seeds give equal delays.
    pub const fn delays(self, seed: u64) -> Delays {
        Delays {
            backoff: self,
            failures: 0,
            state: seed,
        }
    }
}

/// The delays of a [`Backoff`]; take as many as there are attempts.
#[derive(Debug, Clone)]
pub struct Delays {
    backoff: Backoff,
    failures: u32,
    state: u64,
}

impl Delays {
    /// Returns the next number of the SplitMix64 sequence, for callers that count failures themselves; jitter needs no
    /// better source.
    pub fn next_random(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("the upper half of a u64 fits u32")
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let random = self.next_random();
        let delay = self.backoff.delay(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));

    #[test]
    fn ceilings_double_up_to_the_maximum() {
        let ceilings: Vec<_> = (0..12).map(|n| BACKOFF.ceiling(n).as_millis()).collect();

        assert_eq!(
            ceilings,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000
            ]
        );
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        assert_eq!(BACKOFF.delay(1, 0), Duration::from_millis(100));
        assert_eq!(BACKOFF.delay(1, u32::MAX), Duration::from_millis(200));
    }

    #[test]
    fn a_seed_decides_the_delays_and_another_seed_gives_others() {
        let take = |seed| BACKOFF.delays(seed).take(5).collect::<Vec<_>>();

        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn delays_never_end_and_never_exceed_the_maximum() {
        for (failures, delay) in (0..).zip(BACKOFF.delays(1).take(100)) {
            let ceiling = BACKOFF.ceiling(failures);
            assert!(
                ceiling / 2 <= delay && delay <= ceiling,
                "{failures}: {delay:?}"
            );
        }
    }

    #[test]
    fn a_zero_base_gives_no_delay() {
        let none = Backoff::new(Duration::ZERO, Duration::from_secs(1));
        assert_eq!(none.delays(1).nth(40), Some(Duration::ZERO));
    }
}
