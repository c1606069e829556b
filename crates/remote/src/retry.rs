//! When a call that failed is made again: the one place that decides it.
//!
//! A call is made again if it is idempotent, or was never sent, and the failure may pass. One
//! [`Retry`] belongs to one operation of a user, such as an import: it knows whether the server has
//! answered the operation at all, and warns once.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_common::backoff::{Backoff, Delays};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::call::Call;
use crate::error::RemoteError;

/// Pauses between tries, of reads of a mount too.
pub const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How long connections may be refused before there was one: most often no server was started, or the
/// address is wrong.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// Shows a line to the user.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// When calls of one operation are made again.
#[derive(Clone)]
pub struct Retry {
    /// How long, from its first failure on, a call is tried. Zero: once.
    retry_for: Duration,
    state: Arc<State>,
}

struct State {
    notice: Option<Notice>,
    /// Whether there was ever a connection to the server.
    was_there: AtomicBool,
    has_warned: AtomicBool,
}

impl Retry {
    /// Tries for so long, from the first failure of a call on.
    #[must_use]
    pub fn new(retry_for: Duration) -> Self {
        Self::with(retry_for, None)
    }

    /// As [`new`](Self::new), and says once that it goes on trying.
    #[must_use]
    pub fn with_notice(retry_for: Duration, notice: Notice) -> Self {
        Self::with(retry_for, Some(notice))
    }

    fn with(retry_for: Duration, notice: Option<Notice>) -> Self {
        let state = State {
            notice,
            was_there: AtomicBool::new(false),
            has_warned: AtomicBool::new(false),
        };
        Self {
            retry_for,
            state: Arc::new(state),
        }
    }

    /// Makes a call until it succeeds, or cannot, or the time is over.
    pub async fn run<T, F>(&self, call: Call, mut ask: impl FnMut() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let mut tries = self.tries();
        loop {
            let error = match self.once(&mut ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !may_pass(call, &error) {
                return Err(tries.last(error));
            }
            debug!(?call, %error, "a call failed");
            if !tries.pause(&error).await {
                return Err(tries.last(error));
            }
        }
    }

    /// Makes a call that cannot be made again here.
    pub async fn once<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let answer = ask().await;
        if answer.is_ok() {
            self.state.was_there.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Begins tries of something of several calls, which can begin anew where one of them failed.
    #[must_use]
    pub fn tries(&self) -> Tries<'_> {
        Tries {
            retry: self,
            started: Instant::now(),
            failing: None,
            count: 1,
            pauses: pauses(),
        }
    }

    /// Returns how long a call may fail this way.
    fn limit(&self, error: &RemoteError) -> Duration {
        let is_refused = matches!(error, RemoteError::NoServer { .. });
        if is_refused && !self.state.was_there.load(Ordering::Relaxed) {
            self.retry_for.min(REFUSED_MAX)
        } else {
            self.retry_for
        }
    }

    fn warn(&self, error: &RemoteError, limit: Duration) {
        if self.state.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let seconds = limit.as_secs();
        warn!(%error, seconds, "a call failed; it is tried again");
        if let Some(notice) = &self.state.notice {
            notice(&format!("{error}; trying again for up to {seconds} s"));
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("retry_for", &self.retry_for)
            .finish_non_exhaustive()
    }
}

/// Tries of one thing.
#[derive(Debug)]
pub struct Tries<'a> {
    retry: &'a Retry,
    started: Instant,
    /// Since when it fails.
    failing: Option<Instant>,
    count: u32,
    pauses: Delays,
}

impl Tries<'_> {
    /// Waits before the next try. Returns false, at once, if there should be none.
    pub async fn pause(&mut self, error: &RemoteError) -> bool {
        let Some(pause) = self.next(error, Instant::now()) else {
            return false;
        };
        self.retry.warn(error, self.retry.limit(error));
        sleep(pause).await;
        true
    }

    /// Returns the pause before the next try, if there should be one.
    fn next(&mut self, error: &RemoteError, now: Instant) -> Option<Duration> {
        if !matches!(error, RemoteError::NoServer { .. }) {
            // A connection that broke, or was made and brought nothing, is one to a server.
            self.retry.state.was_there.store(true, Ordering::Relaxed);
        }
        let limit = self.retry.limit(error);
        let failing = self.failing.filter(|since| now - *since < 2 * limit);
        if failing.is_none() {
            // It went well for long: this is another failure, not the same one.
            self.pauses = pauses();
        }
        let since = *self.failing.insert(failing.unwrap_or(now));
        let pause = self.pauses.next().unwrap_or_default();
        let is_in_time = now + pause < since + limit;
        self.count += u32::from(is_in_time);
        is_in_time.then_some(pause)
    }

