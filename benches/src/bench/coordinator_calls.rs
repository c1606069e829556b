//! What datanodes and clients ask a coordinator all day: heartbeats, plans, and where contents lie.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lfsfs_proto::address::endpoint;
use lfsfs_proto::headers::Headers;
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_remote::Remote;
use lfsfs_types::{ContentId, ProjectId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::filled::{CONTENTS_PER_CHUNK, Chunks, NODES, node_id};
use super::load::LoadClient;

/// Contents that one call asks for, each of another chunk.
pub(super) const RESOLVED: usize = 10;

/// Larger than all chunks together that a point plans.
const CAPACITY: u64 = 1 << 60;
/// As a datanode does.
const HEARTBEAT: Duration = Duration::from_secs(2);

type Wire = InterceptedService<Channel, Headers>;

async fn channel(address: &str) -> anyhow::Result<Channel> {
    let connected = endpoint(address)?.tcp_nodelay(true).connect().await;
    connected.context("connect to the coordinator")
}

/// A datanode of which there is nothing but its calls to the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Heart {
    client: CoordinatorClient<Wire>,
    node: v1::NodeInfo,
    /// Of the table of nodes.
    version: u64,
}

impl Heart {
    /// Registers all datanodes that have chunks, each over a connection of its own.
    pub(super) async fn register_all(address: &str) -> anyhow::Result<Vec<Self>> {
        let mut hearts = Vec::new();
        for number in 0..NODES {
            hearts.push(Self::register(address, number).await?);
        }
        Ok(hearts)
    }

    async fn register(address: &str, number: u8) -> anyhow::Result<Self> {
        let channel = channel(address).await?;
        let mut client = CoordinatorClient::with_interceptor(channel, Headers::default());
        let node = v1::NodeInfo {
            id: node_id(number).as_bytes().to_vec(),
            // Nothing listens there: there are enough copies of each chunk, so the coordinator calls no datanode.
            address: "127.0.0.1:1".to_owned(),
            capacity_bytes: CAPACITY,
            ..v1::NodeInfo::default()
        };
        let request = v1::RegisterDataNodeRequest {
            node: Some(node.clone()),
        };
        let answer = client.register_data_node(request).await;
        let answer = answer.context("register a datanode")?.into_inner();
        Ok(Self {
            client,
            node: v1::NodeInfo {
                generation: answer.generation,
                ..node
            },
            version: answer.version,
        })
    }

    async fn beat(&mut self) -> anyhow::Result<()> {
        let request = v1::DataNodeHeartbeatRequest {
            node: Some(self.node.clone()),
            last_seen_version: self.version,
            losses_reported: true,
        };
        let answer = self.client.data_node_heartbeat(request).await;
        let answer = answer.context("send a heartbeat")?.into_inner();
        ensure!(answer.known, "the coordinator forgot a datanode");
        self.version = answer.to_version;
        Ok(())
    }

    /// Sends heartbeats as often as a datanode does, until it is dropped.
    async fn keep_beating(mut self) -> anyhow::Result<()> {
        loop {
            self.beat().await?;
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}

/// Keeps datanodes alive until it is dropped. Needs a tokio runtime.
pub(super) fn keep_alive(hearts: &[Heart]) -> JoinSet<anyhow::Result<()>> {
    hearts.iter().cloned().map(Heart::keep_beating).collect()
}

impl LoadClient for Heart {
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.beat().await?;
        Ok(started.elapsed())
    }
}

/// A client that asks where its next chunk goes.
#[derive(Debug)]
pub(super) struct Planner {
    client: FsClient<Wire>,
    project: ProjectId,
}

impl Planner {
    pub(super) async fn new(address: &str, project: ProjectId) -> anyhow::Result<Self> {
        let channel = channel(address).await?;
        let client = FsClient::with_interceptor(channel, Headers::default());
        Ok(Self { client, project })
    }
}

impl LoadClient for Planner {
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let request = v1::PlanUploadRequest {
            project_id: self.project.as_bytes().to_vec(),
            count: 1,
            ..v1::PlanUploadRequest::default()
        };
        let started = Instant::now();
        let answer = self.client.plan_upload(request).await;
        let took = started.elapsed();
        let slots = answer.context("plan a chunk")?.into_inner().slots;
        ensure!(slots.len() == 1, "{} slots for one chunk", slots.len());
        Ok(took)
    }
}

/// A client that asks where contents lie, chosen at random.
#[derive(Debug)]
pub(super) struct Resolver {
    remote: Arc<dyn Remote>,
    project: ProjectId,
    chunks: Chunks,
    random: SmallRng,
}

impl Resolver {
    /// `seed` decides which contents it asks for.
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        project: ProjectId,
        chunks: Chunks,
        seed: u64,
    ) -> Self {
        Self {
            remote,
            project,
            chunks,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Returns one content of each part of the chunks, so that no two lie in one chunk.
    fn next_contents(&mut self) -> Vec<ContentId> {
        let part = self.chunks.count / RESOLVED as u64;
        let mut one_of = |at| {
            let chunk = at * part + self.random.random_range(0..part);
            self.chunks.content(chunk * CONTENTS_PER_CHUNK)
        };
        (0..RESOLVED as u64).map(&mut one_of).collect()
    }
}

impl LoadClient for Resolver {
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let contents = self.next_contents();
        let started = Instant::now();
        let resolved = self.remote.resolve(self.project, &contents).await;
        let took = started.elapsed();
        let found = resolved.context("find contents")?.chunks.len();
        ensure!(found == RESOLVED, "{found} chunks are found");
        Ok(took)
    }
}
