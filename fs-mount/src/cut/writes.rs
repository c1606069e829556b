//! The WRITE requests of a mount: which are being served, and which calls may have more to come.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::Notify;

use crate::limits::REQUEST_BYTES_MAX;

/// Files that are remembered, those written last: far more than there are processors to write them.
const FILES_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");
/// The kernel cuts a call where a page ends. Pages of other machines are multiples of this.
const PAGE_LEN: u64 = 4096;
/// How long after a request that ends where a call may be cut the next one is expected.
const RECENT: Duration = Duration::from_secs(1);
/// The same after any request: the kernel could not read on in the caller's memory.
const VERY_RECENT: Duration = Duration::from_millis(20);
/// After so long without one the kernel has no gathered write left to send.
const SILENCE: Duration = Duration::from_millis(3);

/// Where the bytes of a WRITE request come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A write call, which waits for the answer.
    Call,
    /// Pages that the kernel gathered: of mappings, and with `-o writeback` of all calls.
    Pages,
}

/// What a request writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) ino: u64,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) origin: Origin,
}

/// The WRITE requests of a mount.
#[derive(Debug)]
pub(crate) struct Writes {
    state: Mutex<State>,
    /// Told of what a hold waits for: a request was answered, a file is held.
    changed: Condvar,
    /// Told when requests may go on.
    released: Notify,
}

#[derive(Debug)]
struct State {
    files: LruCache<u64, Written>,
    in_flight: usize,
    pages_in_flight: usize,
    pages_at: Option<Instant>,
    gate: Gate,
    holds: HashMap<u64, Hold>,
    /// Counts releases, so that who waits for one is not kept by the hold that follows.
    releases: u64,
}

/// Which requests are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Those of files that are to be held, whose calls must come to their end.
    Closed,
}

/// How far a file is on its way to being held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Awaited,
    Held,
}

/// The last requests that wrote one file.
#[derive(Debug, Clone, Copy)]
struct Written {
    in_flight: usize,
    at: Instant,
    /// Whether the last one ended where the kernel may have cut its call. It gathers pages whatever
    /// calls they are of.
    is_at_cut: bool,
}

/// One WRITE request, from its receipt to its answer.
#[derive(Debug)]
pub(crate) struct Write {
    writes: Arc<Writes>,
    span: Span,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                files: LruCache::new(FILES_MAX),
                in_flight: 0,
                pages_in_flight: 0,
                pages_at: None,
                gate: Gate::Open,
                holds: HashMap::new(),
                releases: 0,
            }),
            changed: Condvar::new(),
            released: Notify::new(),
        }
    }
}

impl Writes {
    /// Admits a request until the guard goes; `None` while nothing may be written.
    pub(crate) fn begin(self: &Arc<Self>, span: Span) -> Option<Write> {
        let mut state = self.lock();
        if !state.admits(span.ino) {
            return None;
        }
        state.begin(span, Instant::now());
        let writes = Arc::clone(self);
        Some(Write { writes, span })
    }

    /// Admits a request as soon as it may be served.
    pub(crate) async fn begin_later(self: &Arc<Self>, span: Span) -> Write {
        loop {
            let released = self.released.notified();
            match self.begin(span) {
                Some(write) => return write,
                None => released.await,
            }
        }
    }

    /// Lets an FSYNC through. One of a file that is to be held waits here: the kernel lets no
    /// program write the file meanwhile.
    pub(crate) async fn pass_fsync(&self, ino: u64) {
        let Some(releases) = self.note_held(ino) else {
            return;
        };
        loop {
            let released = self.released.notified();
            if self.lock().releases != releases {
                return;
            }
            released.await;
        }
    }

    fn note_held(&self, ino: u64) -> Option<u64> {
        let mut state = self.lock();
        *state.holds.get_mut(&ino)? = Hold::Held;
        self.changed.notify_all();
        Some(state.releases)
    }

    /// Returns true if the kernel has sent all pages that it was told to.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let state = self.lock();
        let since = |at| now.saturating_duration_since(at) >= SILENCE;
        state.pages_in_flight == 0 && state.pages_at.is_none_or(since)
    }

    /// Lets no request in any more and waits for those that are; false if that takes too long.
    pub(super) fn close(&self, deadline: Instant) -> bool {
        self.lock().gate = Gate::Closed;
        self.wait(deadline, |state| state.in_flight == 0)
    }

    /// Returns the files that may be in the middle of a call and are not held.
    pub(super) fn unheld(&self, now: Instant) -> Vec<u64> {
        let state = self.lock();
        let files = state.files.iter();
        let may_go_on = files.filter(|(_, written)| written.may_go_on(now));
        let unheld = may_go_on.filter(|(ino, _)| !state.holds.contains_key(ino));
        unheld.map(|(ino, _)| *ino).collect()
    }

    /// Lets the calls of these files come to their end, where they are to be held.
    pub(super) fn await_holds(&self, inodes: &[u64]) {
        let mut state = self.lock();
        let awaited = inodes.iter().map(|ino| (*ino, Hold::Awaited));
        state.holds.extend(awaited);
        self.released.notify_waiters();
    }

    /// Waits until the awaited ones of these files are held; false if that takes too long.
    pub(super) fn wait_for_holds(&self, inodes: &[u64], deadline: Instant) -> bool {
        self.wait(deadline, |state| {
            let is_held = |ino| state.holds.get(ino) == Some(&Hold::Held);
            inodes.iter().all(is_held)
        })
    }

    /// Lets everything go on.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.gate = Gate::Open;
        state.holds.clear();
        state.releases += 1;
        self.released.notify_waiters();
    }

    fn wait(&self, deadline: Instant, is_so: impl Fn(&State) -> bool) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| !is_so(state));
        !waited.expect("no holder of this lock panics").1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn admits(&self, ino: u64) -> bool {
        self.gate == Gate::Open || self.holds.get(&ino) == Some(&Hold::Awaited)
    }

    fn begin(&mut self, span: Span, now: Instant) {
        self.in_flight += 1;
        self.note_pages(span, now, |count| count + 1);
        let in_flight = self.files.get(&span.ino).map_or(0, |it| it.in_flight);
        self.put(span, in_flight + 1, now);
    }

    fn end(&mut self, span: Span, now: Instant) {
        self.in_flight -= 1;
        self.note_pages(span, now, |count| count - 1);
        let in_flight = self.files.get(&span.ino).map_or(1, |it| it.in_flight);
        self.put(span, in_flight.saturating_sub(1), now);
    }

    fn note_pages(&mut self, span: Span, now: Instant, change: impl Fn(usize) -> usize) {
        if span.origin == Origin::Pages {
            self.pages_in_flight = change(self.pages_in_flight);
            self.pages_at = Some(now);
        }
    }

    fn put(&mut self, span: Span, in_flight: usize, at: Instant) {
        let end = span.offset.wrapping_add(span.len as u64);
        let is_full = span.len >= REQUEST_BYTES_MAX as usize;
        let is_gathered = span.origin == Origin::Pages;
        let written = Written {
            in_flight,
            at,
            is_at_cut: is_gathered || is_full || end.is_multiple_of(PAGE_LEN),
        };
        self.files.put(span.ino, written);
    }
}

impl Written {
    fn may_go_on(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.at);
        self.in_flight > 0 || age < VERY_RECENT || self.is_at_cut && age < RECENT
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.writes.lock().end(self.span, Instant::now());
        self.writes.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
