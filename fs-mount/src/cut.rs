//! The moment that a commit takes: no write call is half in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The WRITE requests that are being served.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    in_flight: AtomicU64,
}

/// One WRITE request, from its receipt to its answer.
#[derive(Debug)]
pub(crate) struct Write(Arc<Writes>);

impl Writes {
    /// Counts a request until the guard goes.
    pub(crate) fn begin(self: &Arc<Self>) -> Write {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Write(Arc::clone(self))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
