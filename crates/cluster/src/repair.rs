//! Copies that are to be made and dropped: the most urgent first, within limits.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use lfsfs_types::{ChunkId, NodeId};
use rand::Rng;

use crate::copies::{Assessment, ChunkCopies};
use crate::member::Member;
use crate::membership::Membership;
use crate::placement::{Placement, Wanted};

/// How long a chunk waits after an attempt that failed; longer after each.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(120);

/// After so many chunks whose nodes have enough to do, others are not looked at.
const BUSY_MAX: usize = 100;

/// What repair may take from the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairLimits {
    /// Copies that one node makes or gives at the same time.
    pub copies_per_node: usize,
    /// Bytes a second that all repair together moves.
    pub bytes_per_second: u64,
    /// Chunks that wait at most; further ones are found by the next scan.
    pub waiting_max: usize,
}

impl Default for RepairLimits {
    fn default() -> Self {
        Self {
            copies_per_node: 2,
            bytes_per_second: 200_000_000,
            waiting_max: 10_000,
        }
    }
}

/// A copy to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOrder {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub len: u64,
    /// The node that gets it.
    pub to: NodeId,
    /// Nodes that have it, the best first.
    pub from: Vec<NodeId>,
}

/// A copy to drop, where the chunk has more than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropOrder {
    /// The chunk.
    pub chunk: ChunkId,
    /// The node that drops it.
    pub node: NodeId,
    /// How many other nodes must have it then.
    pub least: usize,
}

/// What repair does, and did since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairFigures {
    /// Chunks that wait.
    pub waiting: usize,
    /// Chunks that are worked on.
    pub under_way: usize,
    /// Bytes of both, each chunk once.
    pub waiting_bytes: u64,
    /// Chunks that were copied.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Orders that failed.
    pub failed: u64,
}

/// What is to be done next.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) copies: Vec<CopyOrder>,
    pub(crate) drops: Vec<DropOrder>,
}

/// Chunks with too few copies or too many.
#[derive(Debug)]
pub(crate) struct Repairs {
    limits: RepairLimits,
    /// By the number of copies that can be read, the fewest first.
    waiting: BTreeMap<(usize, ChunkId), Waiting>,
    /// The number under which a chunk waits.
    ranks: HashMap<ChunkId, usize>,
    under_way: HashMap<ChunkId, UnderWay>,
    /// Copies and drops that each node takes part in.
    busy: HashMap<NodeId, usize>,
    /// Bytes that may be moved now.
    budget: u64,
    refilled: Option<Instant>,
    /// What was done so far.
    done: RepairFigures,
    /// How many orders were carried out.
    carried_out: u64,
}

#[derive(Debug)]
struct Waiting {
    copies: ChunkCopies,
    not_before: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct UnderWay {
    waiting: Waiting,
    nodes: Vec<NodeId>,
    /// The node that has the chunk afterwards.
    gains: Option<NodeId>,
    loses: Option<NodeId>,
}

impl Repairs {
    pub(crate) fn new(limits: RepairLimits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            ranks: HashMap::new(),
            under_way: HashMap::new(),
            busy: HashMap::new(),
            budget: 0,
            refilled: None,
            done: RepairFigures::default(),
            carried_out: 0,
        }
    }

