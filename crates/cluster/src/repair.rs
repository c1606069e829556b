//! Copies that are to be made and dropped: the most urgent first, within limits.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use lfsfs_types::{ChunkId, NodeId};
use rand::Rng;

use crate::balance::{Move, Tolerance};
use crate::copies::{Assessment, ChunkCopies};
use crate::member::Member;
use crate::membership::{Membership, Standing};
use crate::placement::{Placement, Wanted};

/// How long a chunk waits after an attempt that failed; longer after each.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(120);

/// The place in the queue of chunks with too many copies: after all that have too few.
const RANK_DROP: usize = usize::MAX - 1;
/// That of chunks that could move. What moved must give up a copy first.
pub(crate) const RANK_MOVE: usize = usize::MAX;

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
    /// By how much the used parts of nodes may differ before copies move.
    pub tolerance: Tolerance,
}

impl Default for RepairLimits {
    fn default() -> Self {
        Self {
            copies_per_node: 2,
            bytes_per_second: 200_000_000,
            waiting_max: 10_000,
            tolerance: Tolerance::default(),
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
    /// Chunks that wait because they have too few copies or too many.
    pub waiting: usize,
    /// Chunks that wait to move from a full node to an emptier one.
    pub to_move: usize,
    /// Chunks that are worked on.
    pub under_way: usize,
    /// Bytes of all these, each chunk once.
    pub waiting_bytes: u64,
    /// Chunks that were copied, those that moved too.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Chunks that were copied in order to move.
    pub moved: u64,
    /// Orders that failed.
    pub failed: u64,
}

/// What is to be done next.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) copies: Vec<CopyOrder>,
    pub(crate) drops: Vec<DropOrder>,
}

impl Orders {
    fn add(&mut self, order: Order) {
        match order {
            Order::Copy(copy, _) => self.copies.push(copy),
            Order::Drop(drop) => self.drops.push(drop),
        }
    }
}

/// How an order ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) is_done: bool,
    /// What is known of the chunk now; none if that could not be read.
    pub(crate) copies: Option<ChunkCopies>,
}

/// What is to be done for one chunk.
enum Order {
    Copy(CopyOrder, End),
    Drop(DropOrder),
}

