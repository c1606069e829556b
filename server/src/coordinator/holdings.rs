//! What clients hold by an id between two calls. It is bounded, so that no client can keep others
//! out.
//!
//! Holding costs nothing, so an idle thing is never a reason to refuse another one: where a connection,
//! a project or the server has too many, the one that was idle longest gives way, of the connection that
//! has most. Only what is in use stays, and counts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ProjectId, SessionId};

/// How much may be held at the same time. Each thing has a weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A thing that its client did not use for this long is forgotten.
    pub(super) idle_max: Duration,
    pub(super) of_connection: usize,
    pub(super) of_project: usize,
    pub(super) of_server: usize,
    /// What these things are, in messages.
    pub(super) what: &'static str,
}

/// The connection that holds a thing, and the project that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    /// The connection, by its other end.
    pub(super) connection: Option<SocketAddr>,
    pub(super) project: ProjectId,
}

/// A thing that a client is about to hold.
#[derive(Debug)]
pub(super) struct NewThing<T> {
    pub(super) thing: T,
    pub(super) holder: Holder,
    /// How much of the limits it takes.
    pub(super) weight: usize,
}

/// The things that are held.
#[derive(Debug)]
pub(super) struct Holdings<T> {
    limits: Limits,
    held: HashMap<SessionId, Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    thing: T,
    holder: Holder,
    weight: usize,
    used: Instant,
    /// How many calls use it at the moment.
    uses: usize,
}

/// Which holders share a limit.
#[derive(Debug, Clone, Copy)]
enum Scope {
    Connection(Option<SocketAddr>),
    Project(ProjectId),
    Server,
}

impl Scope {
    fn has(self, holder: &Holder) -> bool {
        match self {
            Self::Connection(connection) => holder.connection == connection,
            Self::Project(project) => holder.project == project,
            Self::Server => true,
        }
    }
}

