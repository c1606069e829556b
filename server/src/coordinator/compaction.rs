//! Rewriting chunks: those of which little is needed, and small ones, go into new ones.
//!
//! The metadata chooses the chunks and changes the places of contents (`lfsfs_metadata`, module `collect`). Here
//! contents are read, put into chunks and stored, within a budget of bytes a second. Each new chunk is a step of its own
//! and nothing else is noted: it may end at any moment. docs/durability.md "Collecting garbage" has the order of steps.

mod contents;
mod pace;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lfsfs_metadata::{
    ChunkUse, CompactLimits, ContentMove, Gathering, MetadataError, StoredFor, gatherings,
};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_reader::{Counter, Deadline};
use lfsfs_types::chunk::{BuiltChunk, ChunkBuilder};
use lfsfs_types::limits::CHUNK_LEN_DEFAULT;
use lfsfs_types::{ChunkId, ContentPlace, ProjectId};
use tokio::time::Instant;

use self::contents::{Contents, parts};
use self::pace::Pace;
use super::{Coordinator, objects};
use crate::blocking::{IntoFault as _, blocking};

/// How long a read may take.
const READ_MAX: Duration = Duration::from_secs(30);
/// After so many reads that failed it goes on another time: datanodes are away.
const FAILURES_MAX: u32 = 3;
/// Bytes of memory for each content that is gathered, and how many there may be.
const CONTENT_COST: usize = 256;
const CONTENTS_AT_ONCE: std::ops::RangeInclusive<usize> = 10_000..=200_000;
/// What was rewritten, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Chunks in which nothing lies any more.
    pub(super) chunks: u64,
    /// Chunks that were made for their contents.
    pub(super) new_chunks: u64,
    /// Bytes of all copies of the former, without those of the latter.
    pub(super) bytes: u64,
}

/// What was rewritten since the start.
#[derive(Debug, Default)]
pub(super) struct CompactionCounters {
    chunks: Counter,
    new_chunks: Counter,
    bytes: Counter,
}

impl CompactionCounters {
    pub(super) fn load(&self) -> Compacted {
        Compacted {
            chunks: self.chunks.load(),
            new_chunks: self.new_chunks.load(),
            bytes: self.bytes.load(),
        }
    }
}

impl Coordinator {
    /// Returns what would be rewritten now.
    pub(super) async fn count_compaction(&self) -> Result<Compacted, Fault> {
        let (mut counted, mut after) = (Compacted::default(), None);
        if self.garbage.rate == 0 {
            return Ok(counted);
        }
        loop {
            let (uses, next) = self.next_uses(after).await?;
            for gathering in gatherings(uses, &self.compact_limits()) {
                counted.chunks += gathering.chunks.len() as u64;
                counted.bytes += gathering.returned;
            }
            after = next;
            if after.is_none() {
                return Ok(counted);
            }
        }
    }

    /// Rewrites chunks until nothing is left to do, or until `end`. What was done until then is in `compacted`, also if
    /// it fails. It does nothing if another call does the same.
    pub(super) async fn compact(
        self: &Arc<Self>,
        end: Option<Instant>,
        compacted: &mut Compacted,
    ) -> Result<(), Fault> {
        let Ok(_place) = self.compactions.try_acquire() else {
            return Ok(());
        };
        if self.garbage.rate == 0 {
            return Ok(());
        }
        let mut compaction = Compaction::new(self, end);
        let ended = compaction.run().await;
        let done = compaction.compacted;
        *compacted = done;
        self.compacted.chunks.add(done.chunks);
        self.compacted.new_chunks.add(done.new_chunks);
        self.compacted.bytes.add(done.bytes);
        ended
    }

    fn compact_limits(&self) -> CompactLimits {
        let contents = self.marks_bytes / CONTENT_COST;
        let contents = contents.clamp(*CONTENTS_AT_ONCE.start(), *CONTENTS_AT_ONCE.end());
        CompactLimits {
            // A longer one would take much memory.
            chunk_len: self.chunk_len.min(CHUNK_LEN_DEFAULT),
            contents_max: contents as u64,
        }
    }

    async fn next_uses(
        &self,
        mut after: Option<ChunkId>,
    ) -> Result<(Vec<ChunkUse>, Option<ChunkId>), Fault> {
        self.metadata(move |metadata| {
            let uses = metadata.chunk_uses(&mut after)?;
            Ok::<_, MetadataError>((uses, after))
        })
        .await
    }

