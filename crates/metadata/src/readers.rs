//! A call that removes rows waits for the calls that may read them.
//!
//! A call that reads a version looks once whether the version is there, and reads its rows afterwards, perhaps for
//! minutes. Expiring removes the version's record first; calls that begin later are refused. It waits for those
//! that began before, and removes rows then. No reader ever waits.
//!
//! This is what read-copy-update calls a grace period. Source: P. McKenney, J. Slingwine, "Read-Copy Update: Using
//! Execution History to Solve Concurrency Problems", 1998. It covers the readers of this process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked whether the readers of before have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The calls of this process that read versions.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Readers that begin count in the place of this number, even or odd.
    turn: AtomicUsize,
    counts: [AtomicUsize; 2],
    /// Held by the one who waits.
    waiter: Mutex<()>,
}

/// A call that reads versions, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading<'a>(&'a AtomicUsize);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Readers {
    pub(crate) fn begin(&self) -> Reading<'_> {
        loop {
            let turn = self.turn.load(Ordering::SeqCst);
            let count = &self.counts[turn % 2];
            count.fetch_add(1, Ordering::SeqCst);
            let reading = Reading(count);
            // Else the one who waits may have looked at the count before this reader was in it.
            if self.turn.load(Ordering::SeqCst) == turn {
                return reading;
            }
        }
    }

    /// Waits until the readers have ended that began before. Returns false if some have not in `time_max`, or when
    /// `stops` says so.
    pub(crate) fn wait(&self, time_max: Duration, stops: impl Fn() -> bool) -> bool {
        let _alone = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now() + time_max;
        let ends = |place: usize| {
            while self.counts[place % 2].load(Ordering::SeqCst) > 0 {
                if stops() || Instant::now() >= end {
                    return false;
                }
                std::thread::sleep(LOOK_EVERY);
            }
            true
        };
        let turn = self.turn.load(Ordering::SeqCst);
        // The place that new readers get may have some of an earlier wait that gave up.
        if !ends(turn + 1) {
            return false;
        }
        self.turn.store(turn + 1, Ordering::SeqCst);
        ends(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn only_readers_of_before_are_waited_for() {
        let readers = Readers::default();
        assert!(readers.wait(SOON, || false), "there are none");
        let before = readers.begin();
        assert!(!readers.wait(SOON, || false));
        let after = readers.begin();
        drop(before);
        assert!(!readers.wait(SOON, || false), "it began before this wait");
        drop(after);
        assert!(readers.wait(SOON, || false));
    }

    #[test]
    fn a_reader_that_begins_during_a_wait_does_not_prolong_it() {
        let readers = Readers::default();
        let before = readers.begin();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| readers.wait(Duration::from_secs(60), || false));
            while readers.turn.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let during = readers.begin();
            drop(before);
            assert!(waits.join().expect("no panic"));
            drop(during);
        });
    }

    #[test]
    fn who_stops_does_not_wait() {
        let readers = Readers::default();
        let _reading = readers.begin();
        assert!(!readers.wait(Duration::from_secs(60), || true));
    }
}
