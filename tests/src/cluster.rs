//! A coordinator and datanodes, each a process of its own, on free ports of loopback.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use rustix::process::Signal;

use crate::{World, eventually};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// So that a test finds rot soon.
const SCRUB_PERIOD: &str = "2";

/// A cluster in a scratch directory.
#[derive(Debug)]
pub struct Cluster {
    // Ended before the directory goes.
    coordinator: Option<Program>,
    nodes: Vec<Node>,
    arguments: Vec<String>,
    /// The client's side; its server is the coordinator.
    world: World,
}

#[derive(Debug)]
struct Node {
    process: Option<Program>,
    data: PathBuf,
    /// Where it listens; port 0 before its first start.
    address: String,
    zone: String,
}

impl Cluster {
    /// Starts a coordinator with further arguments, and so many datanodes in three zones.
    #[must_use]
    pub fn start(nodes: usize, arguments: &[&str]) -> Self {
        let mut cluster = Self {
            coordinator: None,
            nodes: Vec::new(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            world: World::without_server(),
        };
        cluster.start_coordinator();
        (0..nodes).for_each(|_| {
            cluster.add_node();
        });
        cluster
    }

    /// Returns the world of the clients.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Returns how many datanodes there are, running or not.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns true if there is no datanode.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Starts the coordinator, at the address where it was before if there was one.
    ///
    /// # Panics
    /// Where it does not say that it listens.
    pub fn start_coordinator(&mut self) {
        let listen = match self.world.address() {
            "127.0.0.1:1" => "127.0.0.1:0".to_owned(),
            before => before.to_owned(),
        };
        let mut command = self.world.lfsfsd(["coordinator", "--listen", &listen]);
        command.arg("--data").arg(self.world.path("coordinator"));
        command.args(&self.arguments);
        let (coordinator, address) = listening(command);
        self.world.set_address(&address);
        self.coordinator = Some(coordinator);
    }

    /// Ends the coordinator with SIGKILL.
    pub fn kill_coordinator(&mut self) {
        if let Some(mut coordinator) = self.coordinator.take() {
            coordinator.kill().expect("a process can be killed");
        }
    }

    /// Adds a datanode with an empty disk. Returns its number.
    pub fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node {
            process: None,
            data: self.world.path(&format!("node-{number}")),
            address: "127.0.0.1:0".to_owned(),
            zone: format!("zone-{}", number % 3),
        });
        self.start_node(number);
        number
    }

    /// Starts a datanode that does not run.
    ///
    /// # Panics
    /// Where it does not say that it listens.
    pub fn start_node(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut command = self.world.lfsfsd(["datanode", "--listen", &node.address]);
        command.args(["--coordinator", self.world.address(), "--zone", &node.zone]);
        command.args(["--scrub-period", SCRUB_PERIOD]);
        command.arg("--data").arg(&node.data);
        let (process, address) = listening(command);
        let node = &mut self.nodes[number];
        (node.process, node.address) = (Some(process), address);
    }

    /// Returns host:port of a datanode.
    #[must_use]
    pub fn node_address(&self, number: usize) -> &str {
        &self.nodes[number].address
    }

    /// Ends a datanode with SIGKILL.
    pub fn kill_node(&mut self, number: usize) {
        if let Some(mut process) = self.nodes[number].process.take() {
            process.kill().expect("a process can be killed");
        }
    }

    /// Ends a datanode with SIGTERM.
    ///
    /// # Panics
    /// Where it does not end well.
    pub fn stop_node(&mut self, number: usize) {
        if let Some(mut process) = self.nodes[number].process.take() {
            let status = process
                .terminate(END_TIMEOUT)
                .expect("it ends when told to");
            assert!(status.success(), "{status}: {}", process.output());
        }
    }

    /// Sends a signal to a datanode, such as SIGSTOP.
    pub fn signal_node(&self, number: usize, signal: Signal) {
        if let Some(process) = &self.nodes[number].process {
            process.signal(signal).expect("a process gets a signal");
        }
    }

    /// Removes everything that a datanode has kept, which must not run. It comes back as another node.
    pub fn wipe_node(&self, number: usize) {
        fs::remove_dir_all(&self.nodes[number].data).expect("a directory can be removed");
    }

    /// Returns where a datanode keeps its data.
    #[must_use]
    pub fn node_data(&self, number: usize) -> &Path {
        &self.nodes[number].data
    }

    /// Returns the files of the chunks that a datanode has.
    #[must_use]
    pub fn chunk_files(&self, number: usize) -> Vec<PathBuf> {
        let chunks = self.nodes[number].data.join("chunks");
        let names = chunks_in(&chunks).into_iter();
        names
            .map(|name| chunks.join(&name[..2]).join(name))
            .collect()
    }

    /// Returns how many copies of each chunk are on the disks.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for node in &self.nodes {
            for chunk in chunks_in(&node.data.join("chunks")) {
                *copies.entry(chunk).or_default() += 1;
            }
        }
        copies
    }

    /// Waits until each chunk has so many copies on the disks.
    ///
    /// # Panics
    /// Where that takes longer than `limit`.
    #[track_caller]
    pub fn wait_for_copies(&self, count: usize, limit: Duration) {
        let has_all = || self.copies().values().all(|copies| *copies == count);
        assert!(
            eventually(limit, has_all),
            "{:?}; the coordinator wrote:\n{}",
            self.copies(),
            self.coordinator
                .as_ref()
                .map(Program::output)
                .unwrap_or_default()
        );
    }
}

fn listening(command: Command) -> (Program, String) {
    let program = Program::start(command).expect("lfsfsd starts");
    let address = program.wait_for_word("listening on ", START_TIMEOUT);
    (program, address.expect("lfsfsd listens"))
}

fn chunks_in(chunks: &Path) -> Vec<String> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let prefixes = entries(chunks).filter(|it| it.file_name().len() == 2);
    let files = prefixes.flat_map(|prefix| entries(&prefix.path()));
    files
        .filter_map(|file| file.file_name().into_string().ok())
        .collect()
}