impl<T> Holdings<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let held = HashMap::new();
        Self { limits, held }
    }

    /// Adds a thing. Returns what gave way to it.
    pub(super) fn add(
        &mut self,
        id: SessionId,
        new: NewThing<T>,
        now: Instant,
    ) -> Result<Vec<T>, Fault> {
        let NewThing {
            thing,
            holder,
            weight,
        } = new;
        let mut gone = self.sweep(now);
        for (scope, max) in [
            (
                Scope::Connection(holder.connection),
                self.limits.of_connection,
            ),
            (Scope::Project(holder.project), self.limits.of_project),
            (Scope::Server, self.limits.of_server),
        ] {
            while self.weight_of(scope) + weight > max {
                let Some(victim) = self.idlest(scope) else {
                    return Err(self.too_many(scope));
                };
                gone.extend(self.end(victim));
            }
        }
        let held = Held {
            thing,
            holder,
            weight,
            used: now,
            uses: 0,
        };
        self.held.insert(id, held);
        Ok(gone)
    }

    /// Returns a thing, which counts as used now.
    pub(super) fn find(&mut self, id: SessionId, now: Instant) -> Option<&mut T> {
        let idle_max = self.limits.idle_max;
        let held = self.held.get_mut(&id)?;
        if held.uses == 0 && now.saturating_duration_since(held.used) >= idle_max {
            return None;
        }
        held.used = now;
        Some(&mut held.thing)
    }

    /// Returns all things that are in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &T> {
        let held = self.held.values().filter(|held| held.uses > 0);
        held.map(|held| &held.thing)
    }

    /// Returns all things that are held.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.held.values().map(|held| &held.thing)
    }

    /// Marks a thing as in use until it is ended.
    pub(super) fn begin_use(&mut self, id: SessionId) {
        if let Some(held) = self.held.get_mut(&id) {
            held.uses += 1;
        }
    }

    /// Forgets a thing.
    pub(super) fn end(&mut self, id: SessionId) -> Option<T> {
        self.held.remove(&id).map(|held| held.thing)
    }

    /// Forgets what was idle for too long.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<T> {
        let idle_max = self.limits.idle_max;
        let is_over =
            |held: &Held<T>| held.uses == 0 && now.saturating_duration_since(held.used) >= idle_max;
        let over = self.held.iter().filter(|(_, held)| is_over(held));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.into_iter().filter_map(|id| self.end(id)).collect()
    }

    fn weight_of(&self, scope: Scope) -> usize {
        let held = self.held.values();
        let inside = held.filter(|held| scope.has(&held.holder));
        inside.map(|held| held.weight).sum()
    }

    /// Returns the thing that was idle longest, of the connection that has most of them.
    fn idlest(&self, scope: Scope) -> Option<SessionId> {
        let idle = || {
            let held = self.held.iter();
            held.filter(|(_, held)| held.uses == 0 && scope.has(&held.holder))
        };
        let mut weights = HashMap::new();
        for (_, held) in idle() {
            *weights.entry(held.holder.connection).or_insert(0) += held.weight;
        }
        let (most, _) = weights.into_iter().max_by_key(|(_, weight)| *weight)?;
        let of_most = idle().filter(|(_, held)| held.holder.connection == most);
        let oldest = of_most.min_by_key(|(_, held)| held.used);
        oldest.map(|(id, _)| *id)
    }

    fn too_many(&self, scope: Scope) -> Fault {
        let whose = match scope {
            Scope::Connection(_) => "of this connection",
            Scope::Project(_) => "in this project",
            Scope::Server => "on this server",
        };
        let what = self.limits.what;
        let text = format!("too many {what} {whose} are under way; try again later");
        Fault::new(FaultKind::Unavailable, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        idle_max: Duration::from_secs(60),
        of_connection: 4,
        of_project: 6,
        of_server: 8,
        what: "things",
    };

    fn id(number: u8) -> SessionId {
        SessionId([number; 16])
    }

    fn holder(port: u16, project: u8) -> Holder {
        Holder {
            connection: Some(SocketAddr::from(([127, 0, 0, 1], port))),
            project: ProjectId([project; 16]),
        }
    }

    fn add(
        held: &mut Holdings<u8>,
        number: u8,
        holder: Holder,
        now: Instant,
    ) -> Result<Vec<u8>, FaultKind> {
        let new = NewThing {
            thing: number,
            holder,
            weight: 1,
        };
        let added = held.add(id(number), new, now);
        added.map_err(|fault| fault.kind)
    }

    #[test]
    fn a_connection_that_holds_too_much_loses_its_own_oldest() {
        let now = Instant::now();
        let mut held = Holdings::new(LIMITS);
        assert_eq!(add(&mut held, 100, holder(1, 1), now), Ok(vec![]));
        for number in 0..4 {
            let later = now + Duration::from_secs(u64::from(number));
            assert_eq!(add(&mut held, number, holder(2, 2), later), Ok(vec![]));
        }
        let later = now + Duration::from_secs(9);
        assert_eq!(add(&mut held, 4, holder(2, 2), later), Ok(vec![0]));
        assert!(held.find(id(100), later).is_some(), "another connection's");
        assert!(held.find(id(0), later).is_none());
    }

    #[test]
    fn who_has_most_gives_way_in_a_project_and_on_the_server() {
        let now = Instant::now();
        let mut held = Holdings::new(LIMITS);
        for (number, port) in [(0, 1), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3)] {
            add(&mut held, number, holder(port, 1), now).unwrap();
        }
        let gone = add(&mut held, 6, holder(4, 1), now).unwrap();
        assert!([[1], [2], [3]].contains(&[gone[0]]), "{gone:?}");
        for (number, port) in [(7, 5), (8, 6)] {
            assert_eq!(add(&mut held, number, holder(port, 2), now), Ok(vec![]));
        }
        assert_eq!(add(&mut held, 9, holder(7, 3), now).unwrap().len(), 1);
        assert!(held.find(id(0), now).is_some());
    }

    #[test]
    fn what_is_in_use_stays_and_is_counted() {
        let now = Instant::now();
        let mut held = Holdings::new(LIMITS);
        for number in 0..4 {
            add(&mut held, number, holder(1, 1), now).unwrap();
            held.begin_use(id(number));
        }
        let refused = add(&mut held, 4, holder(1, 1), now);
        assert_eq!(refused, Err(FaultKind::Unavailable));
        let later = now + 2 * LIMITS.idle_max;
        assert!(held.find(id(0), later).is_some(), "it is used all the time");
        assert_eq!(held.end(id(0)), Some(0));
        assert_eq!(add(&mut held, 4, holder(1, 1), later), Ok(vec![]));
    }

    #[test]
    fn what_is_idle_for_too_long_is_gone() {
        let now = Instant::now();
        let mut held = Holdings::new(LIMITS);
        add(&mut held, 1, holder(1, 1), now).unwrap();
        let later = now + LIMITS.idle_max / 2;
        assert!(held.find(id(1), later).is_some());
        assert!(held.find(id(1), later + LIMITS.idle_max / 2).is_some());
        assert!(held.find(id(1), later + 2 * LIMITS.idle_max).is_none());
        assert_eq!(held.sweep(later + 2 * LIMITS.idle_max), [1]);
    }
}
