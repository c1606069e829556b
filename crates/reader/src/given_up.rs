//! Contents of which a read was given up a moment ago.
//!
//! The kernel reads ahead. When that fails, it asks once more for the page that a program waits for,
//! and that second request must not wait as long again. It gets the time of one attempt, so that it
//! succeeds where the server has come back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lfsfs_types::ContentId;

/// How long after a read was given up another one of the content gets one attempt only.
const MEMORY: Duration = Duration::from_secs(5);
/// The time for that attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// What was given up, and when.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    contents: Mutex<HashMap<ContentId, Instant>>,
}

impl GivenUp {
    /// Returns how long a read of a content may go without progress, where others have `full`.
    pub(crate) fn timeout(&self, content: &ContentId, full: Duration, now: Instant) -> Duration {
        let given_up = self.lock().get(content).copied();
        match given_up.filter(|at| is_recent(*at, now)) {
            Some(_) => full.min(ATTEMPT_TIMEOUT),
            None => full,
        }
    }

    /// Notes that a read was given up that had the full time. One that had less must not be noted, so
    /// that a program that asks again and again gets the full time every now and then.
    pub(crate) fn note(&self, content: ContentId, now: Instant) {
        let mut contents = self.lock();
        contents.retain(|_, at| is_recent(*at, now));
        contents.insert(content, now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContentId, Instant>> {
        self.contents.lock().expect("no holder of this lock panics")
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Duration = Duration::from_secs(30);

    #[test]
    fn only_reads_right_after_a_long_one_are_short() {
        let given_up = GivenUp::default();
        let (content, other) = (ContentId::EMPTY, ContentId([7; 32]));
        let start = Instant::now();
        assert_eq!(given_up.timeout(&content, FULL, start), FULL);
        given_up.note(content, start);
        let short = given_up.timeout(&content, FULL, start);
        assert_eq!(short, ATTEMPT_TIMEOUT);
        assert_eq!(given_up.timeout(&other, FULL, start), FULL);

        let later = start + MEMORY;
        assert_eq!(given_up.timeout(&content, FULL, later), FULL);
        given_up.note(other, later);
        assert_eq!(given_up.lock().len(), 1, "what is old is dropped");
    }
}
