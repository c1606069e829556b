//! The decisions of a cluster as one machine: an event goes in, actions come out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lfsfs_types::{ChunkId, NodeId};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use crate::copies::{Assessment, ChunkCopies};
use crate::member::{Member, Timing};
use crate::membership::{Beat, Membership, Standing};
use crate::placement::{Placement, Wanted};
use crate::repair::{
    CopyOrder, DropOrder, Ended, RANK_MOVE, RepairFigures, RepairLimits, Repairs, rank,
};

/// Time between two scans of all chunks if nothing happens.
const SCAN_PERIOD: Duration = Duration::from_secs(3600);

/// How long a scan waits after a page that could not be read.
const SCAN_RETRY: Duration = Duration::from_secs(10);

/// How long a chunk that was reported has time to get its copies from the node that received it.
const YOUNG_FOR: Duration = Duration::from_secs(60);
/// How many such chunks are remembered; where there are more, a scan finds them.
const YOUNG_MAX: usize = 10_000;

/// How a cluster decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterConfig {
    /// How much silence means what.
    pub timing: Timing,
    /// How nodes are chosen.
    pub placement: Placement,
    /// What repair may take.
    pub repair: RepairLimits,
    /// The beginning of the random numbers.
    pub seed: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A page of a scan was read.
    Scanned {
        /// The chunks of the page.
        page: Vec<ChunkCopies>,
        /// The last of them, if there are more.
        next: Option<ChunkId>,
    },
    /// A page could not be read.
    ScanFailed,
    /// An order has ended.
    Ended {
        /// The chunk that it was for.
        chunk: ChunkId,
        /// Whether it was carried out.
        is_done: bool,
        /// What is known of the chunk now; none if that could not be read.
        copies: Option<ChunkCopies>,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the next page of all chunks.
    Scan {
        /// From behind this one.
        after: Option<ChunkId>,
    },
    /// Make a copy.
    Copy(CopyOrder),
    /// Drop a copy.
    Drop(DropOrder),
}

/// What a scan of all chunks found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Chunks.
    pub chunks: u64,
    /// Those with fewer copies than they should have, that can be read.
    pub too_few: u64,
    /// Those that no node that answers has.
    pub unreachable: u64,
    /// Those with more copies than they should have.
    pub too_many: u64,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    members: Membership,
    repairs: Repairs,
    random: Xoshiro256PlusPlus,
    scan: Option<Scan>,
    /// Whether something happened since the scan began.
    is_stale: bool,
    last_scan: Option<Instant>,
    /// How many orders had been carried out when the last scan began.
    carried_out_at_scan: u64,
    last_summary: Option<(Summary, Instant)>,
    /// Chunks that had too few copies when they were reported last.
    young: HashMap<ChunkId, (Instant, ChunkCopies)>,
}

/// A scan of all chunks. The first pass takes the most urgent chunks alone: waiting for them must not
/// depend on where they are in the order of the ids.
#[derive(Debug, Default)]
struct Scan {
    pass: Pass,
    after: Option<ChunkId>,
    is_reading: bool,
    /// When it may go on, after a page that could not be read.
    not_before: Option<Instant>,
    summary: Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pass {
    #[default]
    LastCopies,
    All,
}

impl Cluster {
    /// Creates a cluster without nodes.
    pub fn new(config: ClusterConfig) -> Self {
        Self {
            members: Membership::new(config.timing),
            repairs: Repairs::new(config.repair),
            random: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            config,
            scan: None,
            is_stale: true,
            last_scan: None,
            carried_out_at_scan: 0,
            last_summary: None,
            young: HashMap::new(),
        }
    }

    /// Returns the table of nodes.
    pub const fn members(&self) -> &Membership {
        &self.members
    }

    /// Adds a node that was registered before this process started.
    pub fn known_from_before(&mut self, member: Member, now: Instant) {
        self.members.known_from_before(member, now);
    }

    /// Takes a registration, whose generation the metadata has raised.
    pub fn register(&mut self, member: Member, now: Instant) {
        self.members.register(member, now);
        self.is_stale = true;
    }

    /// Takes a heartbeat. Returns false if the node must register again.
    pub fn heartbeat(&mut self, beat: &Member, now: Instant) -> bool {
        self.is_stale |= self.members.tick(now);
        let beat = self.members.heartbeat(beat, now);
        self.is_stale |= beat == Beat::Back;
        beat != Beat::Unknown
    }

    /// Notes that a node is to be taken away, or not any more.
    pub fn set_draining(&mut self, node: NodeId, is_draining: bool) {
        self.is_stale |= self.members.set_draining(node, is_draining);
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: NodeId) {
        self.members.remove(node);
        self.is_stale = true;
    }

    /// Lets time pass for the nodes alone.
    pub fn tick(&mut self, now: Instant) {
        self.is_stale |= self.members.tick(now);
    }

    /// Takes what is known of a chunk that a node has just reported. If it still has too few copies after a
    /// while, it is repaired; one that came late may be one too many.
    pub fn reported(&mut self, copies: ChunkCopies, now: Instant) {
        if copies.holders.len() >= copies.wanted {
            self.young.remove(&copies.chunk);
            self.note(copies, now);
        } else if self.young.len() < YOUNG_MAX || self.young.contains_key(&copies.chunk) {
            self.young.insert(copies.chunk, (now, copies));
        } else {
            self.is_stale = true;
        }
    }

    /// Takes what is known of chunks of which a copy was lost.
    pub fn lost(&mut self, chunks: Vec<ChunkCopies>, now: Instant) {
        chunks.into_iter().for_each(|copies| self.note(copies, now));
    }