    /// Returns for what the chunks are stored that are gathered for a project. A project that is gone counts nothing.
    async fn stored_for_gathered(
        &self,
        project: Option<ProjectId>,
        wanted: u32,
    ) -> Result<StoredFor, Fault> {
        let found = self.metadata(move |metadata| match project {
            Some(project) => match metadata.project_by_id(project) {
                Err(MetadataError::UnknownProjectId { .. }) => {
                    // One that can be brought back is to have as many copies then.
                    let deleted = metadata.deleted_project(project)?;
                    Ok(deleted.map(|deleted| deleted.project))
                }
                found => found.map(Some),
            },
            None => Ok(None),
        });
        let stored = match found.await? {
            Some(project) => self.stored_for_project(&project),
            None => StoredFor {
                copies: self.replication.copies,
                copies_min: self.replication.copies_min,
                ..StoredFor::default()
            },
        };
        Ok(StoredFor {
            copies: stored.copies.max(wanted),
            ..stored
        })
    }
}

/// One rewriting.
struct Compaction<'a> {
    coordinator: &'a Arc<Coordinator>,
    limits: CompactLimits,
    end: Option<Instant>,
    pace: Pace,
    failures: u32,
    compacted: Compacted,
}

impl<'a> Compaction<'a> {
    fn new(coordinator: &'a Arc<Coordinator>, end: Option<Instant>) -> Self {
        Self {
            coordinator,
            limits: coordinator.compact_limits(),
            end,
            pace: Pace::new(coordinator.garbage.rate),
            failures: 0,
            compacted: Compacted::default(),
        }
    }

    async fn run(&mut self) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let (uses, next) = self.coordinator.next_uses(after).await?;
            after = next;
            for round in rounds(gatherings(uses, &self.limits), self.limits.contents_max) {
                self.round(round).await?;
                if self.is_over() {
                    return Ok(());
                }
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Rewrites what was gathered. What lies in all of these chunks is found in one pass.
    async fn round(&mut self, round: Vec<Gathering>) -> Result<(), Fault> {
        let chunks = round.iter().flat_map(|it| &it.chunks);
        let chunks: HashSet<_> = chunks.map(|it| it.chunk).collect();
        let read = self
            .coordinator
            .metadata(move |metadata| metadata.contents_in(&chunks));
        let mut found: HashMap<ChunkId, Vec<ContentPlace>> = HashMap::new();
        for place in read.await? {
            found.entry(place.chunk).or_default().push(place);
        }
        for gathering in round {
            let chunks = gathering.chunks.iter();
            let places = chunks.filter_map(|it| found.remove(&it.chunk)).flatten();
            let places = places.collect();
            self.gather(gathering, places).await?;
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }

    async fn gather(
        &mut self,
        gathering: Gathering,
        mut places: Vec<ContentPlace>,
    ) -> Result<(), Fault> {
        let Gathering {
            project, wanted, ..
        } = gathering;
        let stored = self.coordinator.stored_for_gathered(project, wanted);
        let stored = stored.await?;
        let ordered = self.coordinator.metadata(move |metadata| {
            metadata.order_as_read(project, &mut places)?;
            Ok::<_, MetadataError>(places)
        });
        let mut left = Left::new(gathering.chunks);
        let mut contents = Contents::new(self.coordinator, project, ordered.await?);
        while let Some((chunk, from)) = self.fill(&mut contents).await? {
            self.replace(stored, chunk, &from, &mut left).await?;
            if self.is_over() {
                break;
            }
        }
        self.compacted.bytes += left.returned();
        Ok(())
    }

    /// Fills the next chunk, and returns where its contents were read; nothing at the end.
    async fn fill(
        &mut self,
        contents: &mut Contents,
    ) -> Result<Option<(BuiltChunk, Vec<ContentPlace>)>, Fault> {
        let mut builder = ChunkBuilder::new(self.limits.chunk_len);
        let mut from = Vec::new();
        while !builder.is_full() && self.read_more(contents).await? {
            let mut read = std::mem::take(&mut contents.read);
            let added = blocking(move || {
                while let Some((place, bytes)) = read.front()
                    && !builder.is_full()
                {
                    let added = builder.add(place.content, bytes);
                    added.map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
                    from.extend(read.pop_front().map(|(place, _)| place));
                }
                Ok::<_, Fault>((builder, from, read))
            });
            (builder, from, contents.read) = added.await?;
        }
        if from.is_empty() {
            return Ok(None);
        }
        let built = blocking(move || Ok::<_, Fault>(builder.finish())).await?;
        Ok(Some((built, from)))
    }

    /// Reads the next contents, unless some wait. Returns false if none are left. Those that cannot be read stay where
    /// they are.
    async fn read_more(&mut self, contents: &mut Contents) -> Result<bool, Fault> {
        while contents.read.is_empty() {
            let next = contents.next_places(self.coordinator.marks_bytes);
            if next.is_empty() {
                return Ok(false);
            }
            let mut loaded = HashMap::new();
            for part in parts(&next) {
                let ids: Vec<_> = part.iter().map(|it| it.content).collect();
                let before = contents.reader.stats().bytes;
                let read = contents.reader.load(&ids, Deadline::after(READ_MAX)).await;
                self.pace
                    .spend(contents.reader.stats().bytes - before)
                    .await;
                match read {
                    Ok(read) => loaded.extend(read),
                    Err(error) => self.note_failure(error.into_fault())?,
                }
            }
            let read = next
                .into_iter()
                .filter_map(|it| Some((it, loaded.remove(&it.content)?)));
            contents.read = read.collect();
        }
        Ok(true)
    }

    fn note_failure(&mut self, fault: Fault) -> Result<(), Fault> {
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return Err(fault);
        }
        tracing::warn!(
            reason = fault.message,
            "contents cannot be read now; their chunks are rewritten another time"
        );
        Ok(())
    }

    /// Stores a chunk, and gives the contents their places in it.
    async fn replace(
        &mut self,
        stored: StoredFor,
        chunk: BuiltChunk,
        from: &[ContentPlace],
        left: &mut Left,
    ) -> Result<(), Fault> {
        let BuiltChunk {
            id, bytes, footer, ..
        } = chunk;
        let len = bytes.len() as u64;
        objects::store(self.coordinator, stored, id, Bytes::from(bytes)).await?;
        self.pace.spend(len * u64::from(stored.copies_min)).await;
        let moves = from.iter().zip(footer.contents());
        let moves = moves.map(|(from, entry)| ContentMove {
            from: *from,
            to: ContentPlace {
                content: from.content,
                chunk: id,
                block: entry.first_block,
                offset: entry.offset,
                len: entry.len,
            },
        });
        let moves: Vec<_> = moves.collect();
        let count = moves.len() as u64;
        let moved = self
            .coordinator
            .metadata(move |metadata| metadata.move_contents(&moves, stored.copies_min));
        let moved = moved.await?;
        if moved.contents < count {
            // They were removed meanwhile, or the chunk was lost.
            let (contents, moved) = (count, moved.contents);
            tracing::info!(chunk = %id, contents, moved, "not all contents were moved to a new chunk");
        }
        self.compacted.new_chunks += 1;
        self.compacted.chunks += left.note(from, len * u64::from(stored.copies));
        Ok(())
    }
}

/// Divides what is gathered into rounds whose contents fit into memory together.
fn rounds(gathered: Vec<Gathering>, contents_max: u64) -> Vec<Vec<Gathering>> {
    let mut rounds: Vec<Vec<Gathering>> = Vec::new();
    let mut contents = 0;
    for gathering in gathered {
        contents += gathering.contents;
        match rounds.last_mut() {
            Some(round) if contents <= contents_max => round.push(gathering),
            _ => {
                contents = gathering.contents;
                rounds.push(vec![gathering]);
            }
        }
    }
    rounds
}

/// What is left in the chunks of a gathering.
struct Left {
    chunks: HashMap<ChunkId, ChunkUse>,
    given_up: u64,
    written: u64,
}

impl Left {
    fn new(chunks: Vec<ChunkUse>) -> Self {
        Self {
            chunks: chunks.into_iter().map(|it| (it.chunk, it)).collect(),
            given_up: 0,
            written: 0,
        }
    }

