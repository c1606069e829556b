//! A coordinator and datanodes, each a process of its own, and a client.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use serde_json::Value;

use crate::world::World;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the cluster is asked whether it is as it should be.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A cluster in the scratch directory of a world, whose client asks the coordinator. Dropping it ends all of
/// its processes.
#[derive(Debug)]
pub struct Cluster {
    // Ended before the directory goes.
    nodes: Vec<Node>,
    _coordinator: Program,
    /// The client and its places.
    pub world: World,
}

#[derive(Debug)]
struct Node {
    program: Option<Program>,
    address: String,
}

impl Cluster {
    /// Starts a coordinator with further arguments, and as many datanodes.
    ///
    /// # Panics
    /// Where one does not say that it listens.
    #[must_use]
    pub fn new(nodes: usize, arguments: &[&str]) -> Self {
        let mut world = World::without_server();
        let mut command = world.lfsfsd(["coordinator", "--listen", "127.0.0.1:0"]);
        command.arg("--data").arg(world.path("coordinator"));
        command.args(arguments);
        let (coordinator, address) = started(command);
        world.set_address(&address);
        let mut cluster = Self {
            nodes: Vec::new(),
            _coordinator: coordinator,
            world,
        };
        for _ in 0..nodes {
            cluster.start_node(&[]);
        }
        cluster
    }

    /// Starts one more datanode with further arguments, and returns its number.
    pub fn start_node(&mut self, arguments: &[&str]) -> usize {
        let number = self.nodes.len();
        let data = self.world.path(&format!("node-{number}"));
        let mut command = self.world.lfsfsd(["datanode", "--listen", "127.0.0.1:0"]);
        command.args(["--coordinator", self.world.address()]);
        command.arg("--data").arg(data).args(arguments);
        let (program, address) = started(command);
        let program = Some(program);
        self.nodes.push(Node { program, address });
        number
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

    /// Returns host:port of a datanode.
    #[must_use]
    pub fn address_of(&self, number: usize) -> &str {
        &self.nodes[number].address
    }

    /// Returns what `lfsfs node list` says of a datanode.
    ///
    /// # Panics
    /// Where it is not listed.
    #[must_use]
    #[track_caller]
    pub fn node(&self, number: usize) -> Value {
        let address = self.address_of(number);
        let mut nodes = self.nodes().into_iter();
        let node = nodes.find(|node| node["address"] == address);
        node.unwrap_or_else(|| panic!("{address} is not listed"))
    }

    /// Returns what `lfsfs node list` says of all datanodes.
    ///
    /// # Panics
    /// Where it fails.
    #[must_use]
    #[track_caller]
    pub fn nodes(&self) -> Vec<Value> {
        let listed = self.world.lfsfs(["node", "list", "--json"]).ok();
        let node = |line| serde_json::from_str(line).expect("JSON");
        listed.lines().map(node).collect()
    }

    /// Returns what `lfsfs cluster status` says.
    ///
    /// # Panics
    /// Where it fails.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        self.world.lfsfs(["cluster", "status", "--json"]).json()
    }

    /// Waits until the state of the cluster is as wanted, and returns it.
    ///
    /// # Panics
    /// Where it is not so within `limit`.
    #[track_caller]
    pub fn wait_for(&self, limit: Duration, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "after {limit:?}: {status}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until all chunks were looked at and nothing waits to be copied or dropped.
    ///
    /// # Panics
    /// Where that is not so within `limit`.
    #[track_caller]
    pub fn wait_for_repair(&self, limit: Duration) -> Value {
        self.wait_for(limit, |status| {
            let is_idle = |key: &str| status[key] == 0;
            status["scanning"] == false && is_idle("waiting") && is_idle("repairing")
        })
    }

    /// Waits until the coordinator takes a datanode that was stopped for silent.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn wait_for_silence(&self, number: usize, limit: Duration) {
        let address = self.address_of(number);
        let _ = self.wait_for(limit, |status| {
            let nodes = status["nodes"].as_array().expect("a list");
            let is_silent =
                |node: &Value| matches!(node["state"].as_str(), Some("suspect" | "offline"));
            nodes
                .iter()
                .any(|node| node["address"] == address && is_silent(node))
        });
    }
}

fn started(command: std::process::Command) -> (Program, String) {
    let program = Program::start(command).expect("lfsfsd starts");
    let address = program
        .wait_for_word("listening on ", START_TIMEOUT)
        .expect("lfsfsd listens");
    (program, address)
}
