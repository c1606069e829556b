//! Compares the chunks on this disk with what the coordinator knows of them, for an operator who asks.
//!
//! The start of a datanode and its scrub do the same by themselves, one difference at a time; a check tells
//! all of them, and changes something only if it is asked to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::ChunkFindingKind as Kind;
use lfsfs_types::ChunkId;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::DataNode;
use super::truth::is_damaged;
use crate::blocking::blocking;
use crate::streams::Sink;

/// Chunks that are compared at once.
const PAGE: usize = 4096;
/// Chunks that are read between two answers.
const READ_AT_ONCE: usize = 16;
/// A chunk that has just come or gone differs for a moment; what still differs after this is told.
const SETTLE: Duration = Duration::from_secs(1);

/// A check that is under way; there is one at a time.
pub(super) struct Check {
    node: Arc<DataNode>,
    request: v1::CheckChunksRequest,
    checked: u64,
    _only: OwnedMutexGuard<()>,
}

/// A part of all chunks, in the order of their ids.
struct Window {
    after: Option<ChunkId>,
    /// The last id; none at the end of all.
    until: Option<ChunkId>,
    chunks: BTreeMap<ChunkId, Both>,
}

/// What both sides say of a chunk.
#[derive(Debug, Clone, Copy, Default)]
struct Both {
    /// The length that the coordinator knows.
    known: Option<u64>,
    is_here: bool,
}

/// What a look at a chunk finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Whole,
    Absent,
    Damaged,
    /// The disk does not give it.
    Unreadable,
}

impl Check {
    pub(super) fn begin(
        node: &Arc<DataNode>,
        request: v1::CheckChunksRequest,
    ) -> Result<Self, Fault> {
        let only = Arc::clone(&node.checking).try_lock_owned();
        let only = only.map_err(|_| {
            let text = "another check of this datanode is under way; try again when it has ended";
            Fault::new(FaultKind::Unavailable, text)
        })?;
        Ok(Self {
            node: Arc::clone(node),
            request,
            checked: 0,
            _only: only,
        })
    }

