//! The datanode: keeps chunks, and tells the coordinator what it has.
//!
//! A chunk is acknowledged when it is verified, durable and reported: the receipt goes to the
//! coordinator before the last acknowledgement goes to the client.

mod agent;
mod check;
mod copy;
mod download;
mod figures;
mod peers;
mod places;
mod replication;
mod reports;
mod scrub;
mod service;
mod transfers;
mod truth;
mod upload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lfsfs_chunk_store::{ChunkStore, StoreStats};
use lfsfs_common::clock::Clock;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ChunkId, NodeId};
use tokio::sync::Notify;

pub(crate) use self::agent::Agent;
use self::check::Checking;
use self::figures::Counters;
use self::places::Places;
pub(crate) use self::reports::CoordinatorLink;
pub(crate) use self::service::DataNodeService;
use self::transfers::Transfers;
use self::truth::{ChunkLocks, Reported};
use crate::blocking::blocking;
use crate::datanodes::Datanodes;
use crate::streams::Tasks;

/// What the services and tasks of a datanode share.
#[derive(Debug)]
pub(crate) struct DataNode {
    id: NodeId,
    address: String,
    reserve: u64,
    store: Arc<dyn ChunkStore>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    link: CoordinatorLink,
    datanodes: Datanodes,
    zone: String,
    capacity: u64,
    scrub_period: Duration,
    reported: Mutex<Reported>,
    /// Told when the coordinator did not hear of a chunk that is here.
    unreported: Notify,
    failed_disks: AtomicUsize,
    places: Arc<Places>,
    transfers: Mutex<Transfers>,
    checking: Checking,
    counters: Counters,
    /// Taken before no other lock.
    chunk_locks: ChunkLocks,
}

/// What a datanode is made of.
#[derive(Debug)]
pub(crate) struct DataNodeParts {
    pub(crate) id: NodeId,
    /// host:port where clients reach it.
    pub(crate) address: String,
    pub(crate) reserve: u64,
    pub(crate) store: Arc<dyn ChunkStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) link: CoordinatorLink,
    pub(crate) datanodes: Datanodes,
    /// What it shares with nodes that fail together with it.
    pub(crate) zone: String,
    /// Bytes that chunks may take; 0 means what the disk has.
    pub(crate) capacity: u64,
    /// In what time each chunk is read again.
    pub(crate) scrub_period: Duration,
}

impl DataNode {
    pub(crate) fn new(parts: DataNodeParts) -> Self {
        Self {
            id: parts.id,
            address: parts.address,
            reserve: parts.reserve,
            store: parts.store,
            clock: parts.clock,
            tasks: parts.tasks,
            link: parts.link,
            datanodes: parts.datanodes,
            zone: parts.zone,
            capacity: parts.capacity,
            scrub_period: parts.scrub_period,
            reported: Mutex::default(),
            unreported: Notify::new(),
            failed_disks: AtomicUsize::new(0),
            places: Places::new(),
            transfers: Mutex::default(),
            checking: Checking::default(),
            counters: Counters::default(),
            chunk_locks: ChunkLocks::new(),
        }
    }

    /// Held for moments, and while no other lock is.
    fn transfers(&self) -> MutexGuard<'_, Transfers> {
        self.transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Describes this node as it is now: what the reserve keeps free counts as used.
    async fn info(&self) -> Result<v1::NodeInfo, Fault> {
        let store = Arc::clone(&self.store);
        let stats = blocking(move || store.stats()).await?;
        self.note_failed_disks(stats.failed_disks);
        let capacity = self.capacity_of(&stats);
        Ok(v1::NodeInfo {
            id: self.id.as_bytes().to_vec(),
            address: self.address.clone(),
            capacity_bytes: capacity,
            used_bytes: capacity.saturating_sub(self.room(&stats)),
            state: v1::NodeState::Available.into(),
            generation: self.link.generation(),
            last_seen: None,
            chunks: stats.chunks,
            chunk_bytes: stats.chunk_bytes,
            zone: self.zone.clone(),
            draining: false,
        })
    }

    /// Has the chunks of a disk that has failed reported as lost.
    fn note_failed_disks(&self, failed: usize) {
        if self.failed_disks.fetch_max(failed, Ordering::Relaxed) < failed {
            self.unreported.notify_one();
        }
    }

    /// Returns how many bytes it may use in all.
    const fn capacity_of(&self, stats: &StoreStats) -> u64 {
        match self.capacity {
            0 => stats.total_bytes,
            capacity => capacity,
        }
    }

    /// Returns how many bytes of chunks it can still take.
    fn room(&self, stats: &StoreStats) -> u64 {
        let of_disk = stats.free_bytes.saturating_sub(self.reserve);
        match self.capacity {
            0 => of_disk,
            capacity => of_disk.min(capacity.saturating_sub(stats.chunk_bytes)),
        }
    }

    /// Refuses a chunk for which there is no room in the capacity.
    async fn check_capacity(&self, len: u64) -> Result<(), Fault> {
        if self.capacity == 0 {
            return Ok(());
        }
        let store = Arc::clone(&self.store);
        let room = self.room(&blocking(move || store.stats()).await?);
        if room >= len {
            return Ok(());
        }
        let text = format!("the datanode has room for {room} bytes, and the chunk has {len}");
        Err(Fault::new(FaultKind::Full, text))
    }

    /// Refuses what the coordinator says to another process with this node's id.
    fn check_generation(&self, generation: u64) -> Result<(), Fault> {
        if generation == self.link.generation() {
            return Ok(());
        }
        let text = "this is said to an earlier registration of the datanode, or to a later one";
        Err(Fault::new(FaultKind::Unavailable, text))
    }

    /// Returns whether a chunk is here, without reading it.
    async fn is_stored(&self, chunk: ChunkId) -> Result<bool, Fault> {
        let store = Arc::clone(&self.store);
        let found = blocking(move || match store.open(chunk) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        });
        found.await
    }
}
