//! Memory that requests take: one budget for the whole server, and a share of it for each connection.
//!
//! Whatever a request makes the server hold (its messages, its answers, what waits for a disk) is
//! taken from both before the memory is, and given back when a [`Held`] is dropped. A request that
//! finds nothing left waits in line. While one waits, a client that lets the server wait for too
//! long gives way: see [`Account::waits_for_bytes`].
//!
//! The budget is divided, and requests wait in line in the order of what their connections have, so
//! that a flood of connections which take all they get does not keep the others waiting: see
//! [`Pots`].

mod held;
mod pot;
#[cfg(test)]
mod tests;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::select_all;
use lfsfs_proto::status::{Fault, FaultKind};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::held::Held;
use self::pot::{Permit, Pot};
pub(crate) use self::waits::Waiting;
use self::waits::{Entry, Waits, Way};

/// What is counted.
const UNIT: usize = 1024;
/// How long things may take.
const TIMES: Times = Times {
    wait_max: Duration::from_secs(30),
    short_wait_max: Duration::from_secs(3),
    greedy_wait_max: Duration::from_millis(500),
    pressure_interval: Duration::from_millis(250),
    patience: Duration::from_secs(1),
    newcomer_patience: Duration::from_millis(500),
};
/// The part of the budget that one connection may take.
const SHARE_DIVISOR: u32 = 4;
/// The part of the budget that is kept for calls themselves.
const CALLS_DIVISOR: u32 = 8;
/// A newcomer is greedy if it has more than this part of its share. The first call of an honest
/// client needs less.
const MODEST_DIVISOR: u32 = 8;
/// What is small enough to come from the part for calls, in units.
const SMALL: u32 = 64;

#[derive(Debug, Clone, Copy)]
struct Times {
    /// How long a request waits for memory.
    wait_max: Duration,
    /// How long it does while others wait too, if it is a newcomer's, or if its call holds memory
    /// already: calls of which each has something and waits for more could keep all others waiting
    /// for so long. Clients take a server that does not answer within 5 s for dead.
    short_wait_max: Duration,
    /// How long a greedy newcomer's does.
    greedy_wait_max: Duration,
    /// How often a request that waits looks for a client that should give way.
    pressure_interval: Duration,
    /// How long a client may let the server wait while others wait for memory.
    patience: Duration,
    /// How long a newcomer may.
    newcomer_patience: Duration,
}

/// The parts of a budget.
///
/// A *newcomer* is a connection that has not finished a call yet; all others are *known*. A flood
/// whose connections are closed and made again consists of newcomers, which leave the last part to
/// the known ones.
#[derive(Debug, Clone)]
struct Pots {
    /// For what each call holds as long as it goes on, and for small takes of known connections.
    /// Small takes of newcomers come from elsewhere: if their calls filled this part and then waited
    /// for some more of it, they would wait for each other.
    calls: Arc<Pot>,
    /// Half of the rest, for all.
    newcomers: Arc<Pot>,
    /// The other half, for known connections.
    known: Arc<Pot>,
}

impl Pots {
    fn new(units: u32) -> Self {
        let calls = units / CALLS_DIVISOR;
        let newcomers = (units - calls) / 2;
        let known = units - calls - newcomers;
        Self {
            calls: Pot::new(calls),
            newcomers: Pot::new(newcomers),
            known: Pot::new(known),
        }
    }

    fn all(&self) -> [&Pot; 3] {
        let Self {
            calls,
            newcomers,
            known,
        } = self;
        [calls, newcomers, known]
    }

    /// Returns whether there is a line in front of any part.
    fn have_line(&self) -> bool {
        self.all().iter().any(|pot| pot.has_line())
    }

    /// Returns how many units no request has.
    fn free(&self) -> u32 {
        self.all().iter().map(|pot| pot.free()).sum()
    }
}

/// What memory is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What a call holds as long as it goes on.
    Call,
    /// A message, or a step of an answer.
    Step,
    /// What a call needs before it can give back what it took for a step.
    More,
}

/// Memory that a request wants.
#[derive(Debug)]
struct Demand {
    purpose: Purpose,
    units: u32,
    /// What the connection would then have of its share.
    total: u32,
    since: Instant,
}

/// What is told of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetFigures {
    /// Bytes that requests have.
    pub(crate) used_bytes: u64,
    /// Bytes that they may have in all.
    pub(crate) limit_bytes: u64,
}

/// The budget of a server.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pots: Pots,
    units: u32,
    share: u32,
    waits: Arc<Waits>,
    times: Times,
}

impl Budget {
    /// Creates a budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::with_times(bytes, TIMES)
    }

    fn with_times(bytes: usize, times: Times) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self {
            pots: Pots::new(units),
            units,
            share: units / SHARE_DIVISOR,
            waits: Arc::new(Waits::new(times.patience)),
            times,
        }
    }

    /// Opens the account of a connection. Cancelling `close` must end the connection.
    pub(crate) fn account(&self, close: CancellationToken) -> Account {
        Account {
            pots: self.pots.clone(),
            own: Pot::new(self.share),
            share: self.share,
            waits: Arc::clone(&self.waits),
            times: self.times,
            took: Arc::default(),
            is_known: Arc::default(),
            close,
        }
    }

    /// Closes the connections that let the server wait for too long.
    pub(crate) fn make_room(&self) -> bool {
        self.waits.make_room(Instant::now())
    }

    /// Returns how much requests have.
    pub(crate) fn figures(&self) -> BudgetFigures {
        let bytes = |units: u32| u64::from(units) * UNIT as u64;
        BudgetFigures {
            used_bytes: bytes(self.units.saturating_sub(self.pots.free())),
            limit_bytes: bytes(self.units),
        }
    }

    /// Returns the bytes that a newcomer may take where it is alone.
    #[cfg(test)]
    pub(crate) fn share_of_newcomer(&self) -> usize {
        self.share.min(self.pots.newcomers.free()) as usize * UNIT
    }
}

