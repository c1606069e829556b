//! Which clients let the server wait, and how they are cut off when others need their memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which way the bytes go that a client lets the server wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The client sends them.
    In,
    /// The client takes them.
    Out,
}

/// The clients that let the server wait.
#[derive(Debug)]
pub(super) struct Waits {
    /// When counting began.
    pub(super) start: Instant,
    patience: Duration,
    /// Held for moments, and while no other lock is.
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    next: u64,
    looked: Instant,
    by_number: HashMap<u64, Entry>,
}

/// A client that lets the server wait.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    /// How long the client may take nothing.
    pub(super) patience: Duration,
    /// When it took bytes last, in milliseconds since counting began.
    pub(super) took: Arc<AtomicU64>,
    /// Closes its connection.
    pub(super) close: CancellationToken,
}

impl Waits {
    pub(super) fn new(patience: Duration) -> Self {
        let start = Instant::now();
        let entries = Entries {
            next: 0,
            looked: start,
            by_number: HashMap::new(),
        };
        Self {
            start,
            patience,
            entries: Mutex::new(entries),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a client for as long as the answer lives.
    pub(super) fn note(self: &Arc<Self>, entry: Entry) -> Waiting {
        let mut entries = self.entries();
        entries.next += 1;
        let number = entries.next;
        entries.by_number.insert(number, entry);
        let waits = Arc::clone(self);
        Waiting { waits, number }
    }

    fn is_late(&self, entry: &Entry, now: Instant) -> bool {
        let took = self.start + Duration::from_millis(entry.took.load(Ordering::Relaxed));
        let stalls = entry.way == Way::Out && now >= took.max(entry.since) + entry.patience;
        now >= entry.deadline || stalls
    }

    /// Closes the connections of clients that are late.
    pub(super) fn make_room(&self, now: Instant) -> bool {
        let mut entries = self.entries();
        // However many requests wait for memory, one thread at a time looks for late clients.
        if now < entries.looked + self.patience / 10 {
            return false;
        }
        entries.looked = now;
        let late = entries.by_number.values();
        let late = late.filter(|entry| self.is_late(entry, now));
        let late: Vec<_> = late.map(|entry| entry.close.clone()).collect();
        drop(entries);
        late.iter().for_each(CancellationToken::cancel);
        !late.is_empty()
    }
}

/// A wait that is noted; dropping it ends the note.
#[derive(Debug)]
pub(crate) struct Waiting {
    waits: Arc<Waits>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.entries().by_number.remove(&self.number);
    }
}
