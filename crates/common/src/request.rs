//! The id of a request, which goes with it from its first caller to the last server that works for it.
//!
//! One `grep` of the logs of all processes then follows a slow read. Tasks that work for a request are
//! spawned with [`carried`], so that what they ask of servers has its id, too.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task_local;
use tracing::Instrument as _;

task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// Returns an id that no other request of this process has, and hardly one of another.
    #[must_use]
    pub fn next() -> Self {
        /// A random number of this process, so that two processes give different ids.
        static PROCESS: LazyLock<u64> =
            LazyLock::new(|| RandomState::new().hash_one(std::process::id()) << 32);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self(*PROCESS | u64::from(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Reads an id as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_whole = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok();
        number.filter(|_| is_whole).map(Self)
    }

    /// Returns the id of the request that this task works for, if it is known.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|id| *id).ok()
    }

    /// Works for this request.
    pub fn within<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Works for this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Returns work for a task of its own that goes on for the request, and in the span, of its caller.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = RequestId::current();
    let work = async move {
        match id {
            Some(id) => id.scope(work).await,
            None => work.await,
        }
    };
    work.in_current_span()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let (first, second) = (RequestId::next(), RequestId::next());
        assert_ne!(first, second);
        assert_eq!(RequestId::parse(&first.to_string()), Some(first));
        for wrong in ["", "123", "+234567890abcdef", "1234567890abcdefg"] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn work_that_is_carried_keeps_the_id() {
        assert_eq!(RequestId::current(), None);
        let id = RequestId::next();
        let work = id.within(|| carried(async { RequestId::current() }));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let found = runtime.expect("a runtime").block_on(work);
        assert_eq!(found, Some(id));
    }
}
