//! Contents: places, then footers, then blocks, and what to do when one of them fails.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lfsfs_types::ContentId;
use lfsfs_types::content::{Piece, PlacedPiece};

use crate::backend::{Backend, Source};
use crate::chunks::Chunks;
use crate::config::ReaderConfig;
use crate::counters::ReaderStats;
use crate::deadline::{Deadline, Progress};
use crate::error::ReadError;
use crate::given_up::GivenUp;
use crate::group::{Group, GroupKey};
use crate::located::{Wanted, read_in_memory, read_located};
use crate::place_table::Part;
use crate::places::{Freshness, Places};

const ACTION: &str = "read a file";

/// Reads contents of one project, of all its versions.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
#[derive(Debug)]
pub struct ContentReader {
    backend: Arc<Backend>,
    pub(crate) places: Arc<Places>,
    pub(crate) chunks: Arc<Chunks>,
    given_up: GivenUp,
}

impl ContentReader {
    /// Returns a reader. Nothing is asked yet.
    #[must_use]
    pub fn new(source: Source, config: &ReaderConfig) -> Self {
        let backend = Backend::new(source);
        let chunks = Arc::new(Chunks::new(Arc::clone(&backend), config));
        let places = Places::new(Arc::clone(&backend), Arc::clone(&chunks), config);
        Self {
            backend,
            places: Arc::new(places),
            chunks,
            given_up: GivenUp::default(),
        }
    }

    /// Returns the bytes if all that is needed for them is in memory.
    #[must_use]
    pub fn read_in_memory(&self, group: &GroupKey, wanted: &Wanted) -> Option<Bytes> {
        let table = self.places.in_memory(group)?;
        read_in_memory(&self.chunks, &table, wanted)
    }

    /// Returns the bytes of a content of `group`. Places that turn out to be wrong are asked for again,
    /// and servers that are away are tried until no bytes came for as long as `timeout`, or for a
    /// shorter time if a read of the content was given up a moment ago.
    pub async fn read(
        &self,
        group: &Arc<dyn Group>,
        wanted: &Wanted,
        timeout: Duration,
    ) -> Result<Bytes, ReadError> {
        let had = self
            .given_up
            .timeout(&wanted.content, timeout, Instant::now());
        let read = self.read_within(group, wanted, Deadline::after(had)).await;
        read.inspect_err(|error| {
            if error.is_retryable() && had == timeout {
                self.given_up.note(wanted.content, Instant::now());
            }
        })
    }

    /// Returns what a large content of `group` is cut into, as its places say; nothing without places.
    pub async fn pieces(
        &self,
        group: &Arc<dyn Group>,
        whole: &Wanted,
        timeout: Duration,
    ) -> Result<Vec<PlacedPiece>, ReadError> {
        let deadline = Deadline::after(timeout);
        let load = || self.places.load(group, Freshness::Any, deadline);
        let table = deadline.retry(ACTION, load).await?;
        let placed = |part: &Part| PlacedPiece {
            start: part.start,
            piece: Piece {
                hash: part.id,
                len: part.len,
            },
        };
        let parts = table.find(&whole.content).unwrap_or_default();
        Ok(parts.iter().map(placed).collect())
    }

    /// Returns the first zeros of a content of `group` that end behind an offset, as far as its cutting
    /// tells: a run of whole pieces of zeros, or nothing at the end of the content.
    pub async fn zeros(
        &self,
        group: &Arc<dyn Group>,
        whole: &Wanted,
        offset: u64,
        timeout: Duration,
    ) -> Result<Range<u64>, ReadError> {
        let deadline = Deadline::after(timeout);
        let load = || self.places.load(group, Freshness::Any, deadline);
        let table = deadline.retry(ACTION, load).await?;
        let parts = table.find(&whole.content).unwrap_or_default();
        let from = parts.partition_point(|part| part.end() <= offset);
        let mut parts = parts[from..].iter().skip_while(|part| !part.is_zeros());
        let Some(first) = parts.next() else {
            return Ok(whole.size..whole.size);
        };
        let last = parts.take_while(|part| part.is_zeros()).last();
        Ok(first.start..last.unwrap_or(first).end())
    }

    /// Returns how many bytes of a range of a content are in whole pieces of zeros, if that is in memory.
    #[must_use]
    pub fn zeros_in_memory(
        &self,
        group: &GroupKey,
        content: &ContentId,
        range: Range<u64>,
    ) -> Option<u64> {
        let table = self.places.in_memory(group)?;
        let parts = table.find(content)?;
        let from = parts.partition_point(|part| part.end() <= range.start);
        let parts = parts[from..].iter();
        let zeros = parts
            .take_while(|part| part.start < range.end)
            .filter(|part| part.is_zeros())
            .map(|part| part.end().min(range.end) - part.start.max(range.start));
        Some(zeros.sum())
    }

    /// Returns what was done so far and what is held now.
    #[must_use]
    pub fn stats(&self) -> ReaderStats {
        let (blocks, blocks_len) = self.chunks.load_in_memory();
        let counters = &self.backend.counters;
        ReaderStats {
            blocks: blocks as u64,
            blocks_len: blocks_len as u64,
            resolves: counters.resolves.load(),
            reads: counters.reads.load(),
            bytes: counters.bytes.load(),
            damaged: counters.damaged.load(),
        }
    }

    async fn read_within(
        &self,
        group: &Arc<dyn Group>,
        wanted: &Wanted,
        deadline: Deadline,
    ) -> Result<Bytes, ReadError> {
        let mut progress = Progress::within(deadline);
        let mut freshness = Freshness::Any;
        let mut pauses = deadline.pauses();
        loop {
            let attempt = self.attempt(group, wanted, freshness, &mut progress);
            let error = match attempt.await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            tracing::debug!(content = %wanted.content, %error, "an attempt to read failed");
            let may_be_stale = error.is_not_found() || error.is_corrupt();
            let again = if error.is_retryable() {
                pauses.pause(progress.deadline()).await
            } else {
                may_be_stale && freshness == Freshness::Any
            };
            if !again {
                return Err(error);
            }
            freshness = Freshness::Now;
        }
    }

    async fn attempt(
        &self,
        group: &Arc<dyn Group>,
        wanted: &Wanted,
        freshness: Freshness,
        progress: &mut Progress,
    ) -> Result<Bytes, ReadError> {
        let load = self.places.load(group, freshness, progress.deadline());
        let table = load.await?;
        read_located(&self.chunks, &table, wanted, progress).await
    }
}
