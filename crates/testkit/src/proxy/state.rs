//! What all threads of a proxy share: the switches, the counters and the open connections.

use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Counters, Direction, close};

/// Which life of the proxy a connection belongs to: closing all connections begins a new one.
pub(super) type Generation = u64;

/// The switches of a proxy; the default forwards everything at once.
#[derive(Debug, Default)]
pub(super) struct Switches {
    pub(super) stalled: bool,
    /// Answers are kept back while requests pass.
    pub(super) silent: bool,
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) flip: Option<Flip>,
    pub(super) hold: Option<HoldAt>,
}

/// One bit to be flipped when the counter of its direction reaches `at`.
#[derive(Debug)]
pub(super) struct Flip {
    pub(super) direction: Direction,
    pub(super) at: u64,
    pub(super) bit: u8,
}

/// What is held back from one call on, and whatever follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The call does not arrive.
    Call,
    /// It arrives, and its answer does not.
    Answer,
}

/// A hold that begins when the counter of calls gets above `at`.
#[derive(Debug)]
pub(super) struct HoldAt {
    pub(super) hold: Hold,
    pub(super) at: u64,
}

impl Switches {
    fn hold(&mut self, hold: Hold) {
        match hold {
            Hold::Call => self.stalled = true,
            Hold::Answer => self.silent = true,
        }
    }

    fn holds(&self, direction: Direction) -> bool {
        self.stalled || (self.silent && direction == Direction::Down)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    switches: Switches,
    counters: Counters,
    generation: Generation,
    /// Weak, so that a connection that ends by itself gives its sockets back.
    open: Vec<Weak<TcpStream>>,
}

/// The connection was closed by the proxy.
#[derive(Debug)]
pub(super) struct Closed;

impl State {
    pub(super) fn switch(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.lock().switches);
        self.changed.notify_all();
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters
    }

    pub(super) fn count(&self, direction: Direction) -> u64 {
        *counter(&mut self.lock().counters, direction)
    }

    pub(super) fn delay(&self) -> Duration {
        self.lock().switches.delay
    }

    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.lock().switches.bytes_per_second
    }

    pub(super) fn connection_accepted(&self) -> Generation {
        let mut inner = self.lock();
        inner.counters.connections += 1;
        inner.generation
    }

    /// Keeps `stream` to be closed with its generation, or closes it if that is over.
    pub(super) fn register(&self, generation: Generation, stream: &Arc<TcpStream>) {
        let mut inner = self.lock();
        if inner.generation == generation {
            inner.open.retain(|open| open.strong_count() > 0);
            inner.open.push(Arc::downgrade(stream));
        } else {
            close(stream);
        }
    }

    pub(super) fn close_connections(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        for stream in inner.open.drain(..).filter_map(|open| open.upgrade()) {
            close(&stream);
        }
        drop(inner);
        self.changed.notify_all();
    }

    pub(super) fn calls_made(&self, calls: u64) {
        let mut inner = self.lock();
        inner.counters.calls += calls;
        let count = inner.counters.calls;
        let hold = inner.switches.hold.take_if(|hold| hold.at < count);
        if let Some(HoldAt { hold, .. }) = hold {
            inner.switches.hold(hold);
        }
    }

    pub(super) fn is_holding(&self) -> bool {
        let switches = &self.lock().switches;
        switches.stalled || switches.silent
    }

    /// Waits until `time` has come and nothing holds this direction.
    pub(super) fn wait_until(
        &self,
        time: Instant,
        direction: Direction,
        generation: Generation,
    ) -> Result<(), Closed> {
        let mut inner = self.lock();
        loop {
            if inner.generation != generation {
                return Err(Closed);
            }
            let left = time.saturating_duration_since(Instant::now());
            let is_held = inner.switches.holds(direction);
            if left.is_zero() && !is_held {
                return Ok(());
            }
            // A stall ends with a notification, so how long this waits does not matter.
            let wait = if is_held {
                Duration::from_secs(60)
            } else {
                left
            };
            let waited = self.changed.wait_timeout(inner, wait);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts bytes that are about to be forwarded and flips a bit in them if its time has come.
    pub(super) fn pass(&self, direction: Direction, bytes: &mut [u8]) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let count = counter(&mut inner.counters, direction);
        if let Some(flip) = inner
            .switches
            .flip
            .take_if(|flip| flip.direction == direction && flip.at < *count + bytes.len() as u64)
        {
            let offset = usize::try_from(flip.at - *count).expect("it lies in the block");
            bytes[offset] ^= 1 << flip.bit;
        }
        *count += bytes.len() as u64;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counter(counters: &mut Counters, direction: Direction) -> &mut u64 {
    match direction {
        Direction::Up => &mut counters.up,
        Direction::Down => &mut counters.down,
    }
}
