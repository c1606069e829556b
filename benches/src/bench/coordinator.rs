//! Row l: what a coordinator does in a second, and how long it takes to start, among ever more chunks.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lfsfs_remote::Remote;
use lfsfs_types::ProjectId;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Row;
use super::coordinator_calls::{Heart, Planner, Resolver, keep_alive};
use super::filled::{Chunks, NODES};
use super::line::{Bar, Line, Unit};
use super::load::{LoadClient, connect, newest, runtime, work};
use super::setting::Setting;
use super::writer::Writer;
use crate::instance::Instance;
use crate::{command, interrupt, sizes, text};

/// Clients at once, and datanodes that send heartbeats at once.
const CLIENTS: u8 = NODES;
/// Chunks of the smallest metadata. Each next one has ten times as many.
pub(super) const CHUNKS_MIN: u64 = 10_000;
/// How long a coordinator may take to read all metadata once.
const READ_MAX: Duration = Duration::from_secs(1800);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What the coordinator logs when it has read everything.
const WHOLE: &str = "the metadata is whole";

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let mut stores = Vec::new();
    for count in counts(setting.chunks()) {
        stores.push(Store::fill(setting, Chunks { count })?);
    }
    let mut rounds = Vec::new();
    setting.rounds(|_| {
        let measured = stores.iter().map(|store| store.measure(setting));
        rounds.push(measured.collect::<anyhow::Result<Vec<_>>>()?);
        Ok(())
    })?;
    let lines = FIGURES.iter().map(|figure| figure.lines(&stores, &rounds));
    Ok(lines.flatten().collect())
}

/// Returns how many chunks are measured, up to the most.
fn counts(most: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(CHUNKS_MIN), |count| count.checked_mul(10))
        .take_while(move |count| *count <= most)
}

/// The metadata of a coordinator, and where it lies.
struct Store {
    chunks: Chunks,
    place: String,
}

/// What one round gave for one of them.
struct Measured {
    heartbeats: f64,
    resolves: f64,
    plans: f64,
    commits: f64,
    started: Duration,
    /// Until all metadata was read, to find damage and to count copies.
    read: Duration,
    started_after_kill: Duration,
    bytes: f64,
}

/// What is shown of it, for each number of chunks.
struct Figure {
    what: &'static str,
    unit: Unit,
    of: fn(&Measured) -> f64,
}

const FIGURES: [Figure; 8] = [
    figure("heartbeats", Unit::PerSecond, |it| it.heartbeats),
    figure("resolves of 10", Unit::PerSecond, |it| it.resolves),
    figure("plans", Unit::PerSecond, |it| it.plans),
    figure("commits", Unit::PerSecond, |it| it.commits),
    figure("start", Unit::Seconds, |it| it.started.as_secs_f64()),
    figure("start after kill -9", Unit::Seconds, |it| {
        it.started_after_kill.as_secs_f64()
    }),
    figure("all metadata read", Unit::Seconds, |it| {
        it.read.as_secs_f64()
    }),
    figure("metadata on disk", Unit::Bytes, |it| it.bytes),
];

const fn figure(what: &'static str, unit: Unit, of: fn(&Measured) -> f64) -> Figure {
    Figure { what, unit, of }
}

impl Figure {
    /// Returns a line for each number of chunks, beside the smallest.
    fn lines(&self, stores: &[Store], rounds: &[Vec<Measured>]) -> Vec<Line> {
        let count = |store: &Store| text::count(store.chunks.count);
        let smallest = stores.first().map(count).unwrap_or_default();
        let mut lines = Vec::new();
        for (index, store) in stores.iter().enumerate() {
            let what = match index {
                0 => format!("{}, {smallest} chunks", self.what),
                _ => format!("  {} chunks / {smallest}", count(store)),
            };
            let mut line = Line::new(Row::L, what, self.unit, Bar::None);
            for round in rounds {
                match index {
                    0 => line.push_ours((self.of)(&round[0])),
                    _ => line.push((self.of)(&round[0]), (self.of)(&round[index])),
                }
            }
            lines.push(line);
        }
        lines
    }
}

impl Store {
    fn fill(setting: &Setting, chunks: Chunks) -> anyhow::Result<Self> {
        let place = format!("chunks-{}", chunks.count);
        let dir = setting.place(&place);
        fs::create_dir(&dir)?;
        let projects: Vec<_> = (0..CLIENTS).map(own_project).collect();
        chunks.fill(&dir.join("data"), &projects)?;
        setting.settle()?;
        Ok(Self { chunks, place })
    }

