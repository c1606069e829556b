//! Work of a mount that is done again while the server is away.

use std::future::Future;

use lfsfs_remote::Retry;

use crate::error::VfsError;

/// Does what changes nothing if it fails, and does it again while the server gives no answer, for as
/// long as `retry` allows. Any other error is returned at once.
pub async fn tried<T, F>(retry: &Retry, attempt: impl Fn() -> F) -> Result<T, VfsError>
where
    F: Future<Output = Result<T, VfsError>>,
{
    let mut tries = retry.tries();
    loop {
        let outcome = attempt().await;
        let Err(VfsError::Io { source, .. }) = &outcome else {
            return outcome;
        };
        if !source.is_no_answer() || !tries.pause(source).await {
            return outcome;
        }
    }
}