    /// Returns the nodes that answer and are to stay: copies on them can be counted on.
    pub fn live(&self, now: Instant) -> Vec<NodeId> {
        let is_live = |id: &NodeId| self.members.standing(*id, now) == Standing::Live;
        let members = self.members.all().into_iter().map(|member| member.id);
        members.filter(is_live).collect()
    }

    /// Has all chunks looked at anew.
    pub const fn request_scan(&mut self) {
        self.is_stale = true;
    }

    /// Returns what the last whole scan found.
    pub const fn summary(&self) -> Option<(Summary, Instant)> {
        self.last_summary
    }

    /// Returns true while a scan is under way, or about to be.
    pub const fn is_scanning(&self) -> bool {
        self.scan.is_some() || self.is_stale
    }

    /// Returns what repair does.
    pub fn repairs(&self) -> RepairFigures {
        self.repairs.figures()
    }

    /// Returns nodes for a new chunk, the first to be sent to by its client; fewer than wanted if there are
    /// not more.
    pub fn place(&mut self, count: usize, len: u64, now: Instant) -> Vec<Member> {
        let wanted = Wanted {
            count,
            len,
            holders: &[],
        };
        self.members
            .choose(self.config.placement, wanted, &mut self.random, now)
    }

    /// Notes that a chunk goes to a node.
    pub fn promise(&mut self, node: NodeId, len: u64) {
        self.members.promise(node, len);
    }

    /// Takes an event, and returns what is to be done now.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => self.note_young(now),
            Event::Scanned { page, next } => self.scanned(page, next, now),
            Event::ScanFailed => {
                if let Some(scan) = &mut self.scan {
                    scan.is_reading = false;
                    scan.not_before = Some(now + SCAN_RETRY);
                }
            }
            Event::Ended {
                chunk,
                is_done,
                copies,
            } => {
                let ended = Ended { is_done, copies };
                self.repairs.ended(chunk, ended, &self.members, now);
            }
        }
        self.next(now)
    }

    fn next(&mut self, now: Instant) -> Vec<Action> {
        self.is_stale |= self.members.tick(now);
        // What the last scan found is not so any more.
        let is_done = self.repairs.carried_out() != self.carried_out_at_scan;
        self.is_stale |= is_done && self.scan.is_none() && self.repairs.is_idle();
        let mut actions = Vec::new();
        actions.extend(self.next_scan(now));
        let (placement, random) = (self.config.placement, &mut self.random);
        let orders = self.repairs.next(&mut self.members, placement, random, now);
        actions.extend(orders.copies.into_iter().map(Action::Copy));
        actions.extend(orders.drops.into_iter().map(Action::Drop));
        actions
    }

    /// Looks at chunks again that had too few copies when they were reported.
    fn note_young(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= YOUNG_FOR;
        let old = self.young.extract_if(|_, (at, _)| is_old(*at));
        let old: Vec<_> = old.map(|(_, (_, copies))| copies).collect();
        old.into_iter().for_each(|copies| self.note(copies, now));
    }

    fn note(&mut self, copies: ChunkCopies, now: Instant) {
        if let Some(rank) = rank(&copies.assess(&self.members, now)) {
            self.repairs.note(copies, rank);
        }
    }

    fn next_scan(&mut self, now: Instant) -> Option<Action> {
        if self.scan.is_none() {
            let is_time = self
                .last_scan
                .is_none_or(|last| now.saturating_duration_since(last) >= SCAN_PERIOD);
            if !(self.is_stale || is_time) {
                return None;
            }
            self.is_stale = false;
            self.carried_out_at_scan = self.repairs.carried_out();
            self.last_scan = Some(now);
            self.scan = Some(Scan::default());
        }
        let scan = self.scan.as_mut()?;
        let is_early = scan.not_before.is_some_and(|at| at > now);
        if scan.is_reading || is_early || !self.repairs.has_room() {
            return None;
        }
        scan.is_reading = true;
        Some(Action::Scan { after: scan.after })
    }

    fn scanned(&mut self, page: Vec<ChunkCopies>, next: Option<ChunkId>, now: Instant) {
        let Some(mut scan) = self.scan.take() else {
            return;
        };
        let tolerance = self.config.repair.tolerance;
        let may_move = scan.pass == Pass::All && self.members.is_uneven(tolerance, now);
        for copies in page {
            let assessment = copies.assess(&self.members, now);
            if scan.pass == Pass::All {
                scan.summary.count(&assessment);
            }
            match rank(&assessment) {
                Some(rank) if scan.pass == Pass::All || rank <= 1 => {
                    self.repairs.note(copies, rank);
                }
                None if may_move
                    && self.repairs.has_room_for_moves()
                    && self.members.better_place(&copies, tolerance, now).is_some() =>
                {
                    self.repairs.note(copies, RANK_MOVE);
                }
                _ => {}
            }
        }
        scan.is_reading = false;
        scan.after = next;
        match (next, scan.pass) {
            (Some(_), _) => self.scan = Some(scan),
            (None, Pass::LastCopies) => {
                scan.pass = Pass::All;
                self.scan = Some(scan);
            }
            (None, Pass::All) => self.last_summary = Some((scan.summary, now)),
        }
    }
}

impl Summary {
    fn count(&mut self, assessment: &Assessment) {
        self.chunks += 1;
        match assessment {
            // What is on its way out is no copy too many.
            Assessment::Enough | Assessment::Unneeded { .. } => {}
            Assessment::TooFew { .. } => self.too_few += 1,
            Assessment::Unreachable => self.unreachable += 1,
            Assessment::TooMany { .. } => self.too_many += 1,
        }
    }
}
