//! Chunks one by one, for operators: what the coordinator knows of them, and what is on the disks.

use std::time::Duration;

use lfsfs_proto::convert::{ProtocolError, id, ids, optional_id};
use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError};
use lfsfs_types::{ChunkId, NodeId};

use crate::connection::within;
use crate::fault::Checked as _;
use crate::nodes::Nodes;

/// How long a datanode may take to compare or read some chunks.
const CHECK_STEP_MAX: Duration = Duration::from_secs(120);

/// What is wrong with the copies of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHealth {
    /// It has fewer than it should.
    UnderReplicated,
    /// No datanode that answers has it.
    Missing,
    /// It has more than it should.
    OverReplicated,
}

/// A chunk that has not as many copies as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnhealthyChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Its bytes.
    pub len: u64,
    /// What is wrong.
    pub health: ChunkHealth,
    /// Copies that it should have.
    pub wanted: u32,
    /// The datanodes that have reported it.
    pub holders: Vec<NodeId>,
}

/// Some chunks that have not as many copies as they should.
#[derive(Debug, Clone, Default)]
pub struct UnhealthyPage {
    /// The chunks.
    pub chunks: Vec<UnhealthyChunk>,
    /// What the next page begins behind; none at the end.
    pub next: Option<ChunkId>,
    /// How many chunks were looked at for this page.
    pub looked_at: u64,
}

/// How a datanode's chunks are checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkCheck {
    /// Whether every chunk is read and verified.
    pub reads: bool,
    /// Whether differences are reported to the coordinator, and damaged chunks moved aside.
    pub repairs: bool,
}

/// How a datanode's disk differs from what the coordinator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkDifference {
    /// The coordinator believes a chunk to be there that is not.
    Missing,
    /// A chunk is there, and the coordinator does not know that.
    Unknown,
    /// The bytes of a chunk are not what they should be.
    Damaged,
    /// The disk does not give the bytes of a chunk.
    Unreadable,
}

/// One difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkFinding {
    /// The chunk.
    pub id: ChunkId,
    /// How it differs.
    pub difference: ChunkDifference,
    /// Whether that was reported.
    pub is_repaired: bool,
}

/// How far a check is.
#[derive(Debug, Clone, Default)]
pub struct CheckStep {
    /// What was found since the step before.
    pub findings: Vec<ChunkFinding>,
    /// Chunks that were compared so far.
    pub checked: u64,
    /// Chunks on the disk.
    pub chunks: u64,
}

impl Nodes {
    /// Returns the next chunks behind `after` that have not as many copies as they should.
    pub async fn unhealthy_chunks(
        &self,
        after: Option<ChunkId>,
    ) -> Result<UnhealthyPage, RemoteError> {
        let request = v1::ListUnhealthyChunksRequest {
            after: after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()),
        };
        let answer = self.ask(Call::UnhealthyChunks, "chunks", |mut coordinator| {
            let request = request.clone();
            async move { coordinator.list_unhealthy_chunks(request).await }
        });
        page(answer.await?).checked()
    }

    /// Has the datanode at host:port compare its disk with what the coordinator knows, and calls `step` again
    /// and again.
    pub async fn check_chunks(
        &self,
        address: &str,
        check: ChunkCheck,
        mut step: impl FnMut(CheckStep),
    ) -> Result<(), RemoteError> {
        let request = v1::CheckChunksRequest {
            read: check.reads,
            repair: check.repairs,
        };
        let what = "a check of its chunks";
        let mut datanode = self.servers.connections().datanode(address)?;
        let answer = datanode.check_chunks(request);
        let mut stream = within(address, what, CHECK_STEP_MAX, answer)
            .await?
            .into_inner();
        while let Some(answer) = within(address, what, CHECK_STEP_MAX, stream.message()).await? {
            step(step_of(answer).checked()?);
        }
        Ok(())
    }
}

fn page(message: v1::ListUnhealthyChunksResponse) -> Result<UnhealthyPage, ProtocolError> {
    let chunks = message.chunks.into_iter().map(unhealthy);
    Ok(UnhealthyPage {
        chunks: chunks.collect::<Result<_, _>>()?,
        next: optional_id("next", &message.next, ChunkId::from_slice)?,
        looked_at: message.looked_at,
    })
}

fn unhealthy(message: v1::UnhealthyChunk) -> Result<UnhealthyChunk, ProtocolError> {
    let health = match message.health() {
        v1::ChunkHealth::UnderReplicated => ChunkHealth::UnderReplicated,
        v1::ChunkHealth::Missing => ChunkHealth::Missing,
        v1::ChunkHealth::OverReplicated => ChunkHealth::OverReplicated,
        v1::ChunkHealth::Unspecified => return Err(ProtocolError::Missing("health")),
    };
    Ok(UnhealthyChunk {
        id: id("chunk_id", &message.chunk_id, ChunkId::from_slice)?,
        len: message.size,
        health,
        wanted: message.wanted,
        holders: ids("holders", &message.holders, NodeId::from_slice)?,
    })
}

fn step_of(message: v1::CheckChunksResponse) -> Result<CheckStep, ProtocolError> {
    let findings = message.findings.into_iter().map(|it| finding(&it));
    Ok(CheckStep {
        findings: findings.collect::<Result<_, _>>()?,
        checked: message.checked,
        chunks: message.chunks,
    })
}

fn finding(message: &v1::ChunkFinding) -> Result<ChunkFinding, ProtocolError> {
    let difference = match message.kind() {
        v1::ChunkFindingKind::Missing => ChunkDifference::Missing,
        v1::ChunkFindingKind::Unknown => ChunkDifference::Unknown,
        v1::ChunkFindingKind::Damaged => ChunkDifference::Damaged,
        v1::ChunkFindingKind::Unreadable => ChunkDifference::Unreadable,
        v1::ChunkFindingKind::Unspecified => return Err(ProtocolError::Missing("kind")),
    };
    Ok(ChunkFinding {
        id: id("chunk_id", &message.chunk_id, ChunkId::from_slice)?,
        difference,
        is_repaired: message.repaired,
    })
}