    /// Returns the last failure, with what was tried.
    #[must_use]
    pub fn last(&self, error: RemoteError) -> RemoteError {
        if self.count == 1 || !may_come_back(&error) {
            return error;
        }
        RemoteError::GaveUp {
            tries: self.count,
            seconds: self.started.elapsed().as_secs(),
            last: Box::new(error),
        }
    }
}

/// Returns true if the same call may succeed later, or at another address of its server, and nothing is done
/// twice by making it again.
#[must_use]
pub fn may_pass(call: Call, error: &RemoteError) -> bool {
    // Nothing was sent over a connection that was refused.
    let is_unsent = matches!(
        error,
        RemoteError::NoServer { .. } | RemoteError::Away { .. }
    );
    may_come_back(error) && (call.is_idempotent() || is_unsent)
}

/// Returns true if a server that is away is the reason, and was not waited for already.
fn may_come_back(error: &RemoteError) -> bool {
    error.is_no_answer() && !matches!(error, RemoteError::GaveUp { .. })
}

/// Returns pauses that differ from those of other clients that failed at the same time.
fn pauses() -> Delays {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
    PAUSES.delays(seed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn refused() -> RemoteError {
        let address = "host:1".to_owned();
        RemoteError::NoServer { address }
    }

    fn silent() -> RemoteError {
        let address = "host:1".to_owned();
        RemoteError::Silent { address }
    }

    /// Makes a call that fails so often, and returns its answer with the number of tries.
    async fn run(
        retry: &Retry,
        call: Call,
        failures: u32,
        error: fn() -> RemoteError,
    ) -> (Result<(), RemoteError>, u32) {
        let made = AtomicU32::new(0);
        let ask = || async {
            match made.fetch_add(1, Ordering::Relaxed) {
                number if number < failures => Err(error()),
                _ => Ok(()),
            }
        };
        let answer = retry.run(call, ask).await;
        (answer, made.into_inner())
    }

    /// Returns for how long something is tried that always fails.
    fn total(retry: &Retry, error: &RemoteError) -> Duration {
        let mut tries = retry.tries();
        let start = Instant::now();
        let mut now = start;
        while let Some(pause) = tries.next(error, now) {
            now += pause;
        }
        now - start
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_failure_that_passes_is_warned_of_once() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let notice = move |line: &str| heard.lock().expect("no panic").push(line.to_owned());
        let retry = Retry::with_notice(LONG, Arc::new(notice));
        for _ in 0..2 {
            let (answer, made) = run(&retry, Call::Resolve, 2, silent).await;
            assert!(answer.is_ok() && made == 3);
        }
        let said = said.lock().expect("no panic");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].ends_with("does not answer; trying again for up to 30 s"));
    }

    #[tokio::test]
    async fn the_last_failure_says_what_was_tried() {
        let retry = Retry::new(Duration::from_millis(200));
        let (answer, made) = run(&retry, Call::Resolve, u32::MAX, silent).await;
        let Err(RemoteError::GaveUp { tries, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert!(tries == made && made > 1, "{tries} {made}");
    }

    #[tokio::test]
    async fn a_server_that_was_never_there_is_waited_for_less() {
        let retry = Retry::new(LONG);
        let near = |limit: Duration| limit - limit / 2..limit;
        assert!(near(REFUSED_MAX).contains(&total(&retry, &refused())));
        assert!(near(LONG).contains(&total(&retry, &silent())));
        assert!(run(&retry, Call::Resolve, 0, refused).await.0.is_ok());
        assert!(near(LONG).contains(&total(&retry, &refused())));
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_not_done_twice() {
        let retry = Retry::new(LONG);
        let (answer, made) = run(&retry, Call::NewProject, 1, silent).await;
        assert!(answer.is_err() && made == 1);
        let (answer, made) = run(&retry, Call::NewProject, 1, refused).await;
        assert!(answer.is_ok() && made == 2, "it was never sent");
    }

    #[tokio::test]
    async fn without_time_there_is_one_try_and_its_own_error() {
        let retry = Retry::new(Duration::ZERO);
        let (answer, made) = run(&retry, Call::Resolve, u32::MAX, silent).await;
        assert!(matches!(answer, Err(RemoteError::Silent { .. })) && made == 1);
        let corrupt = || RemoteError::Corrupt("it".to_owned());
        let (_, made) = run(&Retry::new(LONG), Call::Resolve, u32::MAX, corrupt).await;
        assert_eq!(made, 1, "a damaged answer stays damaged");
    }

    #[test]
    fn a_failure_after_a_long_time_is_another_one() {
        let retry = Retry::new(LONG);
        let mut tries = retry.tries();
        let start = Instant::now();
        assert!(tries.next(&silent(), start).is_some());
        assert!(tries.next(&silent(), start + 5 * LONG).is_some());
        assert!(tries.next(&silent(), start + 6 * LONG).is_none());
    }
}
