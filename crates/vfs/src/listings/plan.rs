//! When listings are asked for in bulk, from where on, and how far ahead of those who use them.
//!
//! A program that goes through a tree asks for one directory after the other. After a few of them one stream brings the
//! rest: from the directory that was asked for last to the end of the version, then what lies before it, so that a
//! program which goes on in the same order finds what it wants next. It rests while that program is far behind, and
//! ends when no program asks any more; the next one that does goes on where it ended.
//!
//! Where the cache has all listings of another version of the project, only what differs is asked for, and at once.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use lfsfs_types::{DirId, VersionId, VersionNumber};
use tokio::time::Instant;

/// So many directories that are not in the cache begin a stream,
const MISSES: usize = 4;
/// if they are asked for in this time.
const MISSES_WITHIN: Duration = Duration::from_secs(5);
/// A stream ends when so long no directory was asked for.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long after a failure no stream is begun.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a directory is waited for that the stream may bring next.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one is waited for while the stream brings what differs, which are few directories as a rule.
const PATIENCE_SINCE: Duration = Duration::from_secs(2);
/// A stream ends when so long nothing of what it has brought was used.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A stream ends after so many directories that it did not bring in time: the program goes elsewhere.
const VAIN_MAX: usize = 8;
/// But not before it had this time.
const VAIN_AFTER: Duration = Duration::from_secs(2);
/// After streams of no use, so many misses at most begin another one.
const MISSES_MAX: usize = 4096;
/// A shorter time is not worth a wait.
const PATIENCE_LEAST: Duration = Duration::from_millis(5);

/// Listings that one stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// What differs from another version.
    Since {
        since: (VersionNumber, VersionId),
        after: Option<DirId>,
    },
    /// From behind a directory to the end of the version.
    Rest { after: DirId },
    /// From the beginning of the version to a directory.
    Beginning { after: Option<DirId>, until: DirId },
}

impl Segment {
    fn came(&mut self, dir: DirId) {
        match self {
            Self::Rest { after } => *after = dir,
            Self::Since { after, .. } | Self::Beginning { after, .. } => *after = Some(dir),
        }
    }
}

/// What a stream does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Takes another listing.
    Go,
    /// Waits until what it has brought is used.
    Wait,
    /// Ends.
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Resting,
    Running,
    /// The server cannot do it, or does not have the version any more.
    Off,
}

/// The listings that were asked for in bulk, and those that are to be.
#[derive(Debug)]
pub(super) struct Plan {
    ahead_max: usize,
    patience_max: Duration,
    phase: Phase,
    misses: VecDeque<Instant>,
    segments: VecDeque<Segment>,
    /// Those that have come and that no program has asked for since.
    unused: HashSet<DirId>,
    asked: Option<Instant>,
    retry_at: Option<Instant>,
    patience: Duration,
    /// So many misses begin a stream: more after those of no use.
    needed: usize,
    /// Directories that the stream that runs did not bring in time.
    in_vain: usize,
    /// When a listing was used last that a stream has brought.
    useful: Option<Instant>,
    started: Option<Instant>,
}

impl Plan {
    /// At most `ahead_max` listings are brought that no program has asked for; none at all for 0. No directory is
    /// waited for longer than `patience_max`.
    pub(super) fn new(ahead_max: usize, patience_max: Duration) -> Self {
        Self {
            ahead_max,
            patience_max,
            phase: if ahead_max == 0 {
                Phase::Off
            } else {
                Phase::Resting
            },
            misses: VecDeque::new(),
            segments: VecDeque::new(),
            unused: HashSet::new(),
            asked: None,
            retry_at: None,
            patience: Duration::ZERO,
            needed: MISSES,
            in_vain: 0,
            useful: None,
            started: None,
        }
    }

    /// Plans to ask for what differs from a version, all listings of which are in the cache.
    pub(super) fn begin_since(&mut self, since: (VersionNumber, VersionId)) {
        if self.segments.is_empty() {
            let after = None;
            self.segments.push_back(Segment::Since { since, after });
        }
    }