    /// Compares everything, and tells what differs.
    pub(super) async fn run(mut self, sink: Sink<v1::CheckChunksResponse>) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let window = self.window(after).await?;
            self.look_at_all(&window, &sink).await?;
            let differing = self.differing(&window).await?;
            for (chunk, kind) in differing {
                if let Some(finding) = self.found(chunk, kind).await? {
                    self.tell(vec![finding], &sink).await?;
                }
            }
            self.tell(Vec::new(), &sink).await?;
            match window.until {
                Some(until) => after = Some(until),
                None => return Ok(()),
            }
        }
    }

    /// Returns the chunks behind `after`, as many as both sides can tell at once.
    async fn window(&self, after: Option<ChunkId>) -> Result<Window, Fault> {
        let node = &self.node;
        let (known, more_known) = node.link.chunks(node.id, after, PAGE).await?;
        let store = Arc::clone(&node.store);
        let here = blocking(move || store.list(after, PAGE)).await?;
        let known_until = known.last().map(|(chunk, _)| *chunk).filter(|_| more_known);
        let here_until = here.last().copied().filter(|_| here.len() == PAGE);
        let until = match (known_until, here_until) {
            (Some(known), Some(here)) => Some(known.min(here)),
            (known, here) => known.or(here),
        };
        let is_in = |chunk: &ChunkId| until.is_none_or(|until| *chunk <= until);
        let mut chunks: BTreeMap<ChunkId, Both> = BTreeMap::new();
        for (chunk, len) in known.into_iter().filter(|(chunk, _)| is_in(chunk)) {
            chunks.entry(chunk).or_default().known = Some(len);
        }
        for chunk in here.into_iter().filter(is_in) {
            chunks.entry(chunk).or_default().is_here = true;
        }
        Ok(Window {
            after,
            until,
            chunks,
        })
    }

    /// Looks at the chunks that both sides have, and tells those that are damaged.
    async fn look_at_all(
        &mut self,
        window: &Window,
        sink: &Sink<v1::CheckChunksResponse>,
    ) -> Result<(), Fault> {
        for (number, (chunk, both)) in window.chunks.iter().enumerate() {
            self.checked += 1;
            if self.request.read && number % READ_AT_ONCE == READ_AT_ONCE - 1 {
                self.tell(Vec::new(), sink).await?;
            }
            if !both.is_here {
                continue;
            }
            let kind = match self.look(*chunk, both.known).await? {
                // One that has just gone differs from what the coordinator knows.
                Look::Whole | Look::Absent => continue,
                Look::Damaged => Kind::Damaged,
                Look::Unreadable => Kind::Unreadable,
            };
            if let Some(finding) = self.found(*chunk, kind).await? {
                self.tell(vec![finding], sink).await?;
            }
        }
        Ok(())
    }

    async fn look(&self, chunk: ChunkId, known_len: Option<u64>) -> Result<Look, Fault> {
        let (store, reads) = (Arc::clone(&self.node.store), self.request.read);
        blocking(move || {
            let looked = if reads {
                store.drop_cached(chunk);
                store.verify(chunk).map(|stored| stored.info.len)
            } else {
                store.open(chunk).map(|reader| reader.chunk_len())
            };
            match looked {
                Ok(len) if known_len.is_some_and(|known| known != len) => Ok(Look::Damaged),
                Ok(_) => Ok(Look::Whole),
                Err(error) if error.is_not_found() => Ok(Look::Absent),
                Err(error) if is_damaged(&error) => Ok(Look::Damaged),
                Err(error) if error.is_unreadable() => Ok(Look::Unreadable),
                Err(error) => Err(error),
            }
        })
        .await
        .map_err(|fault: Fault| in_chunk(chunk, fault))
    }

    /// Returns the chunks that only one side has, and still has a moment later.
    async fn differing(&self, window: &Window) -> Result<Vec<(ChunkId, Kind)>, Fault> {
        let differs = |both: &Both| both.known.is_some() != both.is_here;
        let differing = window.chunks.iter().filter(|(_, both)| differs(both));
        let differing: Vec<_> = differing.map(|(chunk, _)| *chunk).collect();
        let Some(last) = differing.last() else {
            return Ok(Vec::new());
        };
        tokio::time::sleep(SETTLE).await;
        let known = self.node.known_between(window.after, *last).await?;
        let mut still = Vec::new();
        for chunk in differing {
            let is_known = known
                .binary_search_by_key(&chunk, |(chunk, _)| *chunk)
                .is_ok();
            let is_here = self.node.is_stored(chunk).await?;
            match (is_known, is_here) {
                (true, false) => still.push((chunk, Kind::Missing)),
                (false, true) => still.push((chunk, Kind::Unknown)),
                _ => {}
            }
        }
        Ok(still)
    }

    /// Mends what was found if that is asked for: as the start of a datanode does, by telling the coordinator
    /// what is so. Returns nothing if it is not so any more.
    async fn found(&self, chunk: ChunkId, kind: Kind) -> Result<Option<v1::ChunkFinding>, Fault> {
        let mut finding = v1::ChunkFinding {
            chunk_id: chunk.as_bytes().to_vec(),
            kind: kind.into(),
            repaired: self.request.repair,
        };
        if !self.request.repair {
            return Ok(Some(finding));
        }
        let is_here = self.node.look_and_report(chunk).await?;
        match (kind, is_here) {
            (Kind::Missing | Kind::Damaged | Kind::Unreadable, true) => return Ok(None),
            (Kind::Unknown, false) => finding.kind = Kind::Damaged.into(),
            _ => {}
        }
        Ok(Some(finding))
    }

    async fn tell(
        &self,
        findings: Vec<v1::ChunkFinding>,
        sink: &Sink<v1::CheckChunksResponse>,
    ) -> Result<(), Fault> {
        let store = Arc::clone(&self.node.store);
        let stats = blocking(move || store.stats()).await?;
        sink.send(v1::CheckChunksResponse {
            findings,
            checked: self.checked,
            chunks: stats.chunks,
        })
        .await
    }
}

/// Says at which chunk a disk failed.
fn in_chunk(chunk: ChunkId, mut fault: Fault) -> Fault {
    fault.message = format!("chunk {chunk} cannot be read: {}", fault.message);
    fault
}

/// The lock of the one check that may be under way.
pub(super) type Checking = Arc<Mutex<()>>;
