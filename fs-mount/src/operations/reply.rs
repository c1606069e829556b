//! What becomes of a request: a reply at once, or work that must wait first.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use lfsfs_common::request::carried;
use rustix::io::Errno;
use tracing::debug;

use super::Caller;

/// A reply, or an error number.
pub type Answer<T> = Reply<Result<T, Errno>>;

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub enum Reply<T> {
    /// All it needed was in memory.
    Ready(T),
    /// It waits for network or disk; the transport runs it in a task.
    Pending(Pending<T>),
    /// The handler panicked: the transport answers EIO.
    Lost,
}

/// Work for a request that must wait.
pub struct Pending<T> {
    work: Pin<Box<dyn Future<Output = T> + Send>>,
    caller: Caller,
}

impl<T> Reply<T> {
    /// Works on the request as far as it goes without waiting.
    pub(super) fn begin(caller: Caller, work: impl Future<Output = T> + Send + 'static) -> Self
    where
        T: 'static,
    {
        let mut work = Box::pin(work);
        match at_once(work.as_mut()) {
            Some(value) => Self::Ready(value),
            None => Self::later(caller, work),
        }
    }

    /// Leaves all work to a task.
    pub(super) fn later(caller: Caller, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Pending(Pending {
            work: Box::pin(carried(work)),
            caller,
        })
    }

    /// Returns the value; `None` if the handler panicked, or the caller was killed meanwhile.
    pub async fn value(self) -> Option<T> {
        match self {
            Self::Ready(value) => Some(value),
            Self::Pending(pending) => pending.value().await,
            Self::Lost => None,
        }
    }
}

impl<T> Pending<T> {
    /// Returns the value; `None` if the caller was killed meanwhile. Then the work is dropped, and the
    /// transport still sends some reply, for which the kernel keeps the caller.
    pub async fn value(self) -> Option<T> {
        let Self { work, caller } = self;
        tokio::select! {
            value = work => Some(value),
            () = caller.killed() => {
                debug!(?caller, "the caller of a request was killed");
                None
            }
        }
    }
}

/// Returns what work brings if it need not wait. Work that must may be polled again.
pub(super) fn at_once<T>(work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match work.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, .. } = self;
        f.debug_struct("Pending")
            .field("caller", caller)
            .finish_non_exhaustive()
    }
}