/// The part of the budget that one connection may take, and what it has taken.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pots: Pots,
    own: Arc<Pot>,
    share: u32,
    waits: Arc<Waits>,
    times: Times,
    /// When the client took bytes last, in milliseconds since counting began.
    took: Arc<AtomicU64>,
    /// Whether the connection is no newcomer any more.
    is_known: Arc<AtomicBool>,
    close: CancellationToken,
}

impl Account {
    /// Takes what a call holds as long as it goes on, waiting in line for it, but not for ever.
    pub(crate) async fn take_for_call(&self, bytes: usize) -> Result<Held, Fault> {
        self.take_for(Purpose::Call, bytes).await
    }

    /// Takes memory for a message, or for a step of an answer, in the same way.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Held, Fault> {
        self.take_for(Purpose::Step, bytes).await
    }

    /// Takes memory for a call that gives back what it holds only when it has this. So it goes
    /// before all that hold nothing.
    pub(crate) async fn take_more(&self, bytes: usize) -> Result<Held, Fault> {
        self.take_for(Purpose::More, bytes).await
    }

    async fn take_for(&self, purpose: Purpose, bytes: usize) -> Result<Held, Fault> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if units > self.share {
            return Err(too_much(bytes, self.share as usize * UNIT));
        }
        if units == 0 {
            return Ok(Held::default());
        }
        let demand = Demand {
            purpose,
            units,
            total: self.taken().saturating_add(units),
            since: Instant::now(),
        };
        let own = self.wait_for(std::iter::once(&self.own), &demand, |_| {});
        let own = own.await.ok_or_else(share_is_taken)?;
        let make_room = |now| {
            self.waits.make_room(now);
        };
        let server = self.wait_for(self.pots(&demand), &demand, make_room);
        let server = server.await.ok_or_else(busy)?;
        Ok(Held {
            own: Some(own),
            server: vec![server],
        })
    }

    /// Waits until one of the pots has what a request wants, but not for ever. Calls `now_and_then`
    /// meanwhile.
    async fn wait_for(
        &self,
        pots: impl Iterator<Item = &Arc<Pot>> + Clone,
        demand: &Demand,
        now_and_then: impl Fn(Instant),
    ) -> Option<Permit> {
        let granted = pots.clone().find_map(|pot| pot.try_take(demand.units));
        if granted.is_some() {
            return granted;
        }
        let place = self.place(demand);
        let mut waiting = select_all(pots.map(|pot| pot.wait(demand.units, place)));
        loop {
            tokio::select! {
                biased;
                (permit, ..) = &mut waiting => return Some(permit),
                () = sleep(self.times.pressure_interval) => {}
            }
            let now = Instant::now();
            if now >= demand.since + self.wait_max(demand) {
                return None;
            }
            now_and_then(now);
        }
    }

    /// Returns where memory may come from, the best one first.
    fn pots(&self, demand: &Demand) -> impl Iterator<Item = &Arc<Pot>> + Clone + use<'_> {
        let is_known = self.is_known();
        let is_call = demand.purpose == Purpose::Call;
        let calls = is_call || (is_known && demand.units <= SMALL);
        let newcomers = !is_call || is_known;
        let pots = [
            calls.then_some(&self.pots.calls),
            is_known.then_some(&self.pots.known),
            newcomers.then_some(&self.pots.newcomers),
        ];
        pots.into_iter().flatten()
    }

    /// Returns the place of a request in line: the more its connection would then have, the further
    /// behind. One whose connection would have all of its share stands behind all that come within
    /// the longest wait, but not for ever.
    fn place(&self, demand: &Demand) -> Instant {
        match demand.purpose {
            Purpose::More => self.waits.start,
            Purpose::Call | Purpose::Step => {
                demand.since + self.times.wait_max * demand.total / self.share.max(1)
            }
        }
    }

    /// Returns how long a request may wait.
    fn wait_max(&self, demand: &Demand) -> Duration {
        let is_newcomer = !self.is_known();
        if !self.pots.have_line() {
            self.times.wait_max
        } else if is_newcomer && demand.total > self.share / MODEST_DIVISOR {
            self.times.greedy_wait_max
        } else if is_newcomer || demand.purpose == Purpose::More {
            self.times.short_wait_max
        } else {
            self.times.wait_max
        }
    }

    fn patience(&self) -> Duration {
        if self.is_known() {
            self.times.patience
        } else {
            self.times.newcomer_patience
        }
    }

    /// Returns what the connection has taken of its share.
    fn taken(&self) -> u32 {
        self.share.saturating_sub(self.own.free())
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of its share the connection has not taken.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.own.free() as usize * UNIT
    }

    /// Notes that the connection has finished a call: it is no newcomer any more.
    pub(crate) fn finished_call(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Notes, for as long as the answer lives, that this connection holds memory and lets the
    /// server wait for bytes that it should send. While others wait for memory, a connection that
    /// does so for longer than the server's patience, and `more`, is closed.
    pub(crate) fn waits_for_bytes(&self, more: Duration) -> Waiting {
        self.wait(Way::In, self.patience() + more)
    }

    /// As [`waits_for_bytes`](Self::waits_for_bytes), for an answer that the connection should
    /// take. It has `limit` for that, as long as it takes anything at all.
    pub(crate) fn waits_for_reader(&self, limit: Duration) -> Waiting {
        self.wait(Way::Out, limit)
    }

    /// Notes that the client has taken bytes.
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
            patience: self.patience(),
            took: Arc::clone(&self.took),
            close: self.close.clone(),
        };
        self.waits.note(entry)
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
