//! A part of the budget, and the line of requests that wait for some of it.
//!
//! It is a semaphore whose line is ordered by places that the requests bring along, not by when they
//! came. It knows nothing of connections.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::time::Instant;

/// A part of the budget.
#[derive(Debug)]
pub(super) struct Pot {
    /// Held for moments. No other lock is taken meanwhile.
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    free: u32,
    next: u64,
    waiting: BTreeMap<Place, Waiter>,
}

/// A place in line. Equal times stand in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    time: Instant,
    number: u64,
}

#[derive(Debug)]
struct Waiter {
    units: u32,
    granted: oneshot::Sender<Permit>,
}

impl Line {
    /// Lets the first request go, if there is enough for it. The others wait until there is: smaller
    /// ones that may pass a large one would keep it waiting for ever.
    fn next(&mut self) -> Option<Waiter> {
        let first = self.waiting.first_entry()?;
        self.free = self.free.checked_sub(first.get().units)?;
        Some(first.remove())
    }
}

impl Pot {
    /// Creates a pot of so many units.
    pub(super) fn new(units: u32) -> Arc<Self> {
        let line = Line {
            free: units,
            next: 0,
            waiting: BTreeMap::new(),
        };
        Arc::new(Self {
            line: Mutex::new(line),
        })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes units that are free, if there is no line.
    pub(super) fn try_take(self: &Arc<Self>, units: u32) -> Option<Permit> {
        let mut line = self.line();
        if !line.waiting.is_empty() {
            return None;
        }
        line.free = line.free.checked_sub(units)?;
        drop(line);
        let pot = Arc::clone(self);
        Some(Permit { pot, units })
    }

    /// Waits for units at the place in line that belongs to a time.
    pub(super) fn wait(self: &Arc<Self>, units: u32, time: Instant) -> Wait {
        let (sender, granted) = oneshot::channel();
        let mut line = self.line();
        line.next += 1;
        let number = line.next;
        let place = Place { time, number };
        let waiter = Waiter {
            units,
            granted: sender,
        };
        line.waiting.insert(place, waiter);
        drop(line);
        self.serve();
        Wait {
            pot: Arc::clone(self),
            place,
            granted,
        }
    }

    fn serve(self: &Arc<Self>) {
        loop {
            let Some(waiter) = self.line().next() else {
                return;
            };
            let permit = Permit {
                pot: Arc::clone(self),
                units: waiter.units,
            };
            // If the request went away this very moment, the permit comes back when it is dropped.
            drop(waiter.granted.send(permit));
        }
    }

    /// Returns whether there is a line.
    pub(super) fn has_line(&self) -> bool {
        !self.line().waiting.is_empty()
    }

    /// Returns how many units are free.
    pub(super) fn free(&self) -> u32 {
        self.line().free
    }
}

/// A request in line; dropping it is leaving.
#[derive(Debug)]
pub(super) struct Wait {
    pot: Arc<Pot>,
    place: Place,
    granted: oneshot::Receiver<Permit>,
}

impl Future for Wait {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let granted = Pin::new(&mut self.granted).poll(context);
        granted.map(|granted| granted.expect("only our own drop takes us out of line"))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let waiter = self.pot.line().waiting.remove(&self.place);
        if waiter.is_some() {
            // There may be enough for those behind.
            self.pot.serve();
        }
    }
}

/// Units that were taken; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Permit {
    pot: Arc<Pot>,
    units: u32,
}

impl Permit {
    /// Returns how many units there are.
    pub(super) const fn units(&self) -> u32 {
        self.units
    }

    /// Takes a part out, at most what is there.
    pub(super) fn split(&mut self, units: u32) -> Self {
        let units = units.min(self.units);
        self.units -= units;
        let pot = Arc::clone(&self.pot);
        Self { pot, units }
    }

    /// Returns true if both are of the same pot.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pot, &other.pot)
    }

    /// Puts units of the same pot to it.
    pub(super) fn merge(&mut self, mut other: Self) {
        assert!(self.is_like(&other), "units stay in their pot");
        self.units += std::mem::take(&mut other.units);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.units > 0 {
            self.pot.line().free += self.units;
            self.pot.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_earlier_place_is_served_first_also_if_it_came_later() {
        let pot = Pot::new(10);
        let all = pot.try_take(10).unwrap();
        let now = Instant::now();
        let mut late = pot.wait(6, now + Duration::from_secs(1));
        let mut early = pot.wait(6, now);
        let mut second = pot.wait(4, now);
        drop(all);
        assert!((&mut late).now_or_never().is_none());
        let early = (&mut early).now_or_never().unwrap();
        let _second = (&mut second).now_or_never().unwrap();
        drop(early);
        assert_eq!(late.now_or_never().unwrap().units(), 6);
    }

    #[tokio::test]
    async fn a_large_request_is_not_passed_by_small_ones() {
        let pot = Pot::new(10);
        let mut taken = pot.try_take(8).unwrap();
        let mut large = pot.wait(5, Instant::now());
        assert!(pot.try_take(1).is_none(), "there is a line");
        let mut small = pot.wait(1, Instant::now());
        assert!((&mut small).now_or_never().is_none());
        drop(taken.split(3));
        let large = (&mut large).now_or_never().unwrap();
        assert_eq!(large.units(), 5);
        assert!((&mut small).now_or_never().is_none());
        drop(taken);
        assert_eq!(small.now_or_never().unwrap().units(), 1);
    }

    #[tokio::test]
    async fn leaving_the_line_lets_those_behind_go_and_gives_back_what_was_granted() {
        let pot = Pot::new(10);
        let taken = pot.try_take(5).unwrap();
        let large = pot.wait(6, Instant::now());
        let mut small = pot.wait(5, Instant::now());
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!((&mut small).now_or_never().is_some());
        let granted = pot.wait(5, Instant::now());
        assert_eq!(pot.free(), 0, "{granted:?}");
        drop((granted, taken));
        assert_eq!(pot.free(), 10);
    }
}
