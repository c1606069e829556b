//! Work of a mount that is done again while the server is away.

use std::future::Future;

use lfsfs_remote::Retry;

use crate::verb_error::ServerFailure;

/// Does what changes nothing if it fails, and does it again while the server gives no answer, for as
/// long as `retry` allows. Any other error is returned at once.
pub async fn tried<T, E, F>(retry: &Retry, attempt: impl Fn() -> F) -> Result<T, E>
where
    E: ServerFailure,
    F: Future<Output = Result<T, E>>,
{
    let mut tries = retry.tries();
    loop {
        let outcome = attempt().await;
        let failure = outcome.as_ref().err().and_then(E::server_failure);
        let Some(failure) = failure.filter(|failure| failure.is_no_answer()) else {
            return outcome;
        };
        if !tries.pause(failure).await {
            return outcome;
        }
    }
}
