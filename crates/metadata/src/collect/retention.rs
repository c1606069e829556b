//! Which versions stay.

use std::collections::BTreeSet;
use std::time::Duration;

use lfsfs_types::{Timestamp, VersionId, VersionNumber};

/// Which versions of a project may expire. The newest never does, and none that something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// So many of the newest stay.
    pub keep: Option<u64>,
    /// Those stay that were the newest one in this time.
    pub older_than: Option<Duration>,
    /// Only versions from this one on may expire.
    pub from: Option<VersionNumber>,
    /// As `older_than`, and always asked for: a client may just have learned of a version.
    pub grace: Duration,
}

/// A version that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: VersionNumber,
    pub(super) id: VersionId,
    pub(super) time: Timestamp,
}

impl Retention {
    /// Returns true if versions may expire at all.
    #[must_use]
    pub fn expires_any(&self) -> bool {
        self.keep.is_some() || self.older_than.is_some()
    }

    /// Returns those of `versions`, all there are in the order of their numbers, that expire, in this order.
    pub(super) fn expired(
        &self,
        versions: &[Known],
        held: &BTreeSet<VersionNumber>,
        now: Timestamp,
    ) -> Vec<Known> {
        if !self.expires_any() {
            return Vec::new();
        }
        let least_age = self.older_than.unwrap_or_default().max(self.grace);
        let kept = usize::try_from(self.keep.unwrap_or(0)).unwrap_or(usize::MAX);
        let count = versions.len().saturating_sub(kept.max(1));
        let pairs = versions.iter().zip(versions.iter().skip(1)).take(count);
        let expires = pairs.filter(|(version, next)| {
            self.from.is_none_or(|from| version.number >= from)
                && !held.contains(&version.number)
                && age(next.time, now) >= least_age
        });
        expires.map(|(version, _)| *version).collect()
    }
}

/// Returns how long ago a moment was; what lies ahead, by a clock that was set back, is now.
fn age(moment: Timestamp, now: Timestamp) -> Duration {
    let nanos = |time: Timestamp| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let passed = u64::try_from(nanos(now) - nanos(moment)).unwrap_or(0);
    Duration::from_nanos(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 0 }
    }

    /// Versions 1 to 5, one in each ten seconds from 10 on.
    fn versions() -> Vec<Known> {
        let known = |number: u64| Known {
            number: VersionNumber(number),
            id: VersionId::ZERO,
            time: at(i64::try_from(number).expect("small") * 10),
        };
        (1..=5).map(known).collect()
    }

    fn expired(retention: Retention, held: &[u64]) -> Vec<u64> {
        let held = held.iter().copied().map(VersionNumber).collect();
        let expired = retention.expired(&versions(), &held, at(60));
        expired
            .into_iter()
            .map(|version| version.number.0)
            .collect()
    }

    #[test]
    fn nothing_expires_that_was_not_asked_for() {
        assert_eq!(expired(Retention::default(), &[]), []);
    }

    #[test]
    fn the_newest_ones_stay() {
        let keep = |keep| Retention {
            keep: Some(keep),
            ..Retention::default()
        };
        assert_eq!(expired(keep(2), &[]), [1, 2, 3]);
        assert_eq!(expired(keep(2), &[2]), [1, 3]);
        assert_eq!(
            expired(keep(0), &[]),
            [1, 2, 3, 4],
            "the newest one never expires"
        );
        assert_eq!(expired(keep(u64::MAX), &[]), []);
        let from = Retention {
            from: Some(VersionNumber(3)),
            ..keep(1)
        };
        assert_eq!(expired(from, &[]), [3, 4]);
    }

    #[test]
    fn age_counts_from_when_a_version_was_the_newest() {
        let older = |secs| Retention {
            older_than: Some(Duration::from_secs(secs)),
            ..Retention::default()
        };
        // Version 2 was the newest until 30.
        assert_eq!(expired(older(30), &[]), [1, 2]);
        assert_eq!(expired(older(0), &[]), [1, 2, 3, 4]);
        let grace = Retention {
            grace: Duration::from_secs(40),
            ..older(0)
        };
        assert_eq!(expired(grace, &[]), [1]);
        let both = Retention {
            keep: Some(4),
            ..older(0)
        };
        assert_eq!(expired(both, &[]), [1]);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_versions() {
        let retention = Retention {
            older_than: Some(Duration::from_secs(1)),
            ..Retention::default()
        };
        let expired = retention.expired(&versions(), &BTreeSet::new(), at(0));
        assert!(expired.is_empty());
    }
}