    /// Notes that contents were moved into a chunk of so many bytes. Returns in how many chunks nothing is left.
    fn note(&mut self, moved: &[ContentPlace], written: u64) -> u64 {
        self.written += written;
        let mut empty = 0;
        for place in moved {
            let Some(chunk) = self.chunks.get_mut(&place.chunk) else {
                continue;
            };
            chunk.needed = chunk.needed.saturating_sub(1);
            if chunk.needed == 0 {
                self.given_up += chunk.stored();
                self.chunks.remove(&place.chunk);
                empty += 1;
            }
        }
        empty
    }

    fn returned(&self) -> u64 {
        self.given_up.saturating_sub(self.written)
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::ContentId;

    use super::*;

    fn place(chunk: u8, block: u32, len: u32) -> ContentPlace {
        ContentPlace {
            content: ContentId([chunk; 32]),
            chunk: ChunkId([chunk; 32]),
            block,
            offset: 0,
            len,
        }
    }

    #[test]
    fn a_chunk_counts_once_nothing_is_left_in_it() {
        let chunk = |number, needed| ChunkUse {
            chunk: ChunkId([number; 32]),
            project: None,
            wanted: 0,
            copies: 2,
            len: 100,
            raw_len: 100,
            needed_len: 10,
            needed,
        };
        let mut left = Left::new(vec![chunk(1, 1), chunk(2, 2)]);
        assert_eq!(left.note(&[place(1, 0, 10), place(2, 0, 10)], 50), 1);
        assert_eq!(left.returned(), 150);
        assert_eq!(left.note(&[place(2, 0, 10), place(9, 0, 10)], 20), 1);
        assert_eq!(left.returned(), 330);
    }
}