/// Why nothing is done for a chunk.
enum NotNow {
    /// The nodes have enough to do.
    Busy,
    /// Nothing can be done, or needs to be.
    Never,
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
    /// The node that was to give up its copy when the chunk got another one. The used parts may be others by now, and
    /// would choose the new one.
    gives: Option<NodeId>,
    not_before: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct UnderWay {
    waiting: Waiting,
    nodes: Vec<NodeId>,
    end: End,
}

/// What is different once an order was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Gains(NodeId),
    /// As above, so that another node can lose it.
    Moves(Move),
    Loses(NodeId),
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
        let to_move = self.to_move();
        RepairFigures {
            waiting: self.waiting.len() - to_move,
            to_move,
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

    /// Moves leave room for what is more urgent, so that a scan never waits for them.
    pub(crate) fn has_room_for_moves(&self) -> bool {
        self.waiting.len() < self.limits.waiting_max / 2
    }

    fn to_move(&self) -> usize {
        let moves = self.waiting.keys().rev();
        moves.take_while(|(rank, _)| *rank == RANK_MOVE).count()
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
                gives: None,
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
            let copies = &waiting.copies;
            let decided = match copies.assess(members, now) {
                // What cannot be done is found again by the next scan.
                Assessment::Unreachable => Err(NotNow::Never),
                Assessment::Enough => self.move_order(copies, members, now),
                Assessment::TooFew { sources } => {
                    let wanted = Wanted {
                        count: usize::MAX,
                        len: copies.len,
                        holders: &copies.holders,
                    };
                    let takers = members.choose(placement, wanted, random, now);
                    self.copy_order(copies, sources, &takers)
                }
                Assessment::TooMany { holders } | Assessment::Unneeded { holders } => {
                    self.drop_order(&waiting, &holders, members)
                }
            };
            match decided {
                Ok(order) => {
                    if let Order::Copy(copy, _) = &order {
                        self.budget = self.budget.saturating_sub(copy.len);
                        members.promise(copy.to, copy.len);
                    }
                    self.begin(waiting, &order);
                    orders.add(order);
                }
                Err(NotNow::Busy) => {
                    busy += 1;
                    self.put(key.0, waiting);
                }
                Err(NotNow::Never) => {}
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
    fn copy_order(
        &self,
        copies: &ChunkCopies,
        from: Vec<NodeId>,
        takers: &[Member],
    ) -> Result<Order, NotNow> {
        if takers.is_empty() {
            return Err(NotNow::Never);
        }
        let takers = takers.iter().map(|member| member.id);
        let to = takers.into_iter().find(|id| self.is_free(*id));
        let to = to.ok_or(NotNow::Busy)?;
        let copy = self.copy(copies, from, to)?;
        Ok(Order::Copy(copy, End::Gains(to)))
    }

    /// Returns the order for a copy on an emptier node, if there is one by now.
    fn move_order(
        &self,
        copies: &ChunkCopies,
        members: &Membership,
        now: Instant,
    ) -> Result<Order, NotNow> {
        let better = members.better_place(copies, self.limits.tolerance, now);
        let better = better.ok_or(NotNow::Never)?;
        if !self.is_free(better.to) {
            return Err(NotNow::Busy);
        }
        let is_live = |id: &NodeId| members.standing(*id, now) == Standing::Live;
        let from = copies.holders.iter().copied().filter(is_live);
        let copy = self.copy(copies, from.collect(), better.to)?;
        Ok(Order::Copy(copy, End::Moves(better)))
    }

    fn copy(
        &self,
        copies: &ChunkCopies,
        mut from: Vec<NodeId>,
        to: NodeId,
    ) -> Result<CopyOrder, NotNow> {
        from.sort_by_key(|id| self.load(*id));
        if !from.first().is_some_and(|first| self.is_free(*first)) {
            return Err(NotNow::Busy);
        }
        Ok(CopyOrder {
            chunk: copies.chunk,
            len: copies.len,
            to,
            from,
        })
    }

    /// Returns the order for a drop. A node that has enough to do is waited for: another one in its place
    /// could be the one that has just got its copy.
    fn drop_order(
        &self,
        waiting: &Waiting,
        holders: &[NodeId],
        members: &Membership,
    ) -> Result<Order, NotNow> {
        let copies = &waiting.copies;
        let gives = waiting.gives.filter(|node| holders.contains(node));
        let node = gives.or_else(|| members.to_give_up(holders));
        let node = node.ok_or(NotNow::Never)?;
        if !self.is_free(node) {
            return Err(NotNow::Busy);
        }
        Ok(Order::Drop(DropOrder {
            chunk: copies.chunk,
            node,
            least: copies.wanted,
        }))
    }

    fn is_free(&self, id: NodeId) -> bool {
        self.load(id) < self.limits.copies_per_node
    }

    fn load(&self, id: NodeId) -> usize {
        self.busy.get(&id).copied().unwrap_or(0)
    }

    fn begin(&mut self, waiting: Waiting, order: &Order) {
        let (nodes, end) = match order {
            Order::Copy(copy, end) => (vec![copy.from[0], copy.to], *end),
            Order::Drop(drop) => (vec![drop.node], End::Loses(drop.node)),
        };
        for node in &nodes {
            *self.busy.entry(*node).or_default() += 1;
        }
        let chunk = waiting.copies.chunk;
        let under_way = UnderWay {
            waiting,
            nodes,
            end,
        };
        self.under_way.insert(chunk, under_way);
    }

    /// Takes how a copy or a drop ended. A chunk of which more is to be done waits again.
    pub(crate) fn ended(
        &mut self,
        chunk: ChunkId,
        ended: Ended,
        members: &Membership,
        now: Instant,
    ) {
        let Some(mut order) = self.under_way.remove(&chunk) else {
            return;
        };
        for node in &order.nodes {
            if let Some(load) = self.busy.get_mut(node) {
                *load -= 1;
            }
        }
        let waiting = &mut order.waiting;
        if ended.is_done {
            self.carried_out += 1;
            self.count(&waiting.copies, order.end);
            waiting.failures = 0;
            let holders = &mut waiting.copies.holders;
            match order.end {
                End::Gains(node) => holders.push(node),
                End::Moves(moved) => {
                    holders.push(moved.to);
                    waiting.gives = Some(moved.from);
                }
                End::Loses(node) => holders.retain(|id| *id != node),
            }
        } else {
            self.done.failed += 1;
            if matches!(order.end, End::Loses(_)) && waiting.gives.is_none() {
                // A drop that was refused is no loss; the next scan sees why.
                return;
            }
            waiting.failures += 1;
            let delay = RETRY_FIRST * 2_u32.saturating_pow(waiting.failures - 1);
            waiting.not_before = Some(now + delay.min(RETRY_LONGEST));
        }
        // Its nodes may have lost it meanwhile, or others got it.
        if let Some(copies) = ended.copies {
            waiting.copies = copies;
        }
        if let Some(rank) = rank(&waiting.copies.assess(members, now)) {
            self.put(rank, order.waiting);
        }
    }

    fn count(&mut self, copies: &ChunkCopies, end: End) {
        if matches!(end, End::Loses(_)) {
            return;
        }
        self.done.copied += 1;
        self.done.copied_bytes += copies.len;
        self.done.moved += u64::from(matches!(end, End::Moves(_)));
    }
}

/// Returns how urgent it is: the copies that can be read; then those that are too many.
pub(crate) fn rank(assessment: &Assessment) -> Option<usize> {
    match assessment {
        Assessment::TooFew { sources } => Some(sources.len()),
        Assessment::TooMany { .. } | Assessment::Unneeded { .. } => Some(RANK_DROP),
        Assessment::Enough | Assessment::Unreachable => None,
    }
}
