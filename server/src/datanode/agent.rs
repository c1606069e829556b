//! Keeps a datanode registered: it registers, reports the chunks that it has lost since its last
//! run, sends a heartbeat every two seconds, and compares its chunks with what the coordinator
//! knows every ten minutes. Beside that it reads its chunks again to find rot.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::backoff::Backoff;
use lfsfs_proto::status::Fault;
use tokio::sync::oneshot;

use super::{DataNode, scrub};

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time between two comparisons of the chunks on this disk with those that the coordinator knows.
const COMPARISON: Duration = Duration::from_secs(600);
/// The same where the coordinator was not told something: a chunk that it does not know is a copy too many, or the
/// only one. The longer that fails, the longer are the pauses.
const COMPARISON_SOON: Duration = Duration::from_secs(5);
const COMPARISON_AGAIN: Backoff = Backoff::new(COMPARISON_SOON, COMPARISON);
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

/// The task that keeps a datanode registered.
#[derive(Debug)]
pub(crate) struct Agent {
    node: Arc<DataNode>,
    registered: Option<oneshot::Sender<()>>,
}

impl Agent {
    /// Prepares the task. It sends on `registered` once, after the first registration.
    pub(crate) fn new(node: Arc<DataNode>, registered: oneshot::Sender<()>) -> Self {
        let registered = Some(registered);
        Self { node, registered }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let scrub = scrub::scrub(Arc::clone(&self.node));
        tokio::join!(self.keep_registered(), scrub);
    }

    async fn keep_registered(mut self) {
        loop {
            let version = self.register().await;
            // Before the first call is served, so that the first client that asks what is missing
            // is told.
            let is_told = self.report_losses().await;
            if let Some(registered) = self.registered.take() {
                // The receiver is gone if the start was given up meanwhile.
                let _ = registered.send(());
            }
            tokio::select! {
                () = self.beat(version) => {}
                () = self.compare(is_told) => {}
            }
        }
    }

    async fn report_losses(&self) -> bool {
        let node = Arc::clone(&self.node);
        let generation = node.link.generation();
        let work = async move {
            node.report_losses().await?;
            node.link.note_losses_reported(generation);
            Ok(())
        };
        self.finish(work, "lost chunks cannot be reported yet")
            .await
    }

    async fn report_finds(&self) -> bool {
        let node = Arc::clone(&self.node);
        let work = async move { node.report_finds().await };
        self.finish(work, "found chunks cannot be reported yet")
            .await
    }

    /// Does work that a stopping server waits for: what it asks of the coordinator is not cut off.
    /// Returns whether all of it was done.
    async fn finish(
        &self,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
        problem: &'static str,
    ) -> bool {
        let tasks = &self.node.tasks;
        let abort = tasks.abort.clone();
        let work = async move {
            tokio::select! {
                done = work => done,
                () = abort.cancelled() => Ok(()),
            }
        };
        match tasks.tracker.spawn(work).await {
            Ok(Ok(())) => return true,
            Ok(Err(fault)) => tracing::warn!(reason = fault.message, "{problem}"),
            Err(error) => tracing::error!(%error, "{problem}"),
        }
        false
    }

    /// Compares the chunks on this disk with those that the coordinator knows, again and again.
    async fn compare(&self, mut is_told: bool) {
        let again = || COMPARISON_AGAIN.delays(self.seed());
        let mut pauses = again();
        loop {
            is_told &= self.report_finds().await;
            let pause = if is_told {
                pauses = again();
                COMPARISON
            } else {
                pauses.next().unwrap_or(COMPARISON)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.node.unreported.notified() => tokio::time::sleep(COMPARISON_SOON).await,
            }
            is_told = self.report_losses().await;
        }
    }

    /// Datanodes do not come all at once.
    fn seed(&self) -> u64 {
        u64::from(self.node.id.0[0])
    }

    /// Registers, however long that takes.
    async fn register(&self) -> u64 {
        for delay in RETRY.delays(self.seed()) {
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
                Err(fault) => {
                    self.node.counters.heartbeats_lost.add(1);
                    tracing::warn!(reason = fault.message, "a heartbeat was lost");
                }
            }
        }
    }

    /// Sends one heartbeat. Returns the version of the table of nodes, or `None` if the coordinator
    /// asks for a registration.
    async fn try_beat(&self, version: u64) -> Result<Option<u64>, Fault> {
        let info = self.node.info().await?;
        let answer = self.node.link.heartbeat(info, version).await?;
        Ok(answer.known.then_some(answer.to_version))
    }
}
