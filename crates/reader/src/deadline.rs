//! Deadlines: every wait for a server is bounded here, and every attempt is repeated here.

use std::future::Future;
use std::time::Duration;

use lfsfs_common::backoff;
use lfsfs_remote::PAUSES;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::ReadError;

/// A point in time after which an operation fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `None`: never.
    at: Option<Instant>,
    timeout: Duration,
}

impl Deadline {
    /// Returns the point in time that comes after `timeout`.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self {
            at: Some(Instant::now() + timeout),
            timeout,
        }
    }

    /// Returns a point in time that never comes, for readers whose remote bounds and repeats its calls
    /// itself.
    #[must_use]
    pub const fn of_the_remote() -> Self {
        Self {
            at: None,
            timeout: Duration::MAX,
        }
    }

    /// Moves this point away, because there was progress.
    pub fn renew(&mut self) {
        if self.at.is_some() {
            *self = Self::after(self.timeout);
        }
    }

    /// Waits for `work`, which is to `what`, but not beyond this point.
    pub async fn bound<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let Some(at) = self.at else {
            return work.await;
        };
        match timeout_at(at, work).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Timeout {
                what,
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    /// Tries until it works or makes no sense to try again, or the time is over.
    pub async fn retry<T, Fut>(
        &self,
        what: &'static str,
        mut attempt: impl FnMut() -> Fut,
    ) -> Result<T, ReadError>
    where
        Fut: Future<Output = Result<T, ReadError>>,
    {
        let mut pauses = self.pauses();
        loop {
            match self.bound(what, attempt()).await {
                Err(error) if error.is_retryable() && pauses.pause(*self).await => {}
                result => return result,
            }
        }
    }

    /// Returns the pauses between attempts.
    pub(crate) fn pauses(&self) -> Pauses {
        let left = self
            .at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let seed = left.map_or(0, |left| left.subsec_nanos());
        Pauses(PAUSES.delays(u64::from(seed)))
    }
}

/// The deadline of a read: it moves when the read gets further than any attempt before, and with
/// nothing else. An answer that only says where the bytes are does not move it, nor do bytes that came
/// before: a read of what is nowhere must end.
#[derive(Debug)]
pub(crate) struct Progress {
    deadline: Deadline,
    /// How many bytes, from the beginning of what is wanted, some attempt has had.
    furthest: usize,
}

impl Progress {
    pub(crate) fn within(deadline: Deadline) -> Self {
        Self {
            deadline,
            furthest: 0,
        }
    }

    /// Returns the deadline as it is now.
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Notes how many bytes an attempt has.
    pub(crate) fn reached(&mut self, len: usize) {
        if len > self.furthest {
            self.furthest = len;
            self.deadline.renew();
        }
    }
}

/// The pauses between attempts to do something.
#[derive(Debug)]
pub(crate) struct Pauses(backoff::Delays);

impl Pauses {
    /// Pauses. Returns false, at once, if the next attempt would come after `deadline`, and where the
    /// remote repeats its calls itself.
    pub(crate) async fn pause(&mut self, deadline: Deadline) -> bool {
        let next = self.0.next().map(|delay| Instant::now() + delay);
        let is_in_time = |next: &Instant| deadline.at.is_some_and(|at| *next < at);
        match next.filter(is_in_time) {
            Some(next) => {
                sleep_until(next).await;
                true
            }
            None => false,
        }
    }
}
