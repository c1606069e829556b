//! Memory that requests take: one budget for the whole server, and a share of it for each connection.
//!
//! Whatever a request makes the server hold (its messages, its answers, what waits for a disk) is
//! taken from both before the memory is, and given back when a [`Held`] is dropped. Who finds the
//! budget empty waits in line. While somebody waits, a client that lets the server wait for too long
//! gives way: see [`Account::waits_for_bytes`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lfsfs_proto::status::{Fault, FaultKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// What is counted, so that a budget of any size fits a semaphore.
const UNIT: usize = 1024;
/// How long things may take.
const TIMES: Times = Times {
    wait_max: Duration::from_secs(30),
    pressure_interval: Duration::from_millis(250),
    patience: Duration::from_secs(1),
};
/// The part of the budget that one connection may take.
const SHARE_DIVISOR: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Times {
    /// How long a request waits for memory.
    wait_max: Duration,
    /// How often a request that waits looks for somebody who should give way.
    pressure_interval: Duration,
    /// How long a client may let the server wait while others wait for memory.
    patience: Duration,
}

/// The budget of a server.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    share: usize,
    waits: Arc<Waits>,
    times: Times,
}

impl Budget {
    /// Creates a budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::with_times(bytes, TIMES)
    }

    fn with_times(bytes: usize, times: Times) -> Self {
        let units = bytes / UNIT;
        Self {
            permits: Arc::new(Semaphore::new(units)),
            share: units / SHARE_DIVISOR,
            waits: Arc::new(Waits::new(times.patience)),
            times,
        }
    }

    /// Opens the account of a connection. Cancelling `close` must end the connection.
    pub(crate) fn account(&self, close: CancellationToken) -> Account {
        Account {
            server: Arc::clone(&self.permits),
            own: Arc::new(Semaphore::new(self.share)),
            share: self.share,
            waits: Arc::clone(&self.waits),
            times: self.times,
            took: Arc::default(),
            close,
        }
    }

    /// Closes the connections that let the server wait for too long.
    pub(crate) fn make_room(&self) -> bool {
        self.waits.make_room(Instant::now())
    }
}

/// What one connection may take of the budget.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    server: Arc<Semaphore>,
    own: Arc<Semaphore>,
    share: usize,
    waits: Arc<Waits>,
    times: Times,
    /// When the other end took bytes last, in milliseconds since counting began.
    took: Arc<AtomicU64>,
    close: CancellationToken,
}

impl Account {
    /// Returns how many bytes of its share the connection has not taken.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.own.available_permits() * UNIT
    }

    /// Takes memory, waiting in line for it, but not for ever.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Held, Fault> {
        let units = bytes.div_ceil(UNIT);
        if units > self.share {
            return Err(too_much(units * UNIT, self.share * UNIT));
        }
        let units = u32::try_from(units).map_err(|_| busy())?;
        let deadline = Instant::now() + self.times.wait_max;
        let own = Arc::clone(&self.own).acquire_many_owned(units);
        let own = timeout_at(deadline, own).await;
        let own = own.map_err(|_| share_is_taken())?.map_err(|_| busy())?;
        let server = self.take_of_server(units, deadline).await?;
        let both = Some((own, server));
        Ok(Held { both })
    }

    async fn take_of_server(
        &self,
        units: u32,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let taking = Arc::clone(&self.server).acquire_many_owned(units);
        let mut taking = std::pin::pin!(taking);
        loop {
            tokio::select! {
                biased;
                taken = &mut taking => return taken.map_err(|_| busy()),
                () = sleep(self.times.pressure_interval) => {}
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(busy());
            }
            self.waits.make_room(now);
        }
    }

    /// Notes, for as long as the answer lives, that this connection holds memory and lets the
    /// server wait for bytes that it should send. While others wait for memory, a connection that
    /// does so for longer than the server's patience, and `more`, is closed.
    pub(crate) fn waits_for_bytes(&self, more: Duration) -> Waiting {
        self.wait(Way::In, self.waits.patience + more)
    }

    /// As [`waits_for_bytes`](Self::waits_for_bytes), for an answer that the connection should
    /// take. It has `limit` for that, as long as it takes anything at all.
    pub(crate) fn waits_for_reader(&self, limit: Duration) -> Waiting {
        self.wait(Way::Out, limit)
    }

    /// Notes that the other end has taken bytes.
    pub(crate) fn took(&self) {
        let millis = self.waits.start.elapsed().as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.took.store(millis, Ordering::Relaxed);
    }

    fn wait(&self, way: Way, limit: Duration) -> Waiting {
        let now = Instant::now();
        let entry = Entry {
            way,
            since: now,
            deadline: now + limit,
            took: Arc::clone(&self.took),
            close: self.close.clone(),
        };
        let mut entries = self.waits.entries();
        entries.next += 1;
        let number = entries.next;
        entries.by_number.insert(number, entry);
        let waits = Arc::clone(&self.waits);
        Waiting { waits, number }
    }
}

/// Memory that was taken; dropping it gives it back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    both: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Held {
    /// Takes a part out, at most what is there.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let Some((own, server)) = &mut self.both else {
            return Self::default();
        };
        let units = bytes.div_ceil(UNIT).min(own.num_permits());
        let both = own.split(units).zip(server.split(units));
        Self { both }
    }

    /// Puts another part of the same connection's to it.
    pub(crate) fn merge(&mut self, other: Self) {
        let Some((own, server)) = other.both else {
            return;
        };
        match &mut self.both {
            Some(both) => {
                both.0.merge(own);
                both.1.merge(server);
            }
            None => self.both = Some((own, server)),
        }
    }

    /// Returns whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        let own = self.both.as_ref().map_or(0, |(own, _)| own.num_permits());
        own == 0
    }

    /// Returns how many bytes are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let own = self.both.as_ref().map_or(0, |(own, _)| own.num_permits());
        own * UNIT
    }
}

