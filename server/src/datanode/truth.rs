//! Keeps what the coordinator knows of the chunks on this disk true: this module reports chunks
//! that are lost, and chunks that are here and that the coordinator does not know.
//!
//! Looking at a chunk and reporting what was seen are one step for that chunk, under its lock, so that
//! an older look never overtakes a newer one. docs/durability.md "Chunks that are lost" has the order
//! of writes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_chunk_store::{ChunkStamp, ChunkStoreError, StoredChunk};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ChunkId, ChunkInfo, SessionId};
use lru::LruCache;
use tokio::sync::{Mutex, MutexGuard};

use super::DataNode;
use crate::blocking::blocking;

/// Locks of chunks; several chunks share one.
const LOCKS: usize = 64;
/// Chunks that are asked for, or listed, at once.
const PAGE: usize = 4096;
/// How often a chunk is read that the disk does not give, and the time between.
const READS: u32 = 3;
const READ_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long a reader waits until the chunk that it found missing is reported.
const REPORT_WAIT: Duration = Duration::from_secs(1);

/// The locks under which chunks are looked at and reported.
#[derive(Debug)]
pub(super) struct ChunkLocks(Vec<Mutex<()>>);

impl ChunkLocks {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(Mutex::default).take(LOCKS).collect())
    }

    async fn lock(&self, chunk: ChunkId) -> MutexGuard<'_, ()> {
        self.0[usize::from(chunk.as_bytes()[0]) % LOCKS]
            .lock()
            .await
    }
}

/// Chunks that this process has verified and reported, the ones used last. They need not be read again
/// before they are reported again, unless their files have changed.
#[derive(Debug)]
pub(super) struct Reported(LruCache<ChunkId, (ChunkInfo, ChunkStamp)>);

/// How many such chunks are remembered.
const REPORTED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not 0");

impl Default for Reported {
    fn default() -> Self {
        Self(LruCache::new(REPORTED_MAX))
    }
}

/// What verifying a chunk finds.
enum Seen {
    Whole(StoredChunk),
    /// It is not there, or it was damaged and is moved aside.
    Absent,
}

/// What is on the disk.
enum Looked {
    Whole(StoredChunk),
    Damaged,
    NotThere,
}

impl DataNode {
    /// Reports a chunk that was just stored.
    pub(super) async fn report_stored(
        &self,
        slot: Option<SessionId>,
        stored: &StoredChunk,
    ) -> Result<(), Fault> {
        let _lock = self.chunk_locks.lock(stored.info.id).await;
        self.report(slot, stored).await
    }

    /// Reports a chunk again, for another slot, if this process has reported it before.
    pub(super) async fn report_again(
        &self,
        chunk: ChunkId,
        slot: Option<SessionId>,
    ) -> Result<bool, Fault> {
        let _lock = self.chunk_locks.lock(chunk).await;
        let Some((info, stamp)) = self.reported().0.get(&chunk).copied() else {
            return Ok(false);
        };
        if self.stamp(chunk).await? != stamp {
            return Ok(false);
        }
        // Where its contents lie is known from the first time.
        let stored = StoredChunk {
            info,
            contents: Vec::new(),
        };
        self.link.report(self.id, slot, &stored).await?;
        Ok(true)
    }

    /// Reports a chunk, which must be here.
    async fn report(&self, slot: Option<SessionId>, stored: &StoredChunk) -> Result<(), Fault> {
        let chunk = stored.info.id;
        // Of before the report: what happens to the file from now on must be seen.
        let stamp = self.stamp(chunk).await?;
        let told = self.link.report(self.id, slot, stored).await;
        if told.is_err() {
            self.unreported.notify_one();
        }
        told?;
        self.reported().0.put(chunk, (stored.info, stamp));
        Ok(())
    }

    async fn stamp(&self, chunk: ChunkId) -> Result<ChunkStamp, Fault> {
        let store = Arc::clone(&self.store);
        blocking(move || store.open(chunk).map(|reader| reader.stamp())).await
    }

    async fn report_absent(&self, chunk: ChunkId) -> Result<(), Fault> {
        self.reported().0.pop(&chunk);
        self.link.report_lost(self.id, &[chunk]).await
    }

