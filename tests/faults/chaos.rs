//! Versions are made and read all the time, while parts of their cluster fail one after the other.
//!
//! The seed and what failed are printed; `LFSFS_CHAOS_SEED` begins with a seed.

#![expect(
    clippy::print_stdout,
    reason = "a failure is to tell what came before it"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lfsfs_tests::{Cluster, Manner, Numbers, Way, World};
use rustix::process::Signal;
use serde_json::Value;

use crate::versions::{Versions, check, new_project};

const NODES: usize = 5;
const COPIES: usize = 3;
/// How long a cluster may take to be whole again, on a machine with much else to do.
const CALM_MAX: Duration = Duration::from_secs(180);
/// When copies of a silent datanode count no more.
const REPAIR_AFTER: Duration = Duration::from_secs(6);
/// What one server may take without `--memory`.
const MEMORY_MAX: u64 = 512 << 20;
const CI_FAULTS: usize = 7;
const SOAK_FAULTS: usize = 60;
const SOAK_SEEDS: u64 = 10;

/// What fails.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Stopped,
    /// Its process ends and its disk is gone; it comes back as another datanode.
    Wiped,
    Disconnected(Way, Manner),
    CoordinatorKilled,
    CoordinatorStopped,
}

/// In this order at first, then at random.
const FAULTS: [Fault; 11] = [
    Fault::Killed,
    Fault::Wiped,
    Fault::CoordinatorKilled,
    Fault::Disconnected(Way::Both, Manner::Silent),
    Fault::Stopped,
    Fault::CoordinatorStopped,
    Fault::Disconnected(Way::ToNode, Manner::Closed),
    Fault::Disconnected(Way::ToNode, Manner::Silent),
    Fault::Disconnected(Way::ToCoordinator, Manner::Closed),
    Fault::Disconnected(Way::ToCoordinator, Manner::Silent),
    Fault::Disconnected(Way::Both, Manner::Closed),
];

/// The trees of the versions that were acknowledged.
type Acknowledged = Mutex<Vec<PathBuf>>;

fn trees(acknowledged: &Acknowledged) -> Vec<PathBuf> {
    let trees = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    trees.clone()
}

/// Makes one version after the other.
fn write(world: &World, seed: u64, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let (mut versions, mut numbers) = (Versions::default(), Numbers(seed));
    while !is_over.load(Ordering::Relaxed) {
        versions.import_next(world, &mut numbers);
        let mut trees = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        trees.clone_from(&versions.trees);
    }
}

/// Reads any version, again and again.
fn read(world: &World, seed: u64, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let mut numbers = Numbers(seed);
    while !is_over.load(Ordering::Relaxed) {
        let trees = trees(acknowledged);
        if trees.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        let number = usize::try_from(numbers.below(trees.len() as u64)).expect("small");
        check(world, number, &trees[number]);
    }
}

/// Lets something fail for a while.
fn fail(cluster: &mut Cluster, node: usize, fault: Fault, time: Duration) {
    match fault {
        Fault::Killed | Fault::Wiped => cluster.kill_node(node),
        Fault::Stopped => cluster.signal_node(node, Signal::STOP),
        Fault::Disconnected(way, manner) => cluster.disconnect(node, way, manner),
        Fault::CoordinatorKilled => cluster.kill_coordinator(),
        Fault::CoordinatorStopped => cluster.signal_coordinator(Signal::STOP),
    }
    std::thread::sleep(time);
    match fault {
        Fault::Killed => cluster.start_node_again(node),
        Fault::Wiped => {
            cluster.wipe_node(node);
            cluster.start_node_again(node);
            // Until then the copies of the datanode that is gone count.
            std::thread::sleep(2 * REPAIR_AFTER);
        }
        Fault::Stopped => cluster.signal_node(node, Signal::CONT),
        Fault::Disconnected(..) => cluster.reconnect(node),
        Fault::CoordinatorKilled => cluster.start_coordinator(),
        Fault::CoordinatorStopped => cluster.signal_coordinator(Signal::CONT),
    }
}

/// Waits until as many datanodes as there are processes are there, and every chunk has its copies: more failures at
/// once are beyond what is promised.
fn wait_until_calm(cluster: &Cluster) {
    let _ = cluster.wait_for(CALM_MAX, |status| {
        let nodes = status["nodes"].as_array().expect("a list").iter();
        let available = nodes.filter(|node| node["state"] == "available").count();
        let is_none = |key: &str| status[key] == 0;
        available == NODES
            && status["scanning"] == Value::Bool(false)
            && is_none("under_replicated")
    });
}

fn run(seed: u64, faults: usize) {
    println!("seed {seed}");
    let seconds = REPAIR_AFTER.as_secs().to_string();
    let mut cluster = Cluster::new(0, &["--repair-after", &seconds]);
    for number in 0..NODES {
        let zone = format!("zone-{}", number % 3);
        cluster.start_linked_node(&["--zone", &zone]);
    }
    new_project(&cluster.world);
    let (acknowledged, is_over) = (Acknowledged::default(), AtomicBool::new(false));
    let (writer, reader) = (cluster.world.another(), cluster.world.another());
    let mut numbers = Numbers(seed);
    std::thread::scope(|scope| {
        // Whatever fails, the others end.
        let _ending = Ending(&is_over);
        let writing = scope.spawn(|| {
            let _ending = Ending(&is_over);
            write(&writer, seed + 1, &acknowledged, &is_over);
        });
        let reading = scope.spawn(|| {
            let _ending = Ending(&is_over);
            read(&reader, seed + 2, &acknowledged, &is_over);
        });
        for round in 0..faults {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let any = usize::try_from(numbers.below(FAULTS.len() as u64)).expect("small");
            let fault = *FAULTS.get(round).unwrap_or(&FAULTS[any]);
            let node = usize::try_from(numbers.below(NODES as u64)).expect("small");
            let time = Duration::from_millis(500 + numbers.below(3000));
            println!("{fault:?} of {node} for {time:?}");
            fail(&mut cluster, node, fault, time);
            wait_until_calm(&cluster);
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().expect("the writer");
        reading.join().expect("the reader");
    });
    let trees = trees(&acknowledged);
    println!("{} versions", trees.len());
    cluster.wait_for_copies(COPIES, CALM_MAX);
    for (number, tree) in trees.iter().enumerate() {
        check(&cluster.world, number, tree);
    }
    for resident in cluster.residents() {
        assert!(resident.peak <= MEMORY_MAX, "{resident:?}");
    }
}

/// Tells the other threads to end when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn first_seed() -> u64 {
    let seed = std::env::var("LFSFS_CHAOS_SEED").ok();
    seed.map_or(1, |seed| seed.parse().expect("a number"))
}

#[test]
fn no_version_is_lost_and_no_reader_sees_an_error() {
    run(first_seed(), CI_FAULTS);
}

#[test]
#[ignore = "soak: many faults"]
fn no_version_is_lost_and_no_reader_sees_an_error_for_long() {
    for seed in first_seed()..first_seed() + SOAK_SEEDS {
        run(seed, SOAK_FAULTS);
    }
}
