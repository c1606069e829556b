//! The end of patience: every wait for a server is bounded here, and every attempt is repeated here.

use std::future::Future;
use std::time::Duration;

use lfsfs_client::PAUSES;
use lfsfs_common::backoff;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::VfsError;

/// A point in time after which an operation fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    pub(crate) fn after(patience: Duration) -> Self {
        Self {
            at: Instant::now() + patience,
            patience,
        }
    }

    /// Moves this point away, because there was progress.
    pub(crate) fn renew(&mut self) {
        *self = Self::after(self.patience);
    }

    /// Waits for `work`, which is to `what`, but not beyond this point.
    pub(crate) async fn bound<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, VfsError>>,
    ) -> Result<T, VfsError> {
        match timeout_at(self.at, work).await {
            Ok(result) => result,
            Err(_) => Err(VfsError::Timeout {
                what,
                seconds: self.patience.as_secs(),
            }),
        }
    }

    /// Tries until it works or makes no sense to try again, or the time is over.
    pub(crate) async fn insist<T, Fut>(
        &self,
        what: &'static str,
        mut attempt: impl FnMut() -> Fut,
    ) -> Result<T, VfsError>
    where
        Fut: Future<Output = Result<T, VfsError>>,
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
        let left = self.at.saturating_duration_since(Instant::now());
        Pauses(PAUSES.delays(u64::from(left.subsec_nanos())))
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
    /// Pauses. Returns false, at once, if the next attempt would come after `deadline`.
    pub(crate) async fn pause(&mut self, deadline: Deadline) -> bool {
        let next = self.0.next().map(|delay| Instant::now() + delay);
        match next.filter(|next| *next < deadline.at) {
            Some(next) => {
                sleep_until(next).await;
                true
            }
            None => false,
        }
    }
}