    /// Notes that a directory is not in the cache. Returns true if a stream is to begin, which
    /// [`runs`](Self::runs) now.
    pub(super) fn missed(&mut self, dir: DirId, now: Instant) -> bool {
        self.asked = Some(now);
        if self.phase != Phase::Resting || self.retry_at.is_some_and(|at| now < at) {
            self.in_vain += usize::from(self.patience().is_none());
            return false;
        }
        self.misses.push_back(now);
        let is_old = |at: &Instant| now - *at > MISSES_WITHIN;
        while self.misses.front().is_some_and(is_old) {
            self.misses.pop_front();
        }
        let is_since = matches!(self.segments.front(), Some(Segment::Since { .. }));
        if !is_since && self.misses.len() < self.needed {
            return false;
        }
        if self.segments.is_empty() {
            let after = None;
            self.segments.push_back(Segment::Rest { after: dir });
            self.segments
                .push_back(Segment::Beginning { after, until: dir });
        }
        self.start(now, if is_since { PATIENCE_SINCE } else { PATIENCE });
        true
    }

    fn start(&mut self, now: Instant, patience: Duration) {
        self.phase = Phase::Running;
        self.misses.clear();
        self.started = Some(now);
        self.in_vain = 0;
        self.patience = patience.min(self.patience_max);
        if self.needed > MISSES {
            // The streams before were of no use.
            self.patience /= 16;
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Returns whether the stream that runs brings what differs from another version.
    pub(super) fn runs_since(&self) -> bool {
        self.runs() && matches!(self.segments.front(), Some(Segment::Since { .. }))
    }

    /// Returns what is to be asked for next; none if all was.
    pub(super) fn segment(&self) -> Option<Segment> {
        self.segments.front().copied()
    }

    /// Notes that a listing has come. Returns true if it is the last that is wanted of its stream.
    pub(super) fn came(&mut self, dir: DirId) -> bool {
        let Some(segment) = self.segments.front_mut() else {
            return true;
        };
        segment.came(dir);
        let segment = *segment;
        if !matches!(segment, Segment::Since { .. }) {
            self.unused.insert(dir);
        }
        matches!(segment, Segment::Beginning { until, .. } if until == dir)
    }

    /// Notes that a program uses a listing.
    pub(super) fn used(&mut self, dir: DirId, now: Instant) {
        self.asked = Some(now);
        if self.unused.remove(&dir) {
            self.useful = Some(now);
            self.needed = MISSES;
        }
    }

    /// Returns whether listings have come that were not used.
    pub(super) fn has_unused(&self) -> bool {
        !self.unused.is_empty()
    }

    pub(super) fn pace(&self, now: Instant) -> Pace {
        let is_longer = |since: Option<Instant>, time| since.is_some_and(|at| now - at > time);
        let is_in_vain = self.in_vain >= VAIN_MAX && is_longer(self.started, VAIN_AFTER);
        if is_in_vain || self.asked.is_none() || is_longer(self.asked, IDLE_MAX) {
            Pace::Rest
        } else if self.unused.len() >= self.ahead_max {
            match is_longer(self.useful.max(self.started), WAIT_MAX) {
                true => Pace::Rest,
                false => Pace::Wait,
            }
        } else {
            Pace::Go
        }
    }

    /// Notes that a stream has brought all of its listings.
    pub(super) fn segment_ended(&mut self) {
        self.segments.pop_front();
    }

    /// Notes that no stream runs any more.
    pub(super) fn rest(&mut self) {
        if self.useful < self.started && !self.segments.is_empty() {
            self.needed = (4 * self.needed).min(MISSES_MAX);
        }
        self.stop();
    }

    fn stop(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Resting;
        }
        // What is not used by now is not waited for by the next stream.
        self.unused = HashSet::new();
    }

    /// Notes that a stream failed.
    pub(super) fn failed(&mut self, now: Instant, may_pass: bool) {
        self.stop();
        if may_pass {
            self.retry_at = Some(now + RETRY_AFTER);
        } else if matches!(self.segments.front(), Some(Segment::Since { .. })) {
            // The other version may have expired; this one is there.
            self.segments.pop_front();
        } else {
            self.phase = Phase::Off;
        }
    }

    /// Returns how long a directory is waited for; none if no stream brings it soon.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.runs() && self.patience >= PATIENCE_LEAST).then_some(self.patience)
    }

