//! Which serving threads wait too long for their processor. Pure: it sees samples and says what to do.

use std::time::{Duration, Instant};

/// Waiting for more than this between two looks is much; the looks are 10 ms apart.
const WAITED_MAX: Duration = Duration::from_millis(2);
/// Each wait of a thread that shares a processor with the one program that it serves is some microseconds.
const WAIT_MAX: Duration = Duration::from_micros(100);
/// How long a thread is let go. The time doubles while it does not help to come back.
const LIFT: Duration = Duration::from_secs(1);
/// Most doublings.
const DOUBLINGS_MAX: u32 = 5;

/// What the kernel tells of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// How long it waited for a processor so far, as far as that is over.
    pub(super) waited: Duration,
    /// How often it got one.
    pub(super) runs: u64,
    /// Whether it wants one now.
    pub(super) is_runnable: bool,
}

/// What to do about a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stay,
    /// Let it run anywhere, as an ordinary thread.
    Lift,
    /// Have it follow again.
    Follow,
}

/// What is known of one thread.
#[derive(Debug, Default)]
pub(super) struct Guard {
    last: Option<Sample>,
    lifted_until: Option<Instant>,
    came_back: Option<Instant>,
    doublings: u32,
}

impl Guard {
    /// Judges a thread by what the kernel tells now.
    pub(super) fn judge(&mut self, sample: Sample, now: Instant) -> Verdict {
        let last = self.last.replace(sample);
        match self.lifted_until {
            Some(until) if now < until => Verdict::Stay,
            Some(_) => {
                self.lifted_until = None;
                self.came_back = Some(now);
                self.last = None;
                Verdict::Follow
            }
            None if last.is_some_and(|last| waits_long(last, sample)) => self.lift(now),
            None => Verdict::Stay,
        }
    }

    fn lift(&mut self, now: Instant) -> Verdict {
        let since = |at| now.saturating_duration_since(at) < LIFT;
        self.doublings = if self.came_back.is_some_and(since) {
            (self.doublings + 1).min(DOUBLINGS_MAX)
        } else {
            0
        };
        self.lifted_until = Some(now + LIFT * 2_u32.pow(self.doublings));
        Verdict::Lift
    }
}

fn waits_long(last: Sample, now: Sample) -> bool {
    let runs = u32::try_from(now.runs.saturating_sub(last.runs)).unwrap_or(u32::MAX);
    let waited = now.waited.saturating_sub(last.waited);
    if runs == 0 {
        // It waited all the time: a wait is told when it is over.
        return last.is_runnable && now.is_runnable;
    }
    waited > WAITED_MAX && waited / runs > WAIT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn sample(waited: Duration, runs: u64, is_runnable: bool) -> Sample {
        Sample {
            waited,
            runs,
            is_runnable,
        }
    }

    #[test]
    fn a_thread_that_shares_with_its_program_alone_stays() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        // 800 requests in 10 ms, each of which waited 5 us until the program slept.
        for look in 0..1000 {
            let sample = sample(look * Duration::from_millis(4), u64::from(look) * 800, true);
            assert_eq!(guard.judge(sample, now + look * PERIOD), Verdict::Stay);
        }
        // A thread that sleeps waits for nothing.
        let asleep = sample(Duration::from_secs(9), 1_000_000, false);
        assert_eq!(guard.judge(asleep, now), Verdict::Stay);
        assert_eq!(guard.judge(asleep, now), Verdict::Stay);
    }

    #[test]
    fn one_that_does_not_run_or_waits_long_each_time_is_let_go() {
        let now = Instant::now();
        let first = sample(Duration::ZERO, 10, true);
        let stuck = sample(Duration::ZERO, 10, true);
        let slow = sample(Duration::from_millis(9), 12, false);
        for next in [stuck, slow] {
            let mut guard = Guard::default();
            assert_eq!(guard.judge(first, now), Verdict::Stay);
            assert_eq!(guard.judge(next, now + PERIOD), Verdict::Lift);
        }
    }

    #[test]
    fn it_comes_back_later_each_time_that_this_does_not_help() {
        let (mut guard, mut now) = (Guard::default(), Instant::now());
        let stuck = sample(Duration::ZERO, 10, true);
        let mut lengths = Vec::new();
        let mut lifted = None;
        while lengths.len() < 8 {
            match guard.judge(stuck, now) {
                Verdict::Lift => lifted = Some(now),
                Verdict::Follow => {
                    let since: Instant = lifted.take().unwrap();
                    lengths.push(now.duration_since(since).as_secs());
                }
                Verdict::Stay => {}
            }
            now += PERIOD;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 32, 32]);
    }
}
