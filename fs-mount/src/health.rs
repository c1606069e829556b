//! Whether a server answers: decided from when it was asked and when it answered.
//!
//! A server that was asked for as long as a call may wait, and answered nothing, is taken as away. Calls
//! fail at once then instead of waiting as long again, each of them, until it answers again.

use std::time::{Duration, Instant};

/// A pause after which a new call is not part of the same attempt any more; calls that try again pause
/// less.
const ATTEMPT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is known of a server.
#[derive(Debug)]
pub(crate) struct Health {
    /// How long it may leave calls unanswered.
    patience: Duration,
    /// Calls that wait for an answer.
    waiting: u32,
    /// Since when it was asked again and again without an answer.
    unanswered: Option<Instant>,
    /// When the last call ended without an answer.
    gave_up: Option<Instant>,
    is_away: bool,
}

impl Health {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            waiting: 0,
            unanswered: None,
            gave_up: None,
            is_away: false,
        }
    }

    /// Returns how long nothing was answered, if the server is taken as away.
    pub(crate) fn away(&self, now: Instant) -> Option<Duration> {
        let since = self.unanswered.filter(|_| self.is_away)?;
        Some(now.saturating_duration_since(since))
    }

    /// Notes that it is asked.
    pub(crate) fn ask(&mut self, now: Instant) {
        let paused = |gave_up| now.saturating_duration_since(gave_up) > ATTEMPT_PAUSE_MAX;
        let is_new_attempt = self.waiting == 0 && self.gave_up.is_none_or(paused);
        if self.unanswered.is_none() || (is_new_attempt && !self.is_away) {
            self.unanswered = Some(now);
        }
        self.waiting += 1;
    }

    /// Notes an answer to what it was asked.
    pub(crate) fn answer(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.come_back();
    }

    /// Notes that it answers, which a probe found.
    pub(crate) fn come_back(&mut self) {
        self.unanswered = None;
        self.gave_up = None;
        self.is_away = false;
    }

    /// Notes that the one who asked gave up. Returns true if the server is away from now on.
    pub(crate) fn give_up(&mut self, now: Instant) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.gave_up = Some(now);
        let waited = self
            .unanswered
            .map(|since| now.saturating_duration_since(since));
        // A little less than that counts, since the last pause is not waited out.
        let is_over = waited.is_some_and(|waited| waited >= self.patience * 9 / 10);
        is_over && !std::mem::replace(&mut self.is_away, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_that_leaves_a_call_unanswered_for_so_long_is_away_until_it_answers() {
        let (start, mut health) = (Instant::now(), Health::new(PATIENCE));
        health.ask(start);
        assert!(health.give_up(at(start, 30)));
        assert_eq!(health.away(at(start, 31)), Some(Duration::from_secs(31)));
        // Only once: one probe is enough.
        health.ask(at(start, 31));
        assert!(!health.give_up(at(start, 32)));
        health.come_back();
        assert_eq!(health.away(at(start, 33)), None);
    }

    #[test]
    fn attempts_that_fail_at_once_count_together() {
        let (start, mut health) = (Instant::now(), Health::new(PATIENCE));
        for second in (0..=28).step_by(2) {
            health.ask(at(start, second));
            assert_eq!(health.give_up(at(start, second)), second == 28, "{second}");
        }
    }

    #[test]
    fn what_failed_long_ago_says_nothing_of_now() {
        let (start, mut health) = (Instant::now(), Health::new(PATIENCE));
        health.ask(start);
        assert!(!health.give_up(at(start, 1)));
        health.ask(at(start, 3_600));
        assert!(!health.give_up(at(start, 3_601)));
        assert_eq!(health.away(at(start, 3_601)), None);
    }

    #[test]
    fn one_slow_call_among_answers_is_no_sign() {
        let (start, mut health) = (Instant::now(), Health::new(PATIENCE));
        health.ask(start);
        health.ask(at(start, 10));
        health.answer();
        assert!(!health.give_up(at(start, 30)));
    }
}
