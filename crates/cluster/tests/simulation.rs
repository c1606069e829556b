//! A cluster in memory: real decisions, and a clock, disks and a network that are made up.
//!
//! Nodes join, stop, lose their disks, fill up, come back; the coordinator stops between any two steps
//! and another one begins with what is in the rows. In whatever order that happens:
//!
//! - a chunk that was acknowledged has a copy on a disk, as long as fewer disks are lost before repair than
//!   a write waits for;
//! - when everything is quiet, each chunk has as many copies as it should, and nothing is under way;
//! - no node has more than fits it, and copies do not move to and fro.
//!
//! `LFSFS_SIMULATION_SEED` replays one history, `LFSFS_SIMULATION_CASES` sets how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lfsfs_cluster::{
    Action, ChunkCopies, Cluster, ClusterConfig, CopyOrder, DropOrder, Event, Member, MemberState,
    RepairLimits,
};
use lfsfs_types::{ChunkId, NodeId, Timestamp};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

const CASES: u64 = 60;
const STEPS: usize = 1500;
const STEP: Duration = Duration::from_secs(2);
const WANTED: usize = 3;
const LEAST: usize = 2;
const CHUNK_LEN: u64 = 10;
const SCAN_PAGE: usize = 7;
/// Simulated time in which a quiet cluster must be whole.
const QUIET: Duration = Duration::from_secs(4 * 3600);

/// A datanode, its disk and its process.
#[derive(Debug)]
struct Node {
    zone: u8,
    capacity: u64,
    disk: BTreeSet<ChunkId>,
    generation: u64,
    is_running: bool,
    /// Whether it reaches the others.
    is_connected: bool,
    /// When orders and writes that it takes part in end.
    delay: Duration,
}

impl Node {
    fn answers(&self) -> bool {
        self.is_running && self.is_connected
    }

    fn used(&self) -> u64 {
        self.disk.len() as u64 * CHUNK_LEN
    }
}

enum Order {
    Copy(CopyOrder),
    Drop(DropOrder),
    Scan(Option<ChunkId>),
}

