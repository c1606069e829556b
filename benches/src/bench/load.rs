//! Many clients at once: each does the same again and again, for a fixed time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lfsfs_client::{ClientConfig, Servers};
use lfsfs_remote::{Remote, Snapshot};
use lfsfs_types::Source;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::interrupt;
use crate::samples::Samples;
use crate::sizes::to_float;

/// A client of the server, with a connection of its own.
pub(super) trait LoadClient: Send + 'static {
    /// Does once what it does, and returns how long the answer took that is measured.
    fn step(&mut self) -> impl Future<Output = anyhow::Result<Duration>> + Send;
}

/// What clients did.
#[derive(Debug, Clone)]
pub(super) struct Timings {
    /// How long each step took, in seconds.
    pub(super) took: Samples,
    /// From the start of the first step to the end of the last one.
    pub(super) elapsed: Duration,
}

impl Timings {
    pub(super) fn count(&self) -> f64 {
        to_float(self.took.len() as u64)
    }

    pub(super) fn per_second(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }
}

/// Opens a connection of its own. It makes no call again: a call that fails ends the benchmark.
pub(super) fn connect(address: &str) -> anyhow::Result<Arc<dyn Remote>> {
    Ok(Servers::new(ClientConfig::new(address))?.remote())
}

/// Returns the newest version of a project.
pub(super) async fn newest(remote: &dyn Remote, project: &str) -> anyhow::Result<Snapshot> {
    let source: Source = project.parse()?;
    let found = remote.resolve_source(&source).await;
    found.with_context(|| format!("find the newest version of {project}"))
}

/// Starts what runs the clients.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("start the clients")
}

/// Lets all clients work at once, each until `time` is over and its step is done, once at
/// least. Returns them, for what they counted.
pub(super) async fn work<C: LoadClient>(
    clients: Vec<C>,
    time: Duration,
) -> anyhow::Result<(Vec<C>, Timings)> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(work_until(client, started + time));
    }
    let mut clients = Vec::new();
    let mut took = Samples::default();
    while let Some(ended) = running.join_next().await {
        let (client, its) = ended.context("a client panicked")??;
        clients.push(client);
        took.append(its);
    }
    let elapsed = started.elapsed();
    Ok((clients, Timings { took, elapsed }))
}

async fn work_until<C: LoadClient>(mut client: C, end: Instant) -> anyhow::Result<(C, Samples)> {
    let mut took = Samples::default();
    loop {
        interrupt::check()?;
        took.push(client.step().await?.as_secs_f64());
        if Instant::now() >= end {
            return Ok((client, took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many steps it did.
    struct Counter(u64);

    impl LoadClient for Counter {
        async fn step(&mut self) -> anyhow::Result<Duration> {
            tokio::task::yield_now().await;
            self.0 += 1;
            anyhow::ensure!(self.0 < u64::MAX - 1, "too many");
            Ok(Duration::from_millis(1))
        }
    }

    #[test]
    fn every_step_of_every_client_counts() {
        let clients = (0..3).map(|_| Counter(0)).collect();
        let time = Duration::from_millis(1);
        let (clients, timings) = runtime().unwrap().block_on(work(clients, time)).unwrap();
        let steps: u64 = clients.iter().map(|client| client.0).sum();
        assert!(clients.len() == 3 && steps >= 3);
        assert!((timings.count() - to_float(steps)).abs() < f64::EPSILON);
        assert!(timings.elapsed >= time);
    }

    #[test]
    fn one_failure_ends_all() {
        let clients = vec![Counter(0), Counter(u64::MAX - 2)];
        let work = work(clients, Duration::from_secs(600));
        assert!(runtime().unwrap().block_on(work).is_err());
    }
}
