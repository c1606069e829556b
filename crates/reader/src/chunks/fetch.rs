//! Blocks on their way from a datanode: read together, verified one by one.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_cache::DiskCache;
use lfsfs_remote::{ChunkBytes, ChunkLocation};
use lfsfs_types::chunk::decode_block;

use super::candidates::Candidates;
use super::{Chunk, Chunks, READ, VERIFY};
use crate::deadline::Deadline;
use crate::error::ReadError;

/// Raw bytes of a block, or what is wrong with those that every node has.
type Block = Result<Bytes, Arc<str>>;

/// Blocks that came together.
#[derive(Debug)]
pub(super) struct Fetched {
    first: u32,
    blocks: Vec<Block>,
}

impl Fetched {
    pub(super) fn one(index: u32, block: Bytes) -> Self {
        Self {
            first: index,
            blocks: vec![Ok(block)],
        }
    }

    /// Takes blocks that came, in place of those that did not or were damaged.
    fn take(&mut self, first: u32, blocks: Vec<Block>) {
        let start = (first - self.first) as usize;
        for (slot, block) in self.blocks[start..].iter_mut().zip(blocks) {
            if slot.is_err() {
                *slot = block;
            }
        }
    }

    /// Returns one block.
    pub(super) fn find(&self, index: u32) -> Result<Bytes, ReadError> {
        let position = index.checked_sub(self.first);
        let block = position.and_then(|position| self.blocks.get(position as usize));
        match block {
            Some(Ok(bytes)) => Ok(bytes.clone()),
            Some(Err(problem)) => Err(ReadError::corrupt(VERIFY, &**problem)),
            None => Err(ReadError::corrupt(VERIFY, "another block came")),
        }
    }

    /// Returns all blocks, or what is wrong with the first damaged one.
    pub(super) fn into_blocks(self) -> Result<Vec<Bytes>, ReadError> {
        let blocks = self.blocks.into_iter();
        blocks
            .map(|block| block.map_err(|problem| ReadError::corrupt(VERIFY, &*problem)))
            .collect()
    }
}

/// Blocks to fetch.
pub(super) struct Fetch {
    pub(super) chunks: Arc<Chunks>,
    pub(super) location: Arc<ChunkLocation>,
    pub(super) chunk: Arc<Chunk>,
    /// The blocks that a caller waits for; others come along.
    pub(super) asked: Range<u32>,
    pub(super) deadline: Deadline,
}

impl Fetch {
    /// Fetches blocks that lie side by side, those that are asked for among them. Those that stay
    /// damaged are told as such, so that one rotten block does not take its neighbours along.
    pub(super) async fn run(self, blocks: Range<u32>) -> Result<Fetched, ReadError> {
        let missing: Arc<str> = "a datanode refused blocks beside it".into();
        let mut fetched = Fetched {
            first: blocks.start,
            blocks: vec![Err(missing); blocks.len()],
        };
        let mut range = blocks;
        let mut candidates = Candidates::of(&self.location);
        while let Some(place) = candidates.next() {
            match self.attempt(place, range.clone()).await {
                Ok(read) => {
                    candidates.leave_out(&read.node);
                    fetched.take(range.start, read.blocks);
                    if fetched.blocks.iter().all(Result::is_ok) {
                        break;
                    }
                }
                // A node that finds damage itself refuses the whole range.
                Err(error) if error.is_corrupt() && candidates.are_left() => {
                    range = self.asked.clone();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fetched)
    }

    /// Fetches blocks once.
    async fn attempt(&self, place: &ChunkLocation, range: Range<u32>) -> Result<Read, ReadError> {
        let entries = &self.chunk.footer.blocks()[range.start as usize..range.end as usize];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Read::default());
        };
        let bytes_range = first.offset..last.offset + u64::from(last.stored_len);
        let len = u32::try_from(bytes_range.end - bytes_range.start).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.chunks.in_flight)
            .acquire_many_owned(len.min(self.chunks.in_flight_max));
        let permit = self
            .deadline
            .bound(READ, async { Ok(permits.await.ok()) })
            .await?;
        let backend = &self.chunks.backend;
        let read = backend.read_chunk(place, bytes_range, self.deadline);
        let read = read.await?;
        let node = read.node.clone();
        let Verified { blocks, whole } = self.verify(range, read).await?;
        let (info, chunk) = (self.location.info, Arc::clone(&self.chunk));
        // What waits for the disk still counts as in flight.
        let write = move |cache: &DiskCache| {
            cache.store_blocks(&info, &chunk.footer, &whole);
            drop(permit);
        };
        backend.store(write).await;
        Ok(Read { node, blocks })
    }

    /// Checks and decodes blocks off the reactor.
    async fn verify(&self, range: Range<u32>, read: ChunkBytes) -> Result<Verified, ReadError> {
        let (chunks, chunk) = (Arc::clone(&self.chunks), Arc::clone(&self.chunk));
        let location = Arc::clone(&self.location);
        let work = move || chunks.verify(&location, &chunk, range, &read);
        let spawner = &self.chunks.backend.source.spawner;
        spawner
            .spawn_blocking(work)
            .await
            .map_err(|error| ReadError::corrupt(VERIFY, error.to_string()))
    }
}

/// Blocks that a datanode gave.
#[derive(Default)]
struct Read {
    node: String,
    blocks: Vec<Block>,
}

/// Blocks that were checked.
#[derive(Default)]
struct Verified {
    blocks: Vec<Block>,
    /// The stored bytes of those that are whole, each with its number.
    whole: Vec<(u32, Bytes)>,
}

impl Chunks {
    fn verify(
        &self,
        location: &ChunkLocation,
        chunk: &Chunk,
        range: Range<u32>,
        read: &ChunkBytes,
    ) -> Verified {
        let entries = &chunk.footer.blocks()[range.start as usize..range.end as usize];
        let mut verified = Verified::default();
        let mut start = 0;
        for (index, entry) in range.zip(entries) {
            let end = start + entry.stored_len as usize;
            let stored = read.bytes.slice(start..end);
            start = end;
            let raw = decode_block(entry, &stored).map(Bytes::from);
            let block = match raw {
                Ok(raw) => {
                    self.blocks.insert(chunk.key(index), raw.clone());
                    verified.whole.push((index, stored));
                    Ok(raw)
                }
                Err(error) => {
                    let problem = error.to_string();
                    self.note_damage(location, &read.node, &problem);
                    Err(format!("chunk {}: {problem}", location.info.id).into())
                }
            };
            verified.blocks.push(block);
        }
        verified
    }
}