    fn reported(&self) -> std::sync::MutexGuard<'_, Reported> {
        self.reported
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Verifies a chunk and reports what was found. Returns whether it is here.
    pub(super) async fn verify_and_report(
        &self,
        chunk: ChunkId,
        slot: Option<SessionId>,
    ) -> Result<bool, Fault> {
        let _lock = self.chunk_locks.lock(chunk).await;
        match self.look(chunk).await? {
            Seen::Whole(stored) => {
                self.report(slot, &stored).await?;
                Ok(true)
            }
            Seen::Absent => {
                self.report_absent(chunk).await?;
                Ok(false)
            }
        }
    }

    /// Reads a chunk from the disk, and reports it as lost if it is damaged, or if the disk does not give it
    /// in several tries. Returns its length if it is whole.
    pub(super) async fn whole_len(&self, chunk: ChunkId) -> Result<Option<u64>, Fault> {
        for _ in 1..READS {
            match self.read_from_disk(chunk).await {
                Err(fault) if fault.kind == FaultKind::Corrupt => {
                    tracing::warn!(%chunk, reason = fault.message, "the disk does not give a chunk");
                }
                looked => return looked,
            }
            tokio::time::sleep(READ_AGAIN_AFTER).await;
        }
        match self.read_from_disk(chunk).await {
            Err(fault) if fault.kind == FaultKind::Corrupt => {
                self.give_up(chunk).await?;
                Ok(None)
            }
            looked => looked,
        }
    }

    async fn read_from_disk(&self, chunk: ChunkId) -> Result<Option<u64>, Fault> {
        let _lock = self.chunk_locks.lock(chunk).await;
        self.store.drop_cached(chunk);
        match self.look(chunk).await? {
            Seen::Whole(stored) => Ok(Some(stored.info.len)),
            Seen::Absent => {
                self.report_absent(chunk).await?;
                Ok(None)
            }
        }
    }

    /// Reports a chunk as lost that the disk does not give. It is moved aside first, which a disk that has
    /// failed as a whole refuses: then nothing is reported.
    async fn give_up(&self, chunk: ChunkId) -> Result<(), Fault> {
        let _lock = self.chunk_locks.lock(chunk).await;
        let store = Arc::clone(&self.store);
        blocking(move || store.quarantine(chunk)).await?;
        self.counters.corrupt.add(1);
        self.report_absent(chunk).await
    }

    /// Deletes a chunk that the coordinator has no use for any more. Returns false if there was none.
    ///
    /// The coordinator forgets the place first, so that a crash in between leaves a chunk to which no
    /// client is sent. If this node has registered again meanwhile, the one that forgot it may have been another
    /// coordinator, which this one does not know of: the chunk stays.
    pub(super) async fn delete(&self, chunk: ChunkId, generation: u64) -> Result<bool, Fault> {
        let _lock = self.chunk_locks.lock(chunk).await;
        match self.look(chunk).await? {
            Seen::Absent => {
                self.report_absent(chunk).await?;
                Ok(false)
            }
            Seen::Whole(stored) => {
                self.link.release(self.id, &stored).await?;
                self.reported().0.pop(&chunk);
                self.check_generation(generation)?;
                let store = Arc::clone(&self.store);
                blocking(move || store.delete(chunk)).await
            }
        }
    }

    /// Verifies a chunk and reports what was found; one that the disk does not give is read again.
    pub(super) async fn look_and_report(&self, chunk: ChunkId) -> Result<bool, Fault> {
        match self.verify_and_report(chunk, None).await {
            Err(fault) if fault.kind == FaultKind::Corrupt => {
                Ok(self.whole_len(chunk).await?.is_some())
            }
            looked => looked,
        }
    }

