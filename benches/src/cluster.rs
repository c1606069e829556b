//! A coordinator and datanodes of our own, below one scratch directory.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lfsfs_testkit::chunks;
use lfsfs_testkit::process::Program;
use lfsfs_testkit::proxy::{Proxy, reserve_port};
use serde_json::Value;

use crate::instance::{Instance, Programs};
use crate::{command, interrupt};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const ZONES: usize = 3;
/// How long a cluster may take to make all copies.
const WHOLE_MAX: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What all others reach a datanode through, as long as it is kept.
pub(crate) struct Link {
    pub(crate) proxy: Proxy,
    /// Keeps the port of the datanode from other processes.
    _port: OwnedFd,
}

/// A coordinator, its datanodes and the places of its clients.
pub(crate) struct Cluster {
    programs: Programs,
    base: PathBuf,
    /// Those that run. They end when dropped.
    nodes: BTreeMap<usize, Program>,
    pub(crate) coordinator: Arc<Instance>,
}

impl Cluster {
    /// Starts a coordinator with further arguments and as many datanodes, in three zones, that keep everything below
    /// `base`.
    pub(crate) fn start(
        programs: &Programs,
        base: &Path,
        nodes: usize,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let dir = base.join("server");
        let coordinator = Instance::start_role("coordinator", programs, &dir, arguments)?;
        let mut cluster = Self {
            programs: programs.clone(),
            base: base.to_owned(),
            nodes: BTreeMap::new(),
            coordinator: Arc::new(coordinator),
        };
        (0..nodes).try_for_each(|number| cluster.start_node(number))?;
        Ok(cluster)
    }

    pub(crate) fn start_node(&mut self, number: usize) -> anyhow::Result<()> {
        self.start_node_with(number, &["--listen", "127.0.0.1:0"])
    }

    /// Starts a datanode that tells all others the address of a proxy instead of its own.
    pub(crate) fn start_node_behind_proxy(&mut self, number: usize) -> anyhow::Result<Link> {
        let (port, listen) = reserve_port()?;
        let proxy = Proxy::start(listen)?;
        let (listen, advertise) = (listen.to_string(), proxy.address().to_string());
        self.start_node_with(number, &["--listen", &listen, "--advertise", &advertise])?;
        Ok(Link { proxy, _port: port })
    }

    fn start_node_with(&mut self, number: usize, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.programs.lfsfsd);
        command.arg("datanode").args(arguments);
        command.args(["--coordinator", self.coordinator.address()]);
        command
            .arg("--zone")
            .arg(format!("zone-{}", number % ZONES));
        command.arg("--data").arg(self.node_data(number));
        let node = Program::start(command)?;
        node.wait_for_word("listening on ", START_TIMEOUT)?;
        self.nodes.insert(number, node);
        Ok(())
    }

    /// Ends a datanode with SIGKILL.
    pub(crate) fn kill_node(&mut self, number: usize) -> anyhow::Result<()> {
        match self.nodes.remove(&number) {
            Some(mut node) => node.kill().map(drop).context("kill a datanode"),
            None => Ok(()),
        }
    }

    fn node_data(&self, number: usize) -> PathBuf {
        self.base.join(format!("node-{number}"))
    }

    /// Returns how many chunks each datanode that runs has.
    pub(crate) fn chunk_counts(&self) -> Vec<usize> {
        let nodes = self.nodes.keys();
        nodes
            .map(|number| chunks::names_in(&self.node_data(*number)).len())
            .collect()
    }

    /// Returns how many of the running datanodes have each chunk that there is, on one that is killed too.
    pub(crate) fn copies(&self) -> BTreeMap<String, usize> {
        let last = self.nodes.keys().next_back().copied().unwrap_or_default();
        let all = (0..=last).flat_map(|number| chunks::names_in(&self.node_data(number)));
        let mut copies: BTreeMap<_, _> = all.map(|chunk| (chunk, 0)).collect();
        for number in self.nodes.keys() {
            for chunk in chunks::names_in(&self.node_data(*number)) {
                *copies.entry(chunk).or_default() += 1;
            }
        }
        copies
    }

    /// Returns what `lfsfs cluster status` says.
    pub(crate) fn status(&self) -> anyhow::Result<Value> {
        let mut command = self.coordinator.lfsfs();
        let ran = command::run(command.args(["cluster", "status", "--json"]))?;
        serde_json::from_slice(&ran.stdout).context("understand the status")
    }

    /// Waits until each chunk has all of its copies. Returns when it was asked for that.
    pub(crate) fn wait_until_whole(&self) -> anyhow::Result<Instant> {
        self.wait_until(|status| {
            let keys = ["waiting", "repairing", "under_replicated"];
            status["scanning"] == false && keys.into_iter().all(|key| status[key] == 0)
        })
    }

    /// Waits until the status is as it should be. Returns when it was asked for.
    pub(crate) fn wait_until(&self, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<Instant> {
        let started = Instant::now();
        loop {
            interrupt::check()?;
            let asked = Instant::now();
            if is_so(&self.status()?) {
                return Ok(asked);
            }
            ensure!(started.elapsed() < WHOLE_MAX, "the cluster is not whole");
            thread::sleep(POLL_INTERVAL);
        }
    }
}
