//! Work that blocks: for the local disk, or until the kernel did what it was told.

use lfsfs_common::tasks::Spawner;

use crate::error::VfsError;

/// Does work on a thread where it holds up no request, and returns its result.
///
/// Once begun the work goes to its end, also if the caller is dropped; the owner of `spawner` waits for it. Fails with
/// [`VfsError::Internal`] if it panics, or the runtime ends before it begins.
pub(crate) async fn blocking<R: Send + 'static>(
    spawner: &Spawner,
    what: &'static str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, VfsError> {
    let done = spawner.spawn_blocking(work).await;
    done.map_err(|error| VfsError::unfinished(what, &error))
}

#[cfg(test)]
mod tests {
    use lfsfs_common::tasks::Tasks;

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_internal_error_and_no_stale_inode() {
        let tasks = Tasks::new();
        let spawner = tasks.spawner();
        let done = blocking(spawner, "the work of a test", || panic!("on purpose")).await;
        let Err(error @ VfsError::Internal { .. }) = done else {
            panic!("{done:?}");
        };
        assert_eq!(error.to_string(), "internal error: the work of a test");
        assert!(!error.is_retryable() && !error.is_corrupt());
        assert_eq!(
            blocking(spawner, "the work of a test", || 7).await.unwrap(),
            7
        );
    }
}