    pub(crate) fn figures(&self) -> RepairFigures {
        let under_way = self.under_way.values().map(|it| &it.waiting);
        let all = self.waiting.values().chain(under_way);
        RepairFigures {
            waiting: self.waiting.len(),
            under_way: self.under_way.len(),
            waiting_bytes: all.map(|it| it.copies.len).sum(),
            ..self.done
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    pub(crate) const fn carried_out(&self) -> u64 {
        self.carried_out
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.waiting_max
    }

    /// Notes a chunk that has something to be done. One that is more urgent takes the place of the least
    /// urgent one.
    pub(crate) fn note(&mut self, copies: ChunkCopies, rank: usize) {
        let chunk = copies.chunk;
        if self.under_way.contains_key(&chunk) || self.ranks.contains_key(&chunk) {
            return;
        }
        self.put(
            rank,
            Waiting {
                copies,
                not_before: None,
                failures: 0,
            },
        );
        if self.waiting.len() > self.limits.waiting_max
            && let Some(((_, least), _)) = self.waiting.pop_last()
        {
            self.ranks.remove(&least);
        }
    }

    fn put(&mut self, rank: usize, waiting: Waiting) {
        let chunk = waiting.copies.chunk;
        self.ranks.insert(chunk, rank);
        self.waiting.insert((rank, chunk), waiting);
    }

    /// Takes what can be done now.
    pub(crate) fn next(
        &mut self,
        members: &mut Membership,
        placement: Placement,
        random: &mut impl Rng,
        now: Instant,
    ) -> Orders {
        self.refill(now);
        let mut orders = Orders::default();
        let keys: Vec<_> = self.waiting.keys().copied().collect();
        let mut busy = 0;
        for key in keys {
            if self.budget == 0 || busy == BUSY_MAX {
                break;
            }
            let is_time = |it: &Waiting| it.not_before.is_none_or(|at| at <= now);
            if !self.waiting.get(&key).is_some_and(is_time) {
                continue;
            }
            let Some(waiting) = self.take(key) else {
                continue;
            };
            match waiting.copies.assess(members, now) {
                // What cannot be done is found again by the next scan.
                Assessment::Enough | Assessment::Unreachable => {}
                Assessment::TooFew { sources } => {
                    let wanted = Wanted {
                        count: usize::MAX,
                        len: waiting.copies.len,
                        holders: &waiting.copies.holders,
                    };
                    let takers = members.choose(placement, wanted, random, now);
                    match self.copy(&waiting.copies, sources, &takers) {
                        Ok(order) => {
                            self.begin(waiting, &order.from[..1], Some(order.to), None);
                            self.budget = self.budget.saturating_sub(order.len);
                            members.promise(order.to, order.len);
                            orders.copies.push(order);
                        }
                        Err(NoCopy::Busy) => {
                            busy += 1;
                            self.put(key.0, waiting);
                        }
                        Err(NoCopy::NoPlace) => {}
                    }
                }
                Assessment::TooMany { holders } => {
                    let Some(node) = self.fullest(&holders, members) else {
                        busy += 1;
                        self.put(key.0, waiting);
                        continue;
                    };
                    let order = DropOrder {
                        chunk: key.1,
                        node,
                        least: waiting.copies.wanted,
                    };
                    self.begin(waiting, &[], None, Some(node));
                    orders.drops.push(order);
                }
            }
        }
        orders
    }

    fn take(&mut self, key: (usize, ChunkId)) -> Option<Waiting> {
        self.ranks.remove(&key.1);
        self.waiting.remove(&key)
    }

    fn refill(&mut self, now: Instant) {
        let rate = self.limits.bytes_per_second;
        let since = self.refilled.replace(now);
        let elapsed = since.map_or(Duration::from_secs(1), |since| {
            now.saturating_duration_since(since)
        });
        let more = u128::from(rate) * elapsed.as_millis() / 1000;
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        // A second's worth at most is saved up.
        self.budget = self.budget.saturating_add(more).min(rate);
    }

    /// Returns the order for a copy; the takers and the sources that have enough to do are passed over.
    fn copy(
        &self,
        copies: &ChunkCopies,
        mut from: Vec<NodeId>,
        takers: &[Member],
    ) -> Result<CopyOrder, NoCopy> {
        if takers.is_empty() {
            return Err(NoCopy::NoPlace);
        }
        let is_free = |id: &NodeId| self.load(*id) < self.limits.copies_per_node;
        let to = takers.iter().map(|member| member.id).find(is_free);
        from.sort_by_key(|id| self.load(*id));
        match (to, from.first()) {
            (Some(to), Some(first)) if is_free(first) => Ok(CopyOrder {
                chunk: copies.chunk,
                len: copies.len,
                to,
                from,
            }),
            _ => Err(NoCopy::Busy),
        }
    }

    /// Returns the holder that should give up its copy: one of those that share a zone, the fullest.
    fn fullest(&self, holders: &[NodeId], members: &Membership) -> Option<NodeId> {
        let zone = |id: &NodeId| members.find(*id).map(|it| it.zone.clone());
        let shares = |id: &NodeId| holders.iter().filter(|it| zone(it) == zone(id)).count();
        let used = |id: &NodeId| {
            members.find(*id).map_or(0, |it| {
                u128::from(it.used) * 1_000_000 / u128::from(it.capacity.max(1))
            })
        };
        let free = holders
            .iter()
            .filter(|id| self.load(**id) < self.limits.copies_per_node);
        free.max_by_key(|id| (shares(id), used(id))).copied()
    }

    fn load(&self, id: NodeId) -> usize {
        self.busy.get(&id).copied().unwrap_or(0)
    }

    fn begin(
        &mut self,
        waiting: Waiting,
        sources: &[NodeId],
        gains: Option<NodeId>,
        loses: Option<NodeId>,
    ) {
        let nodes: Vec<_> = sources.iter().copied().chain(gains).chain(loses).collect();
        for node in &nodes {
            *self.busy.entry(*node).or_default() += 1;
        }
        let chunk = waiting.copies.chunk;
        let under_way = UnderWay {
            waiting,
            nodes,
            gains,
            loses,
        };
        self.under_way.insert(chunk, under_way);
    }

    /// Takes how a copy or a drop ended. A chunk of which more is to be done waits again.
    pub(crate) fn ended(
        &mut self,
        chunk: ChunkId,
        is_done: bool,
        members: &Membership,
        now: Instant,
    ) {
        let Some(mut ended) = self.under_way.remove(&chunk) else {
            return;
        };
        for node in &ended.nodes {
            if let Some(load) = self.busy.get_mut(node) {
                *load -= 1;
            }
        }
        let waiting = &mut ended.waiting;
        if !is_done {
            self.done.failed += 1;
        } else if ended.gains.is_some() {
            self.done.copied += 1;
            self.done.copied_bytes += waiting.copies.len;
        }
        if is_done {
            self.carried_out += 1;
            waiting.copies.holders.extend(ended.gains);
            waiting.copies.holders.retain(|id| Some(*id) != ended.loses);
            waiting.failures = 0;
        } else if ended.loses.is_some() {
            // A drop that was refused is no loss; the next scan sees why.
            return;
        } else {
            waiting.failures += 1;
            let delay = RETRY_FIRST * 2_u32.saturating_pow(waiting.failures - 1);
            waiting.not_before = Some(now + delay.min(RETRY_LONGEST));
        }
        if let Some(rank) = rank(&waiting.copies.assess(members, now)) {
            self.put(rank, ended.waiting);
        }
    }
}

enum NoCopy {
    /// The nodes have enough to do.
    Busy,
    /// No node can take it.
    NoPlace,
}

/// Returns how urgent it is: the copies that can be read; those that are too many come last.
pub(crate) fn rank(assessment: &Assessment) -> Option<usize> {
    match assessment {
        Assessment::TooFew { sources } => Some(sources.len()),
        Assessment::TooMany { .. } => Some(usize::MAX),
        Assessment::Enough | Assessment::Unreachable => None,
    }
}
