//! A budget of bytes a second.

use std::time::Duration;

use tokio::time::Instant;

/// How much of the budget may be made up for later.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Spreads bytes over time.
pub(super) struct Pace {
    rate: u64,
    /// When the next bytes may go.
    due: Instant,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            due: Instant::now(),
        }
    }

    /// Waits as long as these bytes take.
    pub(super) async fn spend(&mut self, bytes: u64) {
        tokio::time::sleep_until(self.due_after(bytes, Instant::now())).await;
    }

    /// Returns when the next bytes may go, if these go now.
    fn due_after(&mut self, bytes: u64, now: Instant) -> Instant {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.rate);
        let took = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let due = self.due.max(now.checked_sub(BEHIND_MAX).unwrap_or(now));
        self.due = due.checked_add(took).unwrap_or(due);
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        let mut pace = Pace::new(1000);
        let start = pace.due;
        let mut now = start;
        for _ in 0..10 {
            now = pace.due_after(500, now);
        }
        assert_eq!(now - start, Duration::from_secs(5));
        let later = now + Duration::from_secs(100);
        let due = pace.due_after(3000, later);
        assert_eq!(
            due - later,
            Duration::from_secs(2),
            "a second is made up for"
        );
        assert_eq!(pace.due_after(0, later), due);
    }
}