/// Which way the bytes go that a client lets the server wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The client sends them.
    In,
    /// The client takes them.
    Out,
}

/// Who lets the server wait.
#[derive(Debug)]
struct Waits {
    /// When counting began.
    start: Instant,
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

#[derive(Debug)]
struct Entry {
    way: Way,
    since: Instant,
    deadline: Instant,
    took: Arc<AtomicU64>,
    close: CancellationToken,
}

impl Waits {
    fn new(patience: Duration) -> Self {
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

    fn is_late(&self, entry: &Entry, now: Instant) -> bool {
        let took = self.start + Duration::from_millis(entry.took.load(Ordering::Relaxed));
        let stalls = entry.way == Way::Out && now >= took.max(entry.since) + self.patience;
        now >= entry.deadline || stalls
    }

    fn make_room(&self, now: Instant) -> bool {
        let mut entries = self.entries();
        // However many wait for memory, one of them looks at a time.
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

fn too_much(bytes: usize, share: usize) -> Fault {
    let text = format!(
        "the request takes {bytes} bytes of memory, and one connection may take {share}; ask for \
         less at once"
    );
    Fault::new(FaultKind::Invalid, text)
}

fn share_is_taken() -> Fault {
    let text = "the other calls of this connection hold all memory that it may take; read their \
                answers, or try again later";
    Fault::new(FaultKind::Unavailable, text)
}

fn busy() -> Fault {
    let text = "other requests hold all memory that the server gives to requests; try again later";
    Fault::new(FaultKind::Unavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const SHORT: Times = Times {
        wait_max: Duration::from_millis(500),
        pressure_interval: Duration::from_millis(5),
        patience: Duration::from_millis(100),
    };

    fn budget(bytes: usize) -> Budget {
        Budget::with_times(bytes, SHORT)
    }

    fn account(budget: &Budget) -> (Account, CancellationToken) {
        let close = CancellationToken::new();
        (budget.account(close.clone()), close)
    }

    #[tokio::test]
    async fn a_connection_gets_its_share_and_the_server_its_budget() {
        let budget = budget(8 * MIB);
        let (first, _) = account(&budget);
        let refused = first.take(3 * MIB).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Invalid, "more than a share");
        let mut held = vec![first.take(2 * MIB).await.unwrap()];
        let refused = first.take(1).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Unavailable, "its share is taken");
        let others: Vec<_> = (0..4).map(|_| account(&budget).0).collect();
        for other in &others[..3] {
            held.push(other.take(2 * MIB).await.unwrap());
        }
        let refused = others[3].take(1).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Unavailable, "the budget is taken");
        held.pop();
        let _taken = others[3].take(2 * MIB).await.unwrap();
    }

    #[tokio::test]
    async fn parts_are_given_back_one_by_one() {
        let budget = budget(8 * MIB);
        let (account, _) = account(&budget);
        let mut held = account.take(2 * MIB).await.unwrap();
        let part = held.split(MIB);
        assert_eq!((held.bytes(), part.bytes()), (MIB, MIB));
        drop(part);
        let mut again = account.take(MIB).await.unwrap();
        again.merge(held);
        assert_eq!(again.bytes(), 2 * MIB);
        assert_eq!(again.split(9 * MIB).bytes(), 2 * MIB, "all that is there");
        assert_eq!(budget.permits.available_permits(), 8 * 1024);
    }

    #[tokio::test]
    async fn who_lets_the_server_wait_gives_way_to_those_who_wait_for_memory() {
        let budget = budget(4 * MIB);
        let slow: Vec<_> = (0..4).map(|_| account(&budget)).collect();
        let mut held = Vec::new();
        for (account, _) in &slow {
            held.push(account.take(MIB).await.unwrap());
        }
        let _waits = slow[0].0.waits_for_bytes(Duration::ZERO);
        let (honest, _) = account(&budget);
        let freed = async {
            slow[0].1.cancelled().await;
            drop(held.remove(0));
        };
        let start = Instant::now();
        let (taken, ()) = tokio::join!(honest.take(MIB), freed);
        taken.unwrap();
        assert!(start.elapsed() >= SHORT.patience, "it was patient");
        assert!(slow[1..].iter().all(|(_, close)| !close.is_cancelled()));
    }

    #[tokio::test]
    async fn a_client_that_takes_its_answers_slowly_is_not_one_that_takes_none() {
        let budget = budget(4 * MIB);
        let (reader, reads) = account(&budget);
        let (stuck, closed) = account(&budget);
        let long = 100 * SHORT.patience;
        let _waits = [reader.waits_for_reader(long), stuck.waits_for_reader(long)];
        let later = Instant::now() + SHORT.patience;
        tokio::time::sleep_until(later).await;
        reader.took();
        assert!(budget.make_room());
        assert!(closed.is_cancelled() && !reads.is_cancelled());
        assert!(budget.waits.make_room(later + long), "nobody has for ever");
        assert!(reads.is_cancelled());
    }

    #[tokio::test]
    async fn without_need_a_slow_client_stays() {
        let budget = budget(4 * MIB);
        let (slow, close) = account(&budget);
        let _held = slow.take(MIB).await.unwrap();
        let _waiting = slow.waits_for_bytes(Duration::ZERO);
        sleep(2 * SHORT.patience).await;
        let (other, _) = account(&budget);
        let _taken = other.take(MIB).await.unwrap();
        assert!(!close.is_cancelled());
    }
}
