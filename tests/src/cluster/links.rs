//! Datanodes behind proxies, so that the network between them and the others can fail.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use lfsfs_testkit::proxy::{Proxy, reserve_port};

use super::{Cluster, Node, owned};

/// Who cannot be reached by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Clients, other datanodes and the coordinator do not reach the datanode, which goes on to tell the
    /// coordinator that it lives.
    ToNode,
    /// The datanode does not reach the coordinator, and serves all others.
    ToCoordinator,
    /// Both.
    Both,
}

/// How a network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Connections end, and new ones are refused.
    Closed,
    /// Connections stay, and nothing comes through.
    Silent,
}

/// What a datanode and the others talk through.
#[derive(Debug)]
pub(super) struct Links {
    to_node: Proxy,
    to_coordinator: Proxy,
    _port: OwnedFd,
}

impl Links {
    /// Makes the links of a datanode that does not run yet. Returns where it has to listen, too.
    fn new(coordinator: &str) -> (Self, SocketAddr) {
        let (port, listen) = reserve_port().expect("a port");
        let coordinator = coordinator.parse().expect("an address");
        let links = Self {
            to_node: Proxy::start(listen).expect("a proxy"),
            to_coordinator: Proxy::start(coordinator).expect("a proxy"),
            _port: port,
        };
        (links, listen)
    }

    /// Returns the arguments of a datanode that uses them.
    pub(super) fn arguments(&self) -> [String; 4] {
        let [advertise, coordinator] =
            [&self.to_node, &self.to_coordinator].map(|proxy| proxy.address().to_string());
        [
            "--advertise".to_owned(),
            advertise,
            "--coordinator".to_owned(),
            coordinator,
        ]
    }

    fn of(&self, way: Way) -> Vec<&Proxy> {
        match way {
            Way::ToNode => vec![&self.to_node],
            Way::ToCoordinator => vec![&self.to_coordinator],
            Way::Both => vec![&self.to_node, &self.to_coordinator],
        }
    }
}

impl Cluster {
    /// Starts one more datanode, whose network can fail. The coordinator must keep its address.
    pub fn start_linked_node(&mut self, arguments: &[&str]) -> usize {
        let number = self.nodes.len();
        let (links, listen) = Links::new(self.world.address());
        self.nodes.push(Node {
            program: None,
            listen: listen.to_string(),
            address: links.to_node.address().to_string(),
            data: self.world.path(&format!("node-{number}")),
            arguments: owned(arguments),
            links: Some(links),
        });
        self.start_node_again(number);
        number
    }

    /// Lets the network of a datanode fail.
    ///
    /// # Panics
    /// Where the datanode was not started with links.
    pub fn disconnect(&self, number: usize, way: Way, manner: Manner) {
        for proxy in self.links(number).of(way) {
            match manner {
                Manner::Closed => proxy.cut(),
                Manner::Silent => proxy.stall(),
            }
        }
    }

    /// Lets the network of a datanode work again: what was under way arrives.
    ///
    /// # Panics
    /// Where the datanode was not started with links, or a port is gone.
    pub fn reconnect(&self, number: usize) {
        for proxy in self.links(number).of(Way::Both) {
            proxy.restore().expect("the port of the proxy");
        }
    }

    fn links(&self, number: usize) -> &Links {
        self.nodes[number].links.as_ref().expect("links")
    }
}