struct World {
    random: Xoshiro256PlusPlus,
    now: Instant,
    config: ClusterConfig,
    cluster: Cluster,
    nodes: BTreeMap<NodeId, Node>,
    /// The rows: which nodes have reported a chunk.
    rows: BTreeMap<ChunkId, Vec<NodeId>>,
    generations: BTreeMap<NodeId, u64>,
    draining: BTreeSet<NodeId>,
    acknowledged: BTreeSet<ChunkId>,
    orders: Vec<(Instant, Order)>,
    next_chunk: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let config = ClusterConfig {
            repair: RepairLimits {
                copies_per_node: 2,
                bytes_per_second: random.random_range(10..200),
                waiting_max: random.random_range(3..50),
                ..RepairLimits::default()
            },
            seed,
            ..ClusterConfig::default()
        };
        let mut world = Self {
            now: Instant::now(),
            config,
            cluster: Cluster::new(config),
            nodes: BTreeMap::new(),
            rows: BTreeMap::new(),
            generations: BTreeMap::new(),
            draining: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            orders: Vec::new(),
            next_chunk: 0,
            random,
        };
        for _ in 0..world.random.random_range(3..7) {
            world.join();
        }
        world
    }

    fn join(&mut self) {
        let number = self.nodes.len() as u128 + 1;
        let id = NodeId(number.to_be_bytes());
        let node = Node {
            zone: self.random.random_range(0..3),
            capacity: self.random.random_range(200..2000) * CHUNK_LEN,
            disk: BTreeSet::new(),
            generation: 0,
            is_running: true,
            is_connected: true,
            delay: STEP,
        };
        self.nodes.insert(id, node);
        self.register(id);
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node never goes away")
    }

    fn member(&self, id: NodeId) -> Member {
        let node = &self.nodes[&id];
        Member {
            id,
            address: String::new(),
            generation: node.generation,
            zone: node.zone.to_string(),
            capacity: node.capacity,
            used: node.used(),
            chunks: node.disk.len() as u64,
            chunk_bytes: node.used(),
            is_draining: self.draining.contains(&id),
            state: MemberState::Available,
            seen: Timestamp::default(),
        }
    }

    /// A node registers, and tells what it has and what it has not.
    fn register(&mut self, id: NodeId) {
        let generation = self.generations.entry(id).or_default();
        *generation += 1;
        self.node(id).generation = *generation;
        let disk = self.nodes[&id].disk.clone();
        for (chunk, holders) in &mut self.rows {
            holders.retain(|holder| *holder != id || disk.contains(chunk));
            if disk.contains(chunk) && !holders.contains(&id) {
                holders.push(id);
            }
        }
        let member = self.member(id);
        self.cluster.register(member, self.now);
    }

    fn step(&mut self, event: Event) {
        for action in self.cluster.step(self.now, event) {
            let (delay, order) = match action {
                Action::Scan { after } => (STEP, Order::Scan(after)),
                Action::Copy(order) => (self.nodes[&order.to].delay, Order::Copy(order)),
                Action::Drop(order) => (self.nodes[&order.node].delay, Order::Drop(order)),
            };
            self.orders.push((self.now + delay, order));
        }
    }

    /// The coordinator stops; another one begins with the rows.
    fn restart_coordinator(&mut self) {
        self.orders.clear();
        self.config.seed += 1;
        self.cluster = Cluster::new(self.config);
        for id in self.nodes.keys() {
            self.cluster.known_from_before(self.member(*id), self.now);
        }
    }

    fn copies_on_disks(&self, chunk: ChunkId) -> usize {
        let has = |node: &&Node| node.disk.contains(&chunk);
        self.nodes.values().filter(has).count()
    }

    /// A client stores a chunk: it is acknowledged when enough nodes have it.
    fn write(&mut self) {
        let chosen = self.cluster.place(WANTED, CHUNK_LEN, self.now);
        self.next_chunk += 1;
        let mut id = [0; 32];
        let spread = self.next_chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id[..8].copy_from_slice(&spread.to_be_bytes());
        let chunk = ChunkId(id);
        let mut holders = Vec::new();
        for member in chosen {
            self.cluster.promise(member.id, CHUNK_LEN);
            let arrives = self.random.random_bool(0.9);
            let node = self.node(member.id);
            let fits = node.used() + CHUNK_LEN <= node.capacity;
            if node.answers() && fits && arrives {
                node.disk.insert(chunk);
                holders.push(member.id);
            }
        }
        if holders.len() >= LEAST {
            self.acknowledged.insert(chunk);
        }
        if !holders.is_empty() {
            let copies = ChunkCopies {
                chunk,
                len: CHUNK_LEN,
                wanted: WANTED,
                holders: holders.clone(),
            };
            self.cluster.reported(copies, self.now);
            self.rows.insert(chunk, holders);
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Scan(after) => self.read_page(after),
            Order::Copy(order) => {
                let source = order.from.iter().find(|id| {
                    let node = &self.nodes[*id];
                    node.answers() && node.disk.contains(&order.chunk)
                });
                let to = &self.nodes[&order.to];
                let fits = to.used() + CHUNK_LEN <= to.capacity;
                let is_done = source.is_some() && to.answers() && fits;
                if is_done {
                    self.node(order.to).disk.insert(order.chunk);
                    let holders = self.rows.get_mut(&order.chunk).expect("its row");
                    if !holders.contains(&order.to) {
                        holders.push(order.to);
                    }
                }
                // An answer may be lost.
                let is_told = is_done && self.random.random_bool(0.95);
                self.ended(order.chunk, is_told);
            }
            Order::Drop(order) => {
                // The coordinator looks at the rows once more before it lets a copy go.
                let holders = &self.rows[&order.chunk];
                let members = self.cluster.members();
                let is_live = |id: &NodeId| {
                    members
                        .find(*id)
                        .is_some_and(|it| it.state == MemberState::Available && !it.is_draining)
                };
                let others = holders
                    .iter()
                    .filter(|id| **id != order.node && is_live(id))
                    .count();
                let node = self.node(order.node);
                let is_done = node.answers() && others >= order.least;
                if is_done {
                    node.disk.remove(&order.chunk);
                    let holders = self.rows.get_mut(&order.chunk).expect("its row");
                    holders.retain(|id| *id != order.node);
                }
                self.ended(order.chunk, is_done);
            }
        }
    }

    /// Tells how an order ended, and what the rows say now, which cannot be read at times.
    fn ended(&mut self, chunk: ChunkId, is_done: bool) {
        let holders = self.rows[&chunk].clone();
        let is_read = self.random.random_bool(0.95);
        let copies = is_read.then_some(ChunkCopies {
            chunk,
            len: CHUNK_LEN,
            wanted: WANTED,
            holders,
        });
        self.step(Event::Ended {
            chunk,
            is_done,
            copies,
        });
    }

    fn read_page(&mut self, after: Option<ChunkId>) {
        if self.random.random_bool(0.05) {
            return self.step(Event::ScanFailed);
        }
        let behind = self
            .rows
            .iter()
            .filter(|(chunk, _)| after.is_none_or(|after| **chunk > after));
        let page: Vec<_> = behind
            .take(SCAN_PAGE + 1)
            .map(|(chunk, holders)| ChunkCopies {
                chunk: *chunk,
                len: CHUNK_LEN,
                wanted: WANTED,
                holders: holders.clone(),
            })
            .collect();
        let next = (page.len() > SCAN_PAGE).then(|| page[SCAN_PAGE - 1].chunk);
        let page = page.into_iter().take(SCAN_PAGE).collect();
        self.step(Event::Scanned { page, next });
    }

    /// Lets a step of time pass.
    fn pass(&mut self) {
        self.now += STEP;
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for id in ids {
            if !self.nodes[&id].answers() {
                continue;
            }
            let member = self.member(id);
            if !self.cluster.heartbeat(&member, self.now) {
                self.register(id);
            }
        }
        self.step(Event::Tick);
        let due = |(at, _): &mut (Instant, Order)| *at <= self.now;
        let due: Vec<_> = self.orders.extract_if(.., due).collect();
        for (_, order) in due {
            self.carry_out(order);
        }
    }

    /// Something goes wrong, or right again.
    fn disturb(&mut self) {
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        let id = ids[self.random.random_range(0..ids.len())];
        match self.random.random_range(0..12) {
            0 if self.nodes.len() < 12 => self.join(),
            1 => self.node(id).is_running = false,
            2..=4 => {
                for node in self.nodes.values_mut() {
                    node.is_connected = true;
                }
                self.start(id);
            }
            5 => self.node(id).is_connected = false,
            6 => self.wipe(id),
            7 => self.restart_coordinator(),
            8 => {
                let delay = STEP * self.random.random_range(1..40);
                self.node(id).delay = delay;
            }
            9 => {
                let is_draining = self.random.random_bool(0.4);
                if is_draining {
                    self.draining.insert(id);
                } else {
                    self.draining.remove(&id);
                }
                self.cluster.set_draining(id, is_draining);
            }
            _ => {}
        }
    }

    fn start(&mut self, id: NodeId) {
        if !self.nodes[&id].is_running {
            self.node(id).is_running = true;
            self.register(id);
        }
    }

    /// A node loses its disk, if every acknowledged chunk has as many copies as a write waits for: more
    /// losses at once than a write waits for are beyond what is promised.
    fn wipe(&mut self, id: NodeId) {
        let survives = |chunk: &ChunkId| {
            let here = usize::from(self.nodes[&id].disk.contains(chunk));
            here == 0 || self.copies_on_disks(*chunk) >= LEAST
        };
        if self.acknowledged.iter().all(survives) {
            let node = self.node(id);
            node.disk.clear();
            node.is_running = false;
        }
    }

    fn check(&self) {
        for chunk in &self.acknowledged {
            assert!(self.copies_on_disks(*chunk) > 0, "{chunk} is lost");
        }
        for (id, node) in &self.nodes {
            assert!(node.used() <= node.capacity, "{id} is overfilled");
        }
    }

    /// Everything works again; after a while each chunk has its copies.
    fn calm_down(&mut self) {
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        self.draining.clear();
        for id in &ids {
            let node = self.node(*id);
            (node.is_connected, node.delay) = (true, STEP);
            self.start(*id);
            self.cluster.set_draining(*id, false);
        }
        let until = self.now + QUIET;
        while self.now < until {
            self.pass();
        }
        self.check();
        for (chunk, holders) in &self.rows {
            let copies = self.copies_on_disks(*chunk);
            if copies > 0 {
                assert_eq!(
                    (copies, holders.len()),
                    (WANTED, WANTED),
                    "copies of {chunk}"
                );
            }
        }
        let repairs = self.cluster.repairs();
        let left = (repairs.waiting, repairs.to_move, repairs.under_way);
        assert_eq!(left, (0, 0, 0));
        let (summary, _) = self.cluster.summary().expect("a scan");
        assert_eq!((summary.too_few, summary.too_many), (0, 0), "{summary:?}");
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        if world.random.random_bool(0.15) {
            world.disturb();
        }
        if world.next_chunk < 150 && world.random.random_bool(0.3) {
            world.write();
        }
        world.pass();
        world.check();
    }
    world.calm_down();
}

