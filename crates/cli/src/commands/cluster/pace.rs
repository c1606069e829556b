//! How fast repair is.

use std::time::Duration;

use lfsfs_client::RepairStatus;

/// The rate of repair between two answers, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) bytes_per_second: u64,
    /// How long the rest takes at this rate; none if nothing was copied.
    pub(super) left: Option<Duration>,
}

impl Pace {
    /// Returns the rate, if time passed. A coordinator that was started anew counts from 0: it copied
    /// nothing before that could be counted here.
    pub(super) fn between(
        before: &RepairStatus,
        now: &RepairStatus,
        elapsed: Duration,
    ) -> Option<Self> {
        let millis = u64::try_from(elapsed.as_millis()).ok()?;
        let copied = now.copied_bytes.saturating_sub(before.copied_bytes);
        let bytes_per_second = copied.saturating_mul(1000).checked_div(millis)?;
        let left = now.waiting_bytes.checked_div(bytes_per_second);
        Some(Self {
            bytes_per_second,
            left: left.map(Duration::from_secs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repair(copied_bytes: u64, waiting_bytes: u64) -> RepairStatus {
        RepairStatus {
            copied_bytes,
            waiting_bytes,
            ..RepairStatus::default()
        }
    }

    fn pace(copied: [u64; 2], waiting: u64, millis: u64) -> Option<(u64, Option<u64>)> {
        let [before, now] = copied.map(|copied| repair(copied, waiting));
        let pace = Pace::between(&before, &now, Duration::from_millis(millis))?;
        Some((pace.bytes_per_second, pace.left.map(|left| left.as_secs())))
    }

    #[test]
    fn the_rest_takes_as_long_as_the_rate_says() {
        assert_eq!(pace([100, 2100], 5000, 2000), Some((1000, Some(5))));
        assert_eq!(pace([100, 100], 5000, 2000), Some((0, None)));
        assert_eq!(pace([100, 2100], 0, 2000), Some((1000, Some(0))));
    }

    #[test]
    fn no_time_and_a_new_coordinator_are_no_rate() {
        assert_eq!(pace([0, 100], 5000, 0), None);
        assert_eq!(pace([5000, 100], 5000, 2000), Some((0, None)));
    }
}
