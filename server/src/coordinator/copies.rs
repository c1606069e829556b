//! Carries out what the cluster decides about copies of chunks: reads chunks for it, and gives orders to
//! datanodes.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_cluster::{Action, ChunkCopies, CopyOrder, DropOrder, Event, Member};
use lfsfs_metadata::ChunkHolders;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ChunkId, NodeId};
use tokio::sync::mpsc;

use super::{Coordinator, nodes};
use crate::datanodes::message_within;

/// Time between two looks at what is to be done.
const TICK: Duration = Duration::from_millis(500);
/// Chunks of one page of a scan.
const SCAN_PAGE: usize = 2000;
/// How long a datanode may take to copy a chunk of the greatest length over a slow line.
const COPY_MAX: Duration = Duration::from_secs(15 * 60);
const DROP_MAX: Duration = Duration::from_secs(60);
/// Events that wait for their turn.
const EVENTS_MAX: usize = 64;

impl Coordinator {
    /// Keeps as many copies of each chunk as there should be, until it is dropped.
    pub(crate) async fn keep_copies(self: &Arc<Self>) {
        let (told, mut events) = mpsc::channel(EVENTS_MAX);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                _ = ticks.tick() => Event::Tick,
                Some(event) = events.recv() => event,
            };
            let now = self.clock.monotonic();
            let actions = self.cluster().step(now, event);
            for action in actions {
                let (coordinator, told) = (Arc::clone(self), told.clone());
                let abort = self.tasks.abort.clone();
                self.tasks.tracker.spawn(async move {
                    tokio::select! {
                        event = coordinator.carry_out(action) => {
                            // The loop is gone when the server stops.
                            drop(told.send(event).await);
                        }
                        () = abort.cancelled() => {}
                    }
                });
            }
        }
    }

    async fn carry_out(&self, action: Action) -> Event {
        match action {
            Action::Scan { after } => self.read_page(after).await,
            Action::Copy(order) => {
                let ended = self.copy(&order).await;
                log_end(order.chunk, order.to, "copied", &ended);
                self.ended(order.chunk, ended.is_ok()).await
            }
            Action::Drop(order) => {
                let ended = self.drop_copy(&order).await;
                log_end(order.chunk, order.node, "dropped", &ended);
                self.ended(order.chunk, ended.is_ok()).await
            }
        }
    }

    /// Returns the event for an order that has ended, with what is known of its chunk by now.
    async fn ended(&self, chunk: ChunkId, is_done: bool) -> Event {
        let read = self.metadata(move |metadata| metadata.holders_of(&[chunk]));
        let copies = match read.await {
            Ok(known) => known.into_iter().next().map(|it| self.copies_of(it)),
            Err(fault) => {
                tracing::warn!(%chunk, reason = fault.message, "who has a chunk cannot be read");
                None
            }
        };
        Event::Ended {
            chunk,
            is_done,
            copies,
        }
    }

    async fn read_page(&self, after: Option<ChunkId>) -> Event {
        let read = self.metadata(move |metadata| metadata.chunk_holders(after, SCAN_PAGE));
        match read.await {
            Ok(page) => Event::Scanned {
                next: page.items.last().filter(|_| page.more).map(|it| it.chunk),
                page: page
                    .items
                    .into_iter()
                    .map(|it| self.copies_of(it))
                    .collect(),
            },
            Err(fault) => {
                tracing::error!(
                    reason = fault.message,
                    "chunks cannot be read to count copies"
                );
                Event::ScanFailed
            }
        }
    }

    async fn copy(&self, order: &CopyOrder) -> Result<(), Fault> {
        let (to, from) = (self.member(order.to)?, self.members_of(&order.from));
        let request = self.datanodes.request(v1::CopyChunkRequest {
            chunk_id: order.chunk.as_bytes().to_vec(),
            size: order.len,
            sources: nodes::messages(&from),
            generation: to.generation,
        });
        let mut client = self.datanodes.client(&to.address)?;
        let answer = client.copy_chunk(request);
        message_within(&to.address, COPY_MAX, answer)
            .await
            .map(drop)
    }

    async fn drop_copy(&self, order: &DropOrder) -> Result<(), Fault> {
        let node = self.member(order.node)?;
        let request = self.datanodes.request(v1::DeleteChunkRequest {
            chunk_id: order.chunk.as_bytes().to_vec(),
            reason: "there are more copies than there should be, or nothing lies in it".to_owned(),
            generation: node.generation,
        });
        let mut client = self.datanodes.client(&node.address)?;
        let answer = client.delete_chunk(request);
        message_within(&node.address, DROP_MAX, answer)
            .await
            .map(drop)
    }

    fn member(&self, id: NodeId) -> Result<Member, Fault> {
        self.cluster().members().find(id).cloned().ok_or_else(|| {
            let text = format!("datanode {id} is gone");
            Fault::new(FaultKind::Unavailable, text)
        })
    }

    fn members_of(&self, ids: &[NodeId]) -> Vec<Member> {
        let cluster = self.cluster();
        let found = ids.iter().filter_map(|id| cluster.members().find(*id));
        found.cloned().collect()
    }

    /// Returns what the cluster must know of a chunk.
    pub(super) fn copies_of(&self, holders: ChunkHolders) -> ChunkCopies {
        let wanted = match holders.wanted {
            _ if holders.is_unneeded => 0,
            0 => self.replication.copies,
            wanted => wanted,
        };
        ChunkCopies {
            chunk: holders.chunk,
            len: holders.len,
            wanted: wanted as usize,
            holders: holders.nodes,
        }
    }
}

fn log_end(chunk: ChunkId, node: NodeId, what: &str, ended: &Result<(), Fault>) {
    match ended {
        Ok(()) => tracing::debug!(%chunk, %node, what, "an order was carried out"),
        Err(fault) => {
            let reason = &fault.message;
            tracing::warn!(%chunk, %node, reason, "a chunk was not {what}");
        }
    }
}
