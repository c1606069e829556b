//! The copies of a chunk on other datanodes.
//!
//! While the chunk comes, each frame goes on to as many others as there should be copies. One that refuses,
//! fails or falls behind is given up, and the next of the slot gets the chunk from this disk. The client is
//! answered when enough copies are durable; the rest is made behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::DataNode;
use super::peers::{self, PaidFrame};
use super::transfers::Announced;

/// Frames that wait for one datanode.
const FRAMES_WAITING_MAX: usize = 4;
/// How long a datanode may hold up the others; then it is given up. One without which there are enough
/// copies for the answer is waited for less long: the client waits with it.
const BEHIND_MAX: Duration = Duration::from_secs(10);
const BEHIND_MAX_UNNEEDED: Duration = Duration::from_secs(2);
/// Time that the copies behind the answer may take.
const REST_MAX: Duration = Duration::from_secs(10 * 60);

/// What the slot of a chunk says of its copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CopyPlan {
    /// How many nodes should have it, this one too.
    pub(super) copies: usize,
    /// How many must before the client is answered.
    pub(super) copies_min: usize,
    /// The other nodes, in the order in which they are tried.
    pub(super) nodes: Vec<v1::NodeInfo>,
}

impl CopyPlan {
    /// Returns the plan of an announcement: one copy, here, unless it is to be sent on.
    pub(super) fn of(request: &v1::PrepareChunkUploadRequest) -> Self {
        if !request.propagate {
            return Self::default();
        }
        let copies = request.copies.max(1) as usize;
        Self {
            copies,
            copies_min: (request.copies_min.max(1) as usize).min(copies),
            nodes: request.replicas.clone(),
        }
    }
}

/// The copies of one chunk that are under way.
pub(super) struct Replication {
    node: Arc<DataNode>,
    announced: Announced,
    plan: CopyPlan,
    spare: VecDeque<v1::NodeInfo>,
    /// Where each frame goes.
    live: Vec<mpsc::Sender<PaidFrame>>,
    /// Ends with what became of each copy. Dropped, it ends them all.
    sending: JoinSet<(v1::NodeInfo, Result<(), Fault>)>,
    have: Vec<v1::NodeInfo>,
}

impl Replication {
    /// Prepares the copies of a chunk.
    pub(super) fn new(node: &Arc<DataNode>, announced: Announced, plan: CopyPlan) -> Self {
        let others = plan.nodes.iter().filter(|it| it.id != node.id.as_bytes());
        Self {
            node: Arc::clone(node),
            announced,
            spare: others.cloned().collect(),
            plan,
            live: Vec::new(),
            sending: JoinSet::new(),
            have: Vec::new(),
        }
    }

    /// Begins to send to as many others as are needed.
    pub(super) fn begin(&mut self) {
        for _ in 1..self.plan.copies {
            let Some(to) = self.spare.pop_front() else {
                return;
            };
            let (frames, receiver) = mpsc::channel(FRAMES_WAITING_MAX);
            self.live.push(frames);
            self.send(to, receiver);
        }
    }

    /// Passes a frame on.
    pub(super) async fn forward(&mut self, frame: PaidFrame) {
        let mut number = 0;
        while let Some(frames) = self.live.get(number) {
            let behind_max = match self.live.len() >= self.plan.copies_min {
                true => BEHIND_MAX_UNNEEDED,
                false => BEHIND_MAX,
            };
            if frames.send_timeout(frame.clone(), behind_max).await.is_ok() {
                number += 1;
            } else {
                self.live.remove(number);
            }
        }
    }

    fn send(&mut self, to: v1::NodeInfo, frames: mpsc::Receiver<PaidFrame>) {
        let (node, announced) = (Arc::clone(&self.node), self.announced);
        self.sending.spawn(async move {
            let sent = peers::send(&node.datanodes, &to, &announced, frames).await;
            (to, sent)
        });
    }

    /// Sends the chunk from this disk to the next node. Returns false if there is none.
    fn send_from_disk(&mut self) -> bool {
        let Some(to) = self.spare.pop_front() else {
            return false;
        };
        let store = Arc::clone(&self.node.store);
        self.send(to, peers::frames_of(store, self.announced.chunk));
        true
    }

    /// Waits until enough copies are durable; the chunk is, here. What is left to do is done behind the
    /// caller. Calls `wait` from time to time.
    pub(super) async fn finish<W: Future<Output = Result<(), Fault>>>(
        mut self,
        mut wait: impl FnMut() -> W,
    ) -> Result<Vec<v1::NodeInfo>, Fault> {
        self.live.clear();
        self.have.push(self.node.info().await?);
        while self.have.len() < self.plan.copies_min {
            // What falls short now is made up at once.
            while self.have.len() + self.sending.len() < self.plan.copies_min {
                if !self.send_from_disk() {
                    return Err(self.too_few());
                }
            }
            tokio::select! {
                Some(ended) = self.sending.join_next() => self.take(ended),
                () = tokio::time::sleep(super::upload::TELL_INTERVAL) => wait().await?,
            }
        }
        let have = self.have.clone();
        if have.len() < self.plan.copies {
            self.finish_behind();
        }
        Ok(have)
    }

    fn take(&mut self, ended: Result<(v1::NodeInfo, Result<(), Fault>), tokio::task::JoinError>) {
        let chunk = self.announced.chunk;
        let counters = &self.node.counters;
        match ended {
            Ok((node, Ok(()))) => {
                counters.copies_made.add(1);
                counters.sent_copy_bytes.add(self.announced.len);
                self.have.push(node);
            }
            Ok((node, Err(fault))) => {
                counters.copies_failed.add(1);
                let (address, reason) = (node.address, fault.message);
                tracing::warn!(%chunk, address, reason, "a copy was not made");
            }
            Err(error) => {
                counters.copies_failed.add(1);
                tracing::error!(%chunk, %error, "a copy was not made");
            }
        }
    }

    /// Makes the rest of the copies behind the caller. What fails here, the coordinator sees later.
    fn finish_behind(mut self) {
        let (tracker, abort) = (
            self.node.tasks.tracker.clone(),
            self.node.tasks.abort.clone(),
        );
        tracker.spawn(async move {
            let rest = async {
                while self.have.len() < self.plan.copies {
                    let begun = self.have.len() + self.sending.len();
                    if begun < self.plan.copies && self.send_from_disk() {
                        continue;
                    }
                    match self.sending.join_next().await {
                        Some(ended) => self.take(ended),
                        None => break,
                    }
                }
            };
            tokio::select! {
                () = rest => {}
                () = tokio::time::sleep(REST_MAX) => {}
                () = abort.cancelled() => {}
            }
        });
    }

    fn too_few(&self) -> Fault {
        let (have, least) = (self.have.len(), self.plan.copies_min);
        let text = format!("{have} of {least} datanodes that a write needs have the chunk");
        Fault::new(FaultKind::Unavailable, text)
    }
}
