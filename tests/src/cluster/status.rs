//! What the coordinator says of a cluster.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Cluster;

/// How often the cluster is asked whether it is as it should be.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Cluster {
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
            let is_silent = |node: &Value| node["state"] == "offline";
            nodes
                .iter()
                .any(|node| node["address"] == address && is_silent(node))
        });
    }
}
