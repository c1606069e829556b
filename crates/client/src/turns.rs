//! Which of a server's addresses is asked next: in turn, without those that failed a moment ago.
//!
//! Pure: the time and the random number come in as arguments.

use std::time::{Duration, Instant};

use lfsfs_common::backoff::Backoff;

/// How long an address that failed is left out, before a probe asks whether it answers again.
const LEFT_OUT: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));

/// The addresses of one server, by their numbers from 0 on.
#[derive(Debug)]
pub(crate) struct Turns {
    next: usize,
    addresses: Vec<Known>,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Failures since the last answer.
    failures: u32,
    /// When it is probed, if it is left out.
    left_out: Option<Instant>,
    is_probed: bool,
}

impl Turns {
    /// Takes all addresses as such that answer. The turn of `first`, modulo their count, comes first.
    pub(crate) fn new(addresses: usize, first: usize) -> Self {
        Self {
            next: first,
            addresses: vec![Known::default(); addresses],
        }
    }

    /// Returns the address whose turn it is, of those that were not tried: the next one that answers, or without such
    /// the one that is left out for the shortest time from now on.
    pub(crate) fn next(&mut self, tried: &[usize]) -> Option<usize> {
        let len = self.addresses.len();
        let in_turn = (0..len).map(|step| (self.next + step) % len);
        let untried = in_turn.filter(|at| !tried.contains(at));
        // The first of several equals is taken; none is less than any moment.
        let at = untried.min_by_key(|at| self.addresses[*at].left_out)?;
        self.next = (at + 1) % len;
        Some(at)
    }

    /// Notes that an address answered.
    pub(crate) fn answered(&mut self, at: usize) {
        self.addresses[at] = Known::default();
    }

    /// Notes that an address gave no answer. Calls that fail together count once. Returns true if it had answered
    /// before.
    pub(crate) fn failed(&mut self, at: usize, now: Instant, random: u32) -> bool {
        let known = &mut self.addresses[at];
        let is_known = known.left_out.is_some_and(|until| now < until);
        if is_known && !known.is_probed {
            return false;
        }
        let is_new = known.left_out.is_none();
        *known = Known {
            failures: known.failures.saturating_add(1),
            left_out: Some(now + LEFT_OUT.delay(known.failures, random)),
            is_probed: false,
        };
        is_new
    }

    /// Returns an address that was left out long enough. Its probe must end with [`answered`](Self::answered) or
    /// [`failed`](Self::failed); until then it is not returned again.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<usize> {
        let is_due = |it: &Known| !it.is_probed && it.left_out.is_some_and(|until| until <= now);
        let at = self.addresses.iter().position(is_due)?;
        self.addresses[at].is_probed = true;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whose turns the next calls are.
    fn turns(turns: &mut Turns, calls: usize) -> Vec<usize> {
        (0..calls).filter_map(|_| turns.next(&[])).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn all_that_answer_are_asked_in_turn() {
        let (mut three, now) = (Turns::new(3, 3), Instant::now());
        assert_eq!(turns(&mut three, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert!(three.failed(2, now, 0) && !three.failed(2, now + seconds(9), 0));
        assert_eq!(turns(&mut three, 4), [1, 0, 1, 0]);
        three.answered(2);
        assert_eq!(turns(&mut three, 3), [1, 2, 0]);
        assert_eq!(turns(&mut Turns::new(1, 7), 2), [0, 0]);
    }

    #[test]
    fn a_call_asks_each_address_once_and_those_that_failed_last() {
        let (mut three, now) = (Turns::new(3, 3), Instant::now());
        three.failed(0, now, 0);
        three.failed(0, now + seconds(1), 0);
        three.failed(1, now + seconds(1), 0);
        let mut tried = Vec::new();
        while let Some(at) = three.next(&tried) {
            tried.push(at);
        }
        assert_eq!(tried, [2, 1, 0], "0 is left out for longer than 1");
    }

    #[test]
    fn an_address_that_failed_is_probed_later_and_later_until_it_answers() {
        let (mut two, mut now) = (Turns::new(2, 0), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let failed = now;
            two.failed(1, now, u32::MAX);
            // Another call that had begun before fails a moment later.
            two.failed(1, now, u32::MAX);
            while two.take_due(now).is_none() {
                now += Duration::from_millis(500);
            }
            assert_eq!(two.take_due(now + seconds(60)), None, "one probe is enough");
            pauses.push((now - failed).as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        two.answered(1);
        assert_eq!(two.take_due(now + seconds(60)), None);
        assert_eq!(turns(&mut two, 2), [0, 1]);
    }
}
