//! Keeps a line that repeats from flooding the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a line that was written holds back others like it.
const QUIET: Duration = Duration::from_secs(10);

/// Lets one line pass in a while and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Held for moments, and while no other lock is.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    passed: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Returns how many lines were held back since the last one, if this one may pass.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |passed| now.saturating_duration_since(passed) < QUIET;
        if state.passed.is_some_and(is_quiet) {
            state.held_back += 1;
            return None;
        }
        state.passed = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_passes_now_and_then_and_the_others_are_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.pass_at(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(throttle.pass_at(start), None);
        }
        assert_eq!(throttle.pass_at(start + QUIET), Some(1000));
    }
}
