//! The one way from a service to work that blocks.

use lfsfs_proto::status::{Fault, FaultKind};
use tracing::Span;

/// Runs work that blocks on a thread made for that. A panic in it is an internal fault.
///
/// Work that has started goes on even if the caller does not wait for it any more. What it logs stands in the span
/// of its call: a slow call of the metadata is found by the id of its request.
pub(crate) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Fault>
where
    T: Send + 'static,
    E: IntoFault + Send + 'static,
{
    let span = Span::current();
    let work = move || span.in_scope(work);
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(IntoFault::into_fault),
        Err(error) => {
            tracing::error!(%error, "the thread of a request failed");
            Err(Fault::new(FaultKind::Internal, "the server failed"))
        }
    }
}

/// An error that has a place in the protocol; [`crate::fault`] says which.
pub(crate) trait IntoFault {
    /// Returns the fault that a client gets.
    fn into_fault(self) -> Fault;
}