    /// Notes how a wait ended: those that follow one in vain are shorter.
    pub(super) fn waited(&mut self, has_come: bool) {
        if !has_come {
            self.patience /= 4;
        } else if !self.runs_since() {
            self.patience = (2 * self.patience).min(PATIENCE).min(self.patience_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: (VersionNumber, VersionId) = (VersionNumber(3), VersionId([3; 16]));

    fn plan() -> Plan {
        Plan::new(10, Duration::from_secs(9))
    }

    /// Asks for directories that are not in the cache until a stream begins.
    fn begun(now: Instant) -> Plan {
        let mut plan = plan();
        let starts: Vec<bool> = (5..9).map(|dir| plan.missed(DirId(dir), now)).collect();
        assert_eq!(starts, [false, false, false, true]);
        plan
    }

    #[test]
    fn a_few_misses_in_a_short_time_begin_a_stream_behind_the_last() {
        let now = Instant::now();
        let mut plan = begun(now);
        assert_eq!(plan.segment(), Some(Segment::Rest { after: DirId(8) }));
        assert!(!plan.missed(DirId(20), now), "it runs already");
        assert!(!plan.came(DirId(9)));
        assert_eq!(plan.segment(), Some(Segment::Rest { after: DirId(9) }));
        plan.segment_ended();
        assert!(!plan.came(DirId(1)));
        assert!(plan.came(DirId(8)), "from there on all is known");
        plan.segment_ended();
        assert_eq!(plan.segment(), None);
    }

    #[test]
    fn misses_now_and_then_begin_none() {
        let mut plan = plan();
        let mut now = Instant::now();
        for dir in 5..30 {
            assert!(!plan.missed(DirId(dir), now));
            now += MISSES_WITHIN / 2;
        }
        let mut none = Plan::new(0, PATIENCE);
        assert!(!(5..30).any(|dir| none.missed(DirId(dir), now)));
    }

    #[test]
    fn a_stream_waits_for_those_who_use_it_and_rests_without() {
        let now = Instant::now();
        let mut plan = begun(now);
        for dir in 10..20 {
            assert_eq!(plan.pace(now), Pace::Go);
            plan.came(DirId(dir));
        }
        assert_eq!(plan.pace(now), Pace::Wait);
        plan.used(DirId(10), now);
        assert_eq!(plan.pace(now), Pace::Go);
        let later = now + 2 * IDLE_MAX;
        assert_eq!(plan.pace(later), Pace::Rest);
        plan.rest();
        let starts = (40..44).map(|dir| plan.missed(DirId(dir), later));
        assert_eq!(starts.filter(|starts| *starts).count(), 1);
        assert_eq!(plan.segment(), Some(Segment::Rest { after: DirId(19) }));
    }

    #[test]
    fn a_stream_of_no_use_ends_and_the_next_one_takes_more_to_begin() {
        let now = Instant::now();
        let mut plan = begun(now);
        for dir in 10..20 {
            plan.came(DirId(dir));
        }
        assert_eq!(plan.pace(now), Pace::Wait);
        for dir in 50..70 {
            plan.waited(false);
            assert!(!plan.missed(DirId(dir), now));
        }
        assert_eq!(plan.pace(now + 2 * VAIN_AFTER), Pace::Rest);
        plan.rest();
        let starts: Vec<bool> = (70..86).map(|dir| plan.missed(DirId(dir), now)).collect();
        assert_eq!(starts.iter().position(|starts| *starts), Some(15));
        assert!(plan.patience().expect("it runs") < PATIENCE / 10);
        plan.came(DirId(90));
        plan.used(DirId(90), now);
        plan.rest();
        assert_eq!((0..9).position(|dir| plan.missed(DirId(dir), now)), Some(3));
    }

    #[test]
    fn what_differs_is_asked_for_at_once_and_given_up_for_all_of_it() {
        let now = Instant::now();
        let mut plan = plan();
        plan.begin_since(SINCE);
        assert!(plan.missed(DirId(1), now) && plan.runs_since());
        plan.failed(now, false);
        assert!(!plan.runs() && plan.segment().is_none());
        let starts: Vec<bool> = (5..9).map(|dir| plan.missed(DirId(dir), now)).collect();
        assert_eq!(starts, [false, false, false, true]);
        plan.failed(now, true);
        let again = |plan: &mut Plan, now| (5..20).any(|dir| plan.missed(DirId(dir), now));
        assert!(!again(&mut plan, now), "not at once");
        assert!(again(&mut plan, now + RETRY_AFTER));
        plan.failed(now, false);
        assert!(!again(&mut plan, now + 9 * RETRY_AFTER), "never again");
    }

    #[test]
    fn waits_in_vain_become_shorter_until_there_is_none() {
        let mut plan = begun(Instant::now());
        let first = plan.patience().expect("it runs");
        plan.waited(false);
        assert!(plan.patience().expect("it runs") < first);
        plan.waited(true);
        plan.waited(true);
        assert_eq!(plan.patience(), Some(first));
        for _ in 0..10 {
            plan.waited(false);
        }
        assert_eq!(plan.patience(), None);
    }
}
