//! Signs of life: when a server last showed that it works on what it was sent.
//!
//! Several chunks travel to one server at once, and on a slow way or to a busy server one of them may be acknowledged
//! late because the others come first. As long as any of them is acknowledged, none is given up.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When each server was heard of last, by its address.
#[derive(Debug, Default)]
pub(crate) struct Signs(Mutex<HashMap<String, Instant>>);

impl Signs {
    /// Notes that a server has answered or acknowledged something.
    pub(crate) fn note(&self, address: &str) {
        let now = Instant::now();
        let mut heard = self.lock();
        match heard.get_mut(address) {
            Some(known) => *known = now,
            None => {
                heard.insert(address.to_owned(), now);
            }
        }
    }

    /// Waits for an answer until a server has shown no sign of life for `limit`; `None` then.
    pub(crate) async fn wait<T>(
        &self,
        address: &str,
        limit: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                () = sleep_until(heard + limit) => {}
            }
            heard = self.last(address).filter(|last| *last > heard)?;
        }
    }

    fn last(&self, address: &str) -> Option<Instant> {
        self.lock().get(address).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_server_that_shows_no_sign_is_given_up() {
        let signs = Signs::default();
        signs.note("a");
        assert_eq!(signs.wait("a", LIMIT, async { 7 }).await, Some(7));
        for address in ["a", "b"] {
            let never = std::future::pending::<()>();
            let late = signs.wait(address, LIMIT, never).await;
            assert_eq!(late, None);
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_long_while_others_of_the_server_come() {
        let signs = Signs::default();
        let others = async {
            for _ in 0..20 {
                sleep(LIMIT / 5).await;
                signs.note("a");
            }
        };
        // Each answer takes four times the limit. The others are polled first, so that no pause of the
        // machine comes between them.
        let slow = || sleep(LIMIT * 4);
        let (one, other) = (
            signs.wait("a", LIMIT, slow()),
            signs.wait("b", LIMIT, slow()),
        );
        let ((), one, other) = tokio::join!(others, one, other);
        assert_eq!(one, Some(()));
        assert_eq!(other, None, "another server was not heard of");
    }
}
