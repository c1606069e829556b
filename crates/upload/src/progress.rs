//! How far an import or a commit is, for a progress bar.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// It is decided what belongs to the version.
    #[default]
    Cut,
    /// Files are read and hashed, and what is new is sent meanwhile.
    Read,
    /// Everything was read, and the rest is sent.
    Send,
    /// Everything was sent, and the server makes the version.
    Publish,
    /// The version is there, and the mount goes to it.
    Show,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Cut, Self::Read, Self::Send, Self::Publish, Self::Show];
}

/// How much there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Entries.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Counters that grow while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    clock: Mutex<PhaseClock>,
    expected: OnceLock<Expected>,
    entries: AtomicU64,
    bytes_read: AtomicU64,
    bytes_sent: AtomicU64,
    contents_sent: AtomicU64,
    bytes_new: AtomicU64,
    bytes_known: AtomicU64,
    changes: AtomicU64,
}

/// What is going on, and how long each phase has taken before.
#[derive(Debug)]
struct PhaseClock {
    phase: Phase,
    since: Instant,
    spent: [Duration; Phase::ALL.len()],
}

impl Default for PhaseClock {
    fn default() -> Self {
        Self {
            phase: Phase::default(),
            since: Instant::now(),
            spent: Default::default(),
        }
    }
}

impl PhaseClock {
    fn begin(&mut self, phase: Phase, now: Instant) {
        self.spent = self.spent_at(now);
        (self.phase, self.since) = (phase, now);
    }

    /// Returns how long each phase has taken until now.
    fn spent_at(&self, now: Instant) -> [Duration; Phase::ALL.len()] {
        let mut spent = self.spent;
        if let Some(spent) = spent.get_mut(self.phase as usize) {
            *spent += now.saturating_duration_since(self.since);
        }
        spent
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressFigures {
    /// What is going on.
    pub phase: Phase,
    /// How much there is to look at, if the import has been counted.
    pub expected: Option<Expected>,
    /// Entries looked at.
    pub entries: u64,
    /// Bytes of files read and hashed.
    pub bytes_read: u64,
    /// Bytes of chunks sent.
    pub bytes_sent: u64,
    /// Contents sent in them.
    pub contents_sent: u64,
    /// Bytes of contents that the server lacked.
    pub bytes_new: u64,
    /// Bytes of contents that the server had already.
    pub bytes_known: u64,
    /// Entries that differ.
    pub changes: u64,
    /// How long each phase has taken, as in [`Phase::ALL`].
    pub spent: [Duration; Phase::ALL.len()],
}

impl Progress {
    /// Returns the counters.
    #[must_use]
    pub fn figures(&self) -> ProgressFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let clock = self.clock();
        ProgressFigures {
            phase: clock.phase,
            spent: clock.spent_at(Instant::now()),
            expected: self.expected.get().copied(),
            entries: read(&self.entries),
            bytes_read: read(&self.bytes_read),
            bytes_sent: read(&self.bytes_sent),
            contents_sent: read(&self.contents_sent),
            bytes_new: read(&self.bytes_new),
            bytes_known: read(&self.bytes_known),
            changes: read(&self.changes),
        }
    }

    /// Notes how much there is to look at. Only the first word counts.
    pub fn expect(&self, expected: Expected) {
        let _ = self.expected.set(expected);
    }

    /// Notes that everything is looked at once more. What was sent stays sent.
    pub fn begin_anew(&self) {
        for counter in [&self.entries, &self.bytes_read, &self.changes] {
            counter.store(0, Ordering::Relaxed);
        }
        self.begin(Phase::Cut);
    }

    /// Notes that a phase has begun.
    pub fn begin(&self, phase: Phase) {
        self.clock().begin(phase, Instant::now());
    }

    fn clock(&self) -> MutexGuard<'_, PhaseClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an entry that was looked at.
    pub fn entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read and hashed.
    pub fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes and contents that were sent.
    pub fn sent(&self, bytes: u64, contents: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.contents_sent.fetch_add(contents, Ordering::Relaxed);
    }

    /// Counts bytes of contents that the server lacks, and of those that it has.
    pub(crate) fn offered(&self, bytes_new: u64, bytes_known: u64) {
        self.bytes_new.fetch_add(bytes_new, Ordering::Relaxed);
        self.known(bytes_known);
    }

    /// Counts bytes of contents that the server has.
    pub fn known(&self, bytes: u64) {
        self.bytes_known.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts an entry that differs.
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_shown_as_it_was_begun() {
        let progress = Progress::default();
        assert_eq!(progress.figures().phase, Phase::Cut);
        for phase in Phase::ALL.into_iter().rev() {
            progress.begin(phase);
            assert_eq!(progress.figures().phase, phase);
        }
    }

    #[test]
    fn the_time_of_a_phase_that_comes_again_is_added_up() {
        let start = Instant::now();
        let mut clock = PhaseClock {
            since: start,
            ..PhaseClock::default()
        };
        let at = |seconds| start + Duration::from_secs(seconds);
        clock.begin(Phase::Read, at(2));
        clock.begin(Phase::Publish, at(5));
        clock.begin(Phase::Read, at(6));
        assert_eq!(
            clock.spent_at(at(10)).map(|it| it.as_secs()),
            [2, 7, 0, 1, 0]
        );
    }
}
