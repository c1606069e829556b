//! How fast files leave the queue, and so how long the rest takes. Pure.

use std::time::Duration;

use crate::state::{Counts, Moment};

/// The pace since the queue was last idle.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    begun: Option<Begun>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Moment,
    /// Files that had been uploaded by then.
    uploaded: u64,
}

impl Pace {
    /// Notes what is in the queue.
    pub(crate) fn note(&mut self, counts: Counts, uploaded: u64, now: Moment) {
        if counts.is_idle() {
            self.begun = None;
        } else {
            self.begun.get_or_insert(Begun { at: now, uploaded });
        }
    }

    /// Returns how long the files that wait and are on their way take at this pace; `None` without any, and as long as
    /// none was uploaded.
    pub(crate) fn left(&self, counts: Counts, uploaded: u64, now: Moment) -> Option<Duration> {
        let begun = self.begun.filter(|_| !counts.is_idle())?;
        let done = u32::try_from(uploaded.checked_sub(begun.uploaded)?).ok()?;
        let left = u32::try_from(counts.waiting + counts.uploading).ok()?;
        let spent = now.checked_sub(begun.at)?;
        spent.checked_mul(left)?.checked_div(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn waiting(waiting: usize) -> Counts {
        Counts {
            waiting,
            uploading: 0,
            failed: 1,
        }
    }

    #[test]
    fn what_is_left_takes_as_long_a_file_as_what_was_uploaded() {
        let (mut pace, second) = (Pace::default(), Duration::from_secs(1));
        assert_eq!(pace.left(waiting(100), 7, second), None);
        pace.note(waiting(100), 7, second);
        assert_eq!(pace.left(waiting(100), 7, 2 * second), None, "none is done");
        pace.note(waiting(90), 17, 3 * second);
        assert_eq!(pace.left(waiting(90), 17, 3 * second), Some(18 * second));
    }

    #[test]
    fn a_pause_without_files_is_not_counted() {
        let (mut pace, second) = (Pace::default(), Duration::from_secs(1));
        pace.note(waiting(10), 0, second);
        assert_eq!(pace.left(waiting(0), 10, 2 * second), None);
        pace.note(waiting(0), 10, 2 * second);
        pace.note(waiting(10), 10, 1_000 * second);
        assert_eq!(pace.left(waiting(5), 15, 1_001 * second), Some(second));
    }
}