    /// Verifies and reports a chunk that a reader found missing or damaged, in a task of its own.
    /// The reader waits for the report, for [`REPORT_WAIT`] at most.
    pub(super) async fn look_again(self: &Arc<Self>, chunk: ChunkId) {
        let node = Arc::clone(self);
        let abort = self.tasks.abort.clone();
        let looking = self.tasks.tracker.spawn(async move {
            let looked = tokio::select! {
                looked = node.look_and_report(chunk) => looked,
                // The next start looks at everything.
                () = abort.cancelled() => return,
            };
            if let Err(fault) = looked {
                tracing::warn!(%chunk, reason = fault.message, "a lost chunk is not reported yet");
            }
        });
        // The task goes on if this wait ends.
        drop(tokio::time::timeout(REPORT_WAIT, looking).await);
    }

    /// Reports as lost the chunks that the coordinator believes to be here and that are not.
    pub(super) async fn report_losses(&self) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let (known, more) = self.link.chunks(self.id, after, PAGE).await?;
            after = known.last().map(|(chunk, _)| *chunk);
            for chunk in self.doubtful(known).await? {
                self.look_and_report(chunk).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Reports those chunks that are here and that the coordinator does not know of: of an earlier
    /// disk that is back, or of a receipt that was lost.
    pub(super) async fn report_finds(&self) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let store = Arc::clone(&self.store);
            let here = blocking(move || store.list(after, PAGE)).await?;
            let (Some(last), is_last) = (here.last().copied(), here.len() < PAGE) else {
                return Ok(());
            };
            let known = self.known_between(after, last).await?;
            let is_known =
                |it: &ChunkId| known.binary_search_by_key(it, |(chunk, _)| *chunk).is_ok();
            for chunk in here.iter().filter(|it| !is_known(it)) {
                self.look_and_report(*chunk).await?;
            }
            if is_last {
                return Ok(());
            }
            after = Some(last);
        }
    }

    /// Returns the chunks behind `after`, up to `last`, that the coordinator believes to be here, with their
    /// lengths; there may be some beyond it.
    pub(super) async fn known_between(
        &self,
        mut after: Option<ChunkId>,
        last: ChunkId,
    ) -> Result<Vec<(ChunkId, u64)>, Fault> {
        let mut known = Vec::new();
        loop {
            let (page, more) = self.link.chunks(self.id, after, PAGE).await?;
            after = page.last().map(|(chunk, _)| *chunk).or(after);
            let is_past = page.last().is_none_or(|(chunk, _)| *chunk >= last);
            known.extend(page);
            if is_past || !more {
                return Ok(known);
            }
        }
    }

    /// Returns those of these chunks that are not here, or have another length.
    async fn doubtful(&self, known: Vec<(ChunkId, u64)>) -> Result<Vec<ChunkId>, Fault> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            let mut doubtful = Vec::new();
            for (chunk, len) in known {
                match store.open(chunk) {
                    Ok(reader) if reader.chunk_len() == len => {}
                    Ok(_) => doubtful.push(chunk),
                    Err(error) if error.is_not_found() => doubtful.push(chunk),
                    // A disk that fails, or a process without descriptors, has lost nothing.
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, ChunkStoreError>(doubtful)
        })
        .await
    }

    async fn look(&self, chunk: ChunkId) -> Result<Seen, Fault> {
        let store = Arc::clone(&self.store);
        let looked = blocking(move || match store.verify(chunk) {
            Ok(stored) => Ok(Looked::Whole(stored)),
            Err(error) if error.is_not_found() => Ok(Looked::NotThere),
            Err(error) if is_damaged(&error) => match store.quarantine(chunk) {
                Ok(()) => Ok(Looked::Damaged),
                Err(error) if error.is_not_found() => Ok(Looked::NotThere),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        });
        Ok(match looked.await? {
            Looked::Whole(stored) => Seen::Whole(stored),
            Looked::Damaged => {
                self.counters.corrupt.add(1);
                Seen::Absent
            }
            Looked::NotThere => {
                self.counters.absent.add(1);
                Seen::Absent
            }
        })
    }
}

/// Returns true if the bytes of a chunk were read and are wrong.
pub(super) const fn is_damaged(error: &ChunkStoreError) -> bool {
    error.is_corrupt() && !error.is_unreadable()
}

/// Returns true if a chunk that was asked for is not here, or not whole.
pub(super) fn is_loss(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::ChunkNotFound | FaultKind::Corrupt)
}
