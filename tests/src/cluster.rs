//! A coordinator and datanodes, each a process of its own, and a client.

mod disks;
mod links;
mod status;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use rustix::process::Signal;

use crate::meter::Resident;
use crate::world::World;

use self::links::Links;
pub use self::links::{Manner, Way};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster in the scratch directory of a world, whose client asks the coordinator. Dropping it ends all of
/// its processes.
#[derive(Debug)]
pub struct Cluster {
    // Ended before the directory goes.
    nodes: Vec<Node>,
    coordinator: Option<Program>,
    /// Arguments of the coordinator.
    arguments: Vec<String>,
    /// The client and its places.
    pub world: World,
}

#[derive(Debug)]
struct Node {
    program: Option<Program>,
    /// Where it listens.
    listen: String,
    /// Where others reach it.
    address: String,
    data: PathBuf,
    arguments: Vec<String>,
    /// What it and others talk through.
    links: Option<Links>,
}

impl Cluster {
    /// Starts a coordinator with further arguments, and as many datanodes.
    ///
    /// # Panics
    /// Where one does not say that it listens.
    #[must_use]
    pub fn new(nodes: usize, arguments: &[&str]) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            coordinator: None,
            arguments: owned(arguments),
            world: World::without_server(),
        };
        cluster.start_coordinator();
        for _ in 0..nodes {
            cluster.start_node(&[]);
        }
        cluster
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
        let (coordinator, address) = started(command);
        self.world.set_address(&address);
        self.coordinator = Some(coordinator);
    }

    /// Ends the coordinator with SIGKILL.
    pub fn kill_coordinator(&mut self) {
        if let Some(mut coordinator) = self.coordinator.take() {
            coordinator.kill().expect("a process can be killed");
        }
    }

    /// Starts one more datanode with further arguments, and returns its number.
    pub fn start_node(&mut self, arguments: &[&str]) -> usize {
        let data = self.world.path(&format!("node-{}", self.nodes.len()));
        self.start_node_at(&data, arguments)
    }

    /// Starts one more datanode that keeps everything in this directory.
    pub fn start_node_at(&mut self, data: &Path, arguments: &[&str]) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node {
            program: None,
            listen: "127.0.0.1:0".to_owned(),
            address: String::new(),
            data: data.to_owned(),
            arguments: owned(arguments),
            links: None,
        });
        self.start_node_again(number);
        number
    }

    /// Starts a datanode that does not run, as it was started before.
    ///
    /// # Panics
    /// Where it does not say that it listens.
    pub fn start_node_again(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut command = self.world.lfsfsd(["datanode", "--listen", &node.listen]);
        command.arg("--data").arg(&node.data).args(&node.arguments);
        match &node.links {
            Some(links) => command.args(links.arguments()),
            None => command.args(["--coordinator", self.world.address()]),
        };
        let (program, listen) = started(command);
        let node = &mut self.nodes[number];
        if node.links.is_none() {
            node.address.clone_from(&listen);
        }
        (node.program, node.listen) = (Some(program), listen);
    }

    /// Starts one more datanode, that has this id.
    ///
    /// # Panics
    /// Where its data cannot be prepared.
    pub fn start_node_with_id(&mut self, id: &str) -> usize {
        let data = self.world.path(&format!("node-{}", self.nodes.len()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&data)
            .expect("a directory");
        fs::write(data.join("node-id"), id).expect("a file");
        self.start_node(&[])
    }

    /// Ends a datanode with SIGTERM.
    ///
    /// # Panics
    /// Where it does not end, or not well.
    pub fn stop_node(&mut self, number: usize) {
        if let Some(mut program) = self.nodes[number].program.take() {
            let status = program.terminate(END_TIMEOUT).expect("lfsfsd ends");
            assert!(status.success(), "{status}: {}", program.output());
        }
    }

    /// Ends a datanode with SIGKILL.
    pub fn kill_node(&mut self, number: usize) {
        if let Some(mut program) = self.nodes[number].program.take() {
            program.kill().expect("a process can be killed");
        }
    }

    /// Sends a signal to a datanode, such as SIGSTOP.
    pub fn signal_node(&self, number: usize, signal: Signal) {
        if let Some(program) = &self.nodes[number].program {
            program.signal(signal).expect("a process gets a signal");
        }
    }

    /// Sends a signal to the coordinator.
    pub fn signal_coordinator(&self, signal: Signal) {
        if let Some(program) = &self.coordinator {
            program.signal(signal).expect("a process gets a signal");
        }
    }

    /// Returns the memory of all processes that run.
    #[must_use]
    pub fn residents(&self) -> Vec<Resident> {
        let nodes = self.nodes.iter().filter_map(|node| node.program.as_ref());
        self.coordinator
            .iter()
            .chain(nodes)
            .map(Resident::of)
            .collect()
    }

    /// Returns host:port of the metrics of the coordinator, which was started with them.
    ///
    /// # Panics
    /// Where it does not tell.
    #[must_use]
    #[track_caller]
    pub fn metrics_of_coordinator(&self) -> String {
        metrics(self.coordinator.as_ref())
    }

    /// Returns host:port of the metrics of a datanode, which was started with them.
    ///
    /// # Panics
    /// Where it does not tell.
    #[must_use]
    #[track_caller]
    pub fn metrics_of(&self, number: usize) -> String {
        metrics(self.nodes[number].program.as_ref())
    }

    /// Returns host:port of a datanode.
    #[must_use]
    pub fn address_of(&self, number: usize) -> &str {
        &self.nodes[number].address
    }
}

#[track_caller]
fn metrics(program: Option<&Program>) -> String {
    let program = program.expect("it runs");
    let told = program.wait_for_word("metrics on http://", START_TIMEOUT);
    let told = told.expect("it says where its metrics are");
    told.trim_end_matches("/metrics").to_owned()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn started(command: std::process::Command) -> (Program, String) {
    let program = Program::start(command).expect("lfsfsd starts");
    let address = program
        .wait_for_word("listening on ", START_TIMEOUT)
        .expect("lfsfsd listens");
    (program, address)
}
