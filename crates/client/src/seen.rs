//! What this client has seen of datanodes: which failed a moment ago, how fast they answer, and when it is
//! time to ask a second one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_cluster::select::{Load, order};
use lfsfs_types::NodeId;

/// How long a datanode that failed comes behind others.
const FAILED_FOR: Duration = Duration::from_secs(15);
/// How many latencies of the last reads tell when one is late.
const LATENCIES: usize = 128;
/// Before there are so many, a read is late after [`LATE_AT_FIRST`].
const LATENCIES_LEAST: usize = 20;
const LATE_AT_FIRST: Duration = Duration::from_millis(500);
/// A read is never late earlier than this: a second request is no help on a fast network.
const LATE_LEAST: Duration = Duration::from_millis(50);
const LATE_MOST: Duration = Duration::from_secs(2);
/// One of so many reads may ask a second datanode; a few more at once, if none did before.
const READS_PER_HEDGE: u32 = 20;
const HEDGES_SAVED: u32 = 10;

/// The datanodes that this client has talked to.
#[derive(Debug, Default)]
pub(crate) struct SeenNodes {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    by_address: HashMap<String, Node>,
    /// Nodes to which chunks could not be sent.
    refused: HashMap<NodeId, Instant>,
    latencies: VecDeque<Duration>,
    /// Reads that still have to be made before one more may ask twice, and how many may.
    reads: u32,
    hedges: u32,
    random: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    latency: Duration,
    in_flight: u32,
    failed: Option<Instant>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            by_address: HashMap::new(),
            refused: HashMap::new(),
            latencies: VecDeque::new(),
            reads: 0,
            hedges: HEDGES_SAVED,
            random: 0,
        }
    }
}

impl SeenNodes {
    /// Returns these addresses in the order in which they are to be asked.
    pub(crate) fn order(&self, addresses: &[String]) -> Vec<String> {
        let now = Instant::now();
        let mut seen = self.seen();
        // A sequence of Weyl is even enough to spread load.
        seen.random = seen.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let loads = addresses.iter().map(|it| seen.load(it, now));
        let loads: Vec<_> = loads.collect();
        let order = order(&loads, seen.random);
        order.into_iter().map(|at| addresses[at].clone()).collect()
    }

    /// Notes that a read begins.
    pub(crate) fn begin(&self, address: &str) {
        let mut seen = self.seen();
        seen.node(address).in_flight += 1;
        seen.reads += 1;
        if seen.reads >= READS_PER_HEDGE {
            seen.reads = 0;
            seen.hedges = (seen.hedges + 1).min(HEDGES_SAVED);
        }
    }

    /// Notes that a read has ended, and after what time if it was answered.
    pub(crate) fn end(&self, address: &str, answered: Option<Duration>) {
        let mut seen = self.seen();
        let node = seen.node(address);
        node.in_flight = node.in_flight.saturating_sub(1);
        let Some(took) = answered else { return };
        node.failed = None;
        // A moving mean, the newest with an eighth.
        node.latency = match node.latency {
            Duration::ZERO => took,
            latency => (latency * 7 + took) / 8,
        };
        seen.latencies.push_back(took);
        if seen.latencies.len() > LATENCIES {
            seen.latencies.pop_front();
        }
    }

    /// Notes that a datanode failed, or was much slower than another one.
    pub(crate) fn failed(&self, address: &str) {
        self.seen().node(address).failed = Some(Instant::now());
    }

    /// Returns after what time a read is late: what 95 of 100 reads need less than.
    pub(crate) fn late_after(&self) -> Duration {
        let seen = self.seen();
        if seen.latencies.len() < LATENCIES_LEAST {
            return LATE_AT_FIRST;
        }
        let mut latencies: Vec<_> = seen.latencies.iter().copied().collect();
        latencies.sort_unstable();
        let late = latencies[latencies.len() * 95 / 100];
        late.clamp(LATE_LEAST, LATE_MOST)
    }

    /// Returns whether a late read may ask a second datanode.
    pub(crate) fn may_hedge(&self) -> bool {
        let mut seen = self.seen();
        let may = seen.hedges > 0;
        seen.hedges = seen.hedges.saturating_sub(1);
        may
    }

    /// Notes that a chunk could not be sent to a datanode.
    pub(crate) fn refused(&self, node: NodeId) {
        self.seen().refused.insert(node, Instant::now());
    }

    /// Returns the datanodes to which chunks could not be sent a moment ago.
    pub(crate) fn to_avoid(&self) -> Vec<NodeId> {
        let mut seen = self.seen();
        seen.refused.retain(|_, at| at.elapsed() < FAILED_FOR);
        seen.refused.keys().copied().collect()
    }

    /// No method panics while it holds it.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn node(&mut self, address: &str) -> &mut Node {
        self.by_address.entry(address.to_owned()).or_default()
    }

    fn load(&self, address: &str, now: Instant) -> Load {
        let node = self.by_address.get(address).copied().unwrap_or_default();
        let is_new = |at: Instant| now.saturating_duration_since(at) < FAILED_FOR;
        Load {
            latency: node.latency,
            in_flight: node.in_flight,
            has_failed: node.failed.is_some_and(is_new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(nodes: &SeenNodes, address: &str, millis: u64) {
        nodes.begin(address);
        nodes.end(address, Some(Duration::from_millis(millis)));
    }

    #[test]
    fn one_that_failed_comes_last_until_it_answers() {
        let nodes = SeenNodes::default();
        let both = ["a".to_owned(), "b".to_owned()];
        nodes.failed("a");
        for _ in 0..10 {
            assert_eq!(nodes.order(&both), ["b", "a"]);
        }
        read(&nodes, "a", 1);
        read(&nodes, "b", 100);
        assert_eq!(nodes.order(&both), ["a", "b"]);
    }

    #[test]
    fn a_read_is_late_when_most_others_were_faster() {
        let nodes = SeenNodes::default();
        assert_eq!(nodes.late_after(), LATE_AT_FIRST);
        (0..100).for_each(|_| read(&nodes, "a", 200));
        assert_eq!(nodes.late_after(), Duration::from_millis(200));
        (0..LATENCIES).for_each(|_| read(&nodes, "a", 1));
        assert_eq!(nodes.late_after(), LATE_LEAST);
    }

    #[test]
    fn second_requests_have_a_budget() {
        let nodes = SeenNodes::default();
        let taken = (0..100).filter(|_| nodes.may_hedge()).count();
        assert_eq!(taken, HEDGES_SAVED as usize);
        (0..READS_PER_HEDGE).for_each(|_| read(&nodes, "a", 1));
        assert!(nodes.may_hedge() && !nodes.may_hedge());
    }

    #[test]
    fn nodes_that_refused_a_chunk_are_avoided() {
        let nodes = SeenNodes::default();
        nodes.refused(NodeId([1; 16]));
        assert_eq!(nodes.to_avoid(), [NodeId([1; 16])]);
    }
}
