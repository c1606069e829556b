//! How far an import or a commit is, for a progress bar.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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
    phase: AtomicU8,
    expected: OnceLock<Expected>,
    entries: AtomicU64,
    bytes_read: AtomicU64,
    bytes_sent: AtomicU64,
    contents_sent: AtomicU64,
    changes: AtomicU64,
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
    /// Entries that differ.
    pub changes: u64,
}

impl Progress {
    /// Returns the counters.
    #[must_use]
    pub fn figures(&self) -> ProgressFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressFigures {
            phase: self.phase(),
            expected: self.expected.get().copied(),
            entries: read(&self.entries),
            bytes_read: read(&self.bytes_read),
            bytes_sent: read(&self.bytes_sent),
            contents_sent: read(&self.contents_sent),
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
    pub(crate) fn begin(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let known = [Phase::Cut, Phase::Read, Phase::Send];
        let number = usize::from(self.phase.load(Ordering::Relaxed));
        known.get(number).copied().unwrap_or(Phase::Publish)
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
        for phase in [Phase::Read, Phase::Send, Phase::Publish, Phase::Cut] {
            progress.begin(phase);
            assert_eq!(progress.figures().phase, phase);
        }
    }
}
