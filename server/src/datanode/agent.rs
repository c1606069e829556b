//! Keeps a datanode registered: registers, says what was lost since it was here last, then says every
//! two seconds that it lives, and now and then what it has.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::backoff::Backoff;
use lfsfs_proto::status::Fault;
use tokio::sync::oneshot;

use super::DataNode;

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time between two comparisons of what is here with what the coordinator believes.
const COMPARISON: Duration = Duration::from_secs(600);
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
            // Before anybody is served, so that the first who asks what is missing is told.
            self.report_losses().await;
            if let Some(registered) = self.registered.take() {
                // Who waited for it may have given up.
                let _ = registered.send(());
            }
            tokio::select! {
                () = self.beat(version) => {}
                () = self.compare() => {}
            }
        }
    }

    async fn report_losses(&self) {
        let node = Arc::clone(&self.node);
        let work = async move { node.report_losses().await };
        self.finish(work, "lost chunks cannot be reported yet")
            .await;
    }

    async fn report_finds(&self) {
        let node = Arc::clone(&self.node);
        let work = async move { node.report_finds().await };
        self.finish(work, "found chunks cannot be reported yet")
            .await;
    }

    /// Does work that a stopping server waits for: what it asks of the coordinator is not cut off.
    async fn finish(
        &self,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
        problem: &'static str,
    ) {
        let tasks = &self.node.tasks;
        let abort = tasks.abort.clone();
        let work = async move {
            tokio::select! {
                done = work => done,
                () = abort.cancelled() => Ok(()),
            }
        };
        match tasks.tracker.spawn(work).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::warn!(reason = fault.message, "{problem}"),
            Err(error) => tracing::error!(%error, "{problem}"),
        }
    }

    /// Compares what is here with what the coordinator believes, again and again.
    async fn compare(&self) {
        loop {
            self.report_finds().await;
            tokio::time::sleep(COMPARISON).await;
            self.report_losses().await;
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