/// Nodes of one size, half of which join when the others have all chunks.
#[test]
fn nodes_that_join_get_their_part_and_moving_comes_to_an_end() {
    let mut world = World::new(1);
    world.nodes.clear();
    world.restart_coordinator();
    let capacity = 100;
    let join = |world: &mut World| {
        world.join();
        let id = *world.nodes.keys().next_back().expect("it joined");
        (world.node(id).zone, world.node(id).capacity) = (0, capacity * CHUNK_LEN);
        world.register(id);
    };
    (0..3).for_each(|_| join(&mut world));
    while world.rows.len() < 80 {
        world.write();
        world.pass();
    }
    (0..3).for_each(|_| join(&mut world));
    world.calm_down();
    let counts = world.nodes.values().map(|node| node.disk.len() as u64);
    let (least, most) = (counts.clone().min(), counts.max());
    let (least, most) = (least.expect("nodes"), most.expect("nodes"));
    assert!((most - least) * 10 <= capacity, "{least} to {most}");
    // Half of all copies have to move, and each that moves does so once.
    let moved = world.cluster.repairs().moved;
    assert!((80..=120).contains(&moved), "{moved}");
}

/// Such as one that was under way to a node while another was chosen in its place.
#[test]
fn a_copy_that_comes_late_is_dropped_before_the_next_scan() {
    let mut world = World::new(2);
    world.nodes.clear();
    world.restart_coordinator();
    (0..4).for_each(|_| world.join());
    while world.acknowledged.is_empty() {
        world.write();
    }
    // The scans after the registrations end.
    (0..20).for_each(|_| world.pass());
    let (chunk, holders) = world.rows.iter().next().expect("a chunk");
    let (chunk, mut holders) = (*chunk, holders.clone());
    assert_eq!(holders.len(), WANTED);
    let mut late = world.nodes.keys().filter(|id| !holders.contains(id));
    let late = *late.next().expect("a node without it");
    world.node(late).disk.insert(chunk);
    holders.push(late);
    world.rows.insert(chunk, holders.clone());
    let copies = ChunkCopies {
        chunk,
        len: CHUNK_LEN,
        wanted: WANTED,
        holders,
    };
    world.cluster.reported(copies, world.now);
    (0..20).for_each(|_| world.pass());
    assert_eq!(world.copies_on_disks(chunk), WANTED);
}

#[test]
fn nothing_acknowledged_is_lost_and_repair_comes_to_an_end() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("LFSFS_SIMULATION_SEED") {
        return run(seed);
    }
    for seed in 0..number("LFSFS_SIMULATION_CASES").unwrap_or(CASES) {
        let ended = std::panic::catch_unwind(|| run(seed));
        assert!(ended.is_ok(), "LFSFS_SIMULATION_SEED={seed} replays it");
    }
}