    fn measure(&self, setting: &Setting) -> anyhow::Result<Measured> {
        setting.settle()?;
        let runtime = runtime()?;
        let begun = Instant::now();
        let (coordinator, started) = self.start(setting, &runtime)?;
        let address = coordinator.address().to_owned();
        let hearts = runtime.block_on(Heart::register_all(&address))?;
        let inside = runtime.enter();
        let beating = keep_alive(&hearts);
        drop(inside);
        // Only then is the machine as idle as on any other day.
        wait_until_read(&coordinator)?;
        let read = begun.elapsed();
        let time = setting.point_time();
        let heartbeats = rate(&runtime, hearts, time)?;
        let clients = runtime.block_on(self.clients(&address))?;
        let resolves = rate(&runtime, clients.resolvers, time)?;
        let plans = rate(&runtime, clients.planners, time)?;
        let commits = rate(&runtime, clients.writers, time)?;
        drop(beating);
        let bytes = sizes::disk_usage(&coordinator.data())?;
        coordinator.kill()?;
        let (coordinator, started_after_kill) = self.start(setting, &runtime)?;
        coordinator.stop()?;
        Ok(Measured {
            heartbeats,
            resolves,
            plans,
            commits,
            started,
            read,
            started_after_kill,
            bytes,
        })
    }

    /// Starts the coordinator. Returns how long it took until a first call was answered, too.
    fn start(&self, setting: &Setting, runtime: &Runtime) -> anyhow::Result<(Instance, Duration)> {
        let started = Instant::now();
        let coordinator = setting.start_coordinator(&self.place, &["--replication", "1"])?;
        runtime.block_on(project(coordinator.address(), 0))?;
        Ok((coordinator, started.elapsed()))
    }

    async fn clients(&self, address: &str) -> anyhow::Result<Clients> {
        let mut clients = Clients::default();
        let files = [self.chunks.file(0), self.chunks.file(1)];
        for number in 0..CLIENTS {
            let (remote, project) = project(address, number).await?;
            let resolver = Resolver::new(remote.clone(), project, self.chunks, number.into());
            clients.resolvers.push(resolver);
            let planner = Planner::new(address, project).await?;
            clients.planners.push(planner);
            let writer = Writer::new(remote, &own_project(number), "file", files.clone()).await?;
            clients.writers.push(writer);
        }
        Ok(clients)
    }
}

/// Those that ask the coordinator.
#[derive(Default)]
struct Clients {
    resolvers: Vec<Resolver>,
    planners: Vec<Planner>,
    writers: Vec<Writer>,
}

/// The name of a client's own project: commits wait for no other client's.
fn own_project(number: u8) -> String {
    format!("client-{number}")
}

/// Finds the project of a client over a new connection.
async fn project(address: &str, number: u8) -> anyhow::Result<(Arc<dyn Remote>, ProjectId)> {
    let remote = connect(address)?;
    let newest = newest(&*remote, &own_project(number)).await?;
    Ok((remote, newest.project.id))
}

fn rate<C: LoadClient>(runtime: &Runtime, clients: Vec<C>, time: Duration) -> anyhow::Result<f64> {
    let (_, timings) = runtime.block_on(work(clients, time))?;
    Ok(timings.per_second())
}

/// Waits until the coordinator has read all metadata, once to find damage and once to count copies.
fn wait_until_read(coordinator: &Instance) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        if coordinator.output().contains(WHOLE) && !is_scanning(coordinator)? {
            return Ok(());
        }
        let is_time = started.elapsed() < READ_MAX;
        ensure!(is_time, "the coordinator still reads its metadata");
        thread::sleep(POLL_INTERVAL);
    }
}

fn is_scanning(coordinator: &Instance) -> anyhow::Result<bool> {
    let mut status = coordinator.lfsfs();
    let ran = command::run(status.args(["cluster", "status", "--json"]))?;
    let status: Value = serde_json::from_slice(&ran.stdout)?;
    Ok(status["scanning"] != false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metadata_has_ten_times_the_chunks() {
        let of = |most| counts(most).collect::<Vec<_>>();
        assert_eq!(of(1_000_000), [10_000, 100_000, 1_000_000]);
        assert_eq!(of(50_000), [10_000]);
        assert_eq!(of(u64::MAX).len(), 16);
    }

    #[test]
    fn the_smallest_is_what_the_others_stand_beside() {
        let store = |count| Store {
            chunks: Chunks { count },
            place: String::new(),
        };
        let measured = |commits| Measured {
            heartbeats: 1.0,
            resolves: 1.0,
            plans: 1.0,
            commits,
            started: Duration::ZERO,
            read: Duration::ZERO,
            started_after_kill: Duration::ZERO,
            bytes: 1.0,
        };
        let stores = [store(10_000), store(100_000)];
        let lines = FIGURES[3].lines(&stores, &[vec![measured(100.0), measured(50.0)]]);
        let names: Vec<_> = lines.iter().map(|line| line.what.as_str()).collect();
        assert_eq!(
            names,
            ["commits, 10,000 chunks", "  100,000 chunks / 10,000"]
        );
        assert!(lines[0].theirs.is_empty());
        assert!((lines[1].ratios().median() - 0.5).abs() < f64::EPSILON);
    }
}
