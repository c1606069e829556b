//! How many bytes a second go out. Pure: it says how long to wait, and never does.

use std::time::Duration;

use crate::state::Moment;

/// Bytes that were sent, and until when they have used the rate up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    bytes_a_second: Option<u64>,
    used_until: Moment,
}

impl Rate {
    pub(crate) const fn new(bytes_a_second: Option<u64>) -> Self {
        Self {
            bytes_a_second,
            used_until: Duration::ZERO,
        }
    }

    /// Counts bytes that were sent. Returns how long the sender has to wait before it sends more.
    pub(crate) fn sent(&mut self, bytes: u64, now: Moment) -> Duration {
        let Some(rate) = self.bytes_a_second else {
            return Duration::ZERO;
        };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.used_until = self.used_until.max(now).saturating_add(time);
        self.used_until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_sent_has_to_be_waited_for_by_all_senders_together() {
        let mut rate = Rate::new(Some(1000));
        assert_eq!(rate.sent(2000, SECOND), 2 * SECOND);
        assert_eq!(rate.sent(1000, SECOND), 3 * SECOND);
        // A time without senders is not saved up.
        assert_eq!(rate.sent(500, 60 * SECOND), SECOND / 2);
    }

    #[test]
    fn without_a_limit_there_is_no_wait() {
        assert_eq!(Rate::new(None).sent(u64::MAX, SECOND), Duration::ZERO);
    }

    #[test]
    fn no_number_overflows() {
        let mut rate = Rate::new(Some(0));
        for _ in 0..3 {
            assert!(rate.sent(u64::MAX, SECOND) > SECOND);
        }
    }
}
