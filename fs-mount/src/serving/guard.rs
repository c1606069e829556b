//! Which serving threads wait too long for their processor, and which rest. Pure: it sees samples and says what to do.

use std::time::{Duration, Instant};

/// Waiting for more than this between two looks is much; the looks are 10 ms apart.
const WAITED_MAX: Duration = Duration::from_millis(2);
/// Each wait of a thread that shares a processor with the one program that it serves is some microseconds.
const WAIT_MAX: Duration = Duration::from_micros(100);
/// How long a thread is let go at first. The time doubles each time that it comes back for a shorter time than it was
/// away.
const LIFT: Duration = Duration::from_millis(200);
/// How long a thread is let go at most.
const LIFT_MAX: Duration = Duration::from_millis(3_200);
/// After so many looks without a request a thread rests.
const QUIET_LOOKS: u32 = 100;

/// What is known of a thread at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Requests that it served so far.
    pub(super) served: u64,
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
    /// Let it run anywhere, as an ordinary thread: it waits too long.
    Lift,
    /// Let it run anywhere: the first request in a while must not wait for a busy processor.
    Rest,
    /// Have it follow its program.
    Follow,
}

/// What is known of one thread.
#[derive(Debug, Default)]
pub(super) struct Guard {
    last: Option<Sample>,
    state: State,
    came_back: Option<Instant>,
    /// How long it was let go the last time.
    lift: Duration,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It does not serve.
    #[default]
    Resting,
    /// It follows its program, and has not served for so many looks.
    Following { quiet: u32 },
    /// It was let go.
    Lifted { until: Instant },
}

impl Guard {
    /// Returns true if the thread does not serve.
    pub(super) fn rests(&self) -> bool {
        self.state == State::Resting
    }

    /// Judges a thread by what is known now.
    pub(super) fn judge(&mut self, sample: Sample, now: Instant) -> Verdict {
        let last = self.last.replace(sample);
        let has_served = sample.served > last.map_or(0, |last| last.served);
        match self.state {
            State::Resting if has_served => self.follow(),
            State::Resting => Verdict::Stay,
            State::Lifted { until } if now < until => Verdict::Stay,
            State::Lifted { .. } => {
                // What it waited meanwhile says nothing of what follows.
                self.last = None;
                self.came_back = Some(now);
                self.follow()
            }
            State::Following { .. } if last.is_some_and(|last| waits_long(last, sample)) => {
                self.lift(now)
            }
            State::Following { .. } if has_served => {
                self.state = State::Following { quiet: 0 };
                Verdict::Stay
            }
            State::Following { quiet } if quiet < QUIET_LOOKS => {
                self.state = State::Following { quiet: quiet + 1 };
                Verdict::Stay
            }
            State::Following { .. } => {
                self.state = State::Resting;
                Verdict::Rest
            }
        }
    }

    fn follow(&mut self) -> Verdict {
        self.state = State::Following { quiet: 0 };
        Verdict::Follow
    }

    fn lift(&mut self, now: Instant) -> Verdict {
        let was_short = |at| now.saturating_duration_since(at) < self.lift;
        self.lift = if self.came_back.is_some_and(was_short) {
            (2 * self.lift).min(LIFT_MAX)
        } else {
            LIFT
        };
        let until = now + self.lift;
        self.state = State::Lifted { until };
        Verdict::Lift
    }
}

fn waits_long(last: Sample, now: Sample) -> bool {
    let runs = u32::try_from(now.runs.saturating_sub(last.runs)).unwrap_or(u32::MAX);
    let waited = now.waited.saturating_sub(last.waited);
    if runs == 0 {
        // It waited all the time: the kernel counts a wait when it is over.
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
            served: runs,
            waited,
            runs,
            is_runnable,
        }
    }

    /// Returns the guard of a thread that follows.
    fn following(now: Instant) -> Guard {
        let mut guard = Guard::default();
        assert!(guard.rests());
        let first = sample(Duration::ZERO, 10, true);
        assert_eq!(guard.judge(first, now), Verdict::Follow);
        assert!(!guard.rests());
        guard
    }

    #[test]
    fn a_thread_that_serves_one_program_alone_stays() {
        let now = Instant::now();
        let mut guard = following(now);
        // 800 requests in 10 ms, each of which waited 5 us until the program slept.
        for look in 1..1000 {
            let sample = sample(look * Duration::from_millis(4), u64::from(look) * 800, true);
            assert_eq!(guard.judge(sample, now + look * PERIOD), Verdict::Stay);
        }
    }

    #[test]
    fn one_that_does_not_run_or_waits_long_each_time_is_let_go() {
        let now = Instant::now();
        let stuck = sample(Duration::ZERO, 10, true);
        let slow = sample(Duration::from_millis(9), 12, false);
        for next in [stuck, slow] {
            let mut guard = following(now);
            assert_eq!(guard.judge(next, now + PERIOD), Verdict::Lift);
        }
    }

    #[test]
    fn it_comes_back_later_each_time_that_this_does_not_help() {
        let mut now = Instant::now();
        let mut guard = following(now);
        let stuck = sample(Duration::ZERO, 10, true);
        let mut lengths = Vec::new();
        let mut lifted = None;
        while lengths.len() < 8 {
            match guard.judge(stuck, now) {
                Verdict::Lift => lifted = Some(now),
                Verdict::Follow => {
                    let since: Instant = lifted.take().unwrap();
                    lengths.push(now.duration_since(since).as_millis());
                }
                Verdict::Stay | Verdict::Rest => {}
            }
            now += PERIOD;
        }
        assert_eq!(lengths, [200, 400, 800, 1600, 3200, 3200, 3200, 3200]);
    }

    #[test]
    fn one_that_serves_nothing_rests_until_it_does() {
        let now = Instant::now();
        let mut guard = following(now);
        let quiet = sample(Duration::ZERO, 10, false);
        let verdicts: Vec<_> = (0..200).map(|_| guard.judge(quiet, now)).collect();
        let rests = verdicts.iter().filter(|it| **it == Verdict::Rest).count();
        assert_eq!(rests, 1);
        assert!(guard.rests());
        let asked = sample(Duration::ZERO, 11, false);
        assert_eq!(guard.judge(asked, now), Verdict::Follow);
    }
}
