//! Keeps a datanode registered: registers, then says every two seconds that it lives.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::backoff::Backoff;
use lfsfs_proto::status::Fault;
use tokio::sync::oneshot;

use super::DataNode;

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

/// The task that keeps a datanode registered.
#[derive(Debug)]
pub(crate) struct Agent {
    node: Arc<DataNode>,
    registered: Option<oneshot::Sender<()>>,
}

impl Agent {
    /// Prepares the task; `registered` is told once, after the first registration.
    pub(crate) fn new(node: Arc<DataNode>, registered: oneshot::Sender<()>) -> Self {
        let registered = Some(registered);
        Self { node, registered }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let version = self.register().await;
            if let Some(registered) = self.registered.take() {
                // Who waited for it may have given up.
                let _ = registered.send(());
            }
            self.beat(version).await;
        }
    }

    /// Registers, however long that takes.
    async fn register(&self) -> u64 {
        let seed = u64::from(self.node.id.0[0]);
        for delay in RETRY.delays(seed) {
            match self.try_register().await {
                Ok(version) => return version,
                Err(fault) => tracing::warn!(reason = fault.message, "cannot register yet"),
            }
            tokio::time::sleep(delay).await;
        }
        unreachable!("the delays do not end")
    }

    async fn try_register(&self) -> Result<u64, Fault> {
        let info = self.node.info().await?;
        self.node.link.register(info).await
    }

    /// Sends heartbeats until the coordinator asks for a new registration.
    async fn beat(&self, mut version: u64) {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            match self.try_beat(version).await {
                Ok(Some(newer)) => version = newer,
                Ok(None) => return,
                Err(fault) => tracing::warn!(reason = fault.message, "a heartbeat was lost"),
            }
        }
    }

    /// Returns the version of the table of nodes; none asks for a registration.
    async fn try_beat(&self, version: u64) -> Result<Option<u64>, Fault> {
        let info = self.node.info().await?;
        let answer = self.node.link.heartbeat(info, version).await?;
        Ok(answer.known.then_some(answer.to_version))
    }
}
