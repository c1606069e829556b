//! What is behind a reader: the servers, the disk cache, and the counts of what goes to them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_cache::{DiskCache, PlacesKey};
use lfsfs_common::tasks::Spawner;
use lfsfs_remote::{ChunkBytes, ChunkLocation, RemoteContents, Resolved};
use lfsfs_types::chunk::Footer;
use lfsfs_types::{ChunkInfo, ContentId, ProjectId};

use crate::counters::Counters;
use crate::deadline::Deadline;
use crate::error::ReadError;
use crate::write_behind::WriteBehindCache;

/// Where a reader reads from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Who knows where contents lie, and has the chunks.
    pub remote: Arc<dyn RemoteContents>,
    /// The project that the contents belong to.
    pub project: ProjectId,
    /// The disk cache; without one, nothing is kept but in memory.
    pub cache: Option<Arc<WriteBehindCache>>,
    /// Spawns the fetches for their owner.
    pub spawner: Spawner,
}

/// A source, with counts of what it was asked.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) source: Source,
    pub(crate) counters: Counters,
}

impl Backend {
    pub(crate) fn new(source: Source) -> Arc<Self> {
        Arc::new(Self {
            source,
            counters: Counters::default(),
        })
    }

    /// Asks the coordinator where contents lie.
    pub(crate) async fn resolve(
        &self,
        contents: &[ContentId],
        deadline: Deadline,
    ) -> Result<Resolved, ReadError> {
        const ACTION: &str = "resolve contents";
        self.counters.resolves.add(1);
        let call = self.source.remote.resolve(self.source.project, contents);
        deadline
            .bound(ACTION, async {
                call.await.map_err(ReadError::remote(ACTION))
            })
            .await
    }

    /// Reads a range of a chunk from one of its datanodes. All of it comes, or an error.
    pub(crate) async fn read_chunk(
        &self,
        location: &ChunkLocation,
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<ChunkBytes, ReadError> {
        const ACTION: &str = "read from a chunk";
        let expected = range.end - range.start;
        let call = async {
            self.counters.reads.add(1);
            let answer = self.source.remote.read_chunk(location, range).await;
            answer.map_err(ReadError::remote(ACTION))
        };
        let read = deadline.bound(ACTION, call).await?;
        let len = read.bytes.len() as u64;
        self.counters.bytes.add(len);
        if len != expected {
            let chunk = location.info.id;
            let problem = format!("chunk {chunk}: {len} bytes of {expected} came");
            return Err(ReadError::corrupt(ACTION, problem));
        }
        Ok(read)
    }

    pub(crate) fn footer(&self, chunk: &ChunkInfo) -> Option<Footer> {
        self.disk()?.footer(chunk)
    }

    pub(crate) fn block(&self, chunk: &ChunkInfo, footer: &Footer, index: u32) -> Option<Bytes> {
        self.disk()?.block(chunk, footer, index)
    }

    /// Returns for each block whether it seems to be in the disk cache.
    pub(crate) fn blocks_present(&self, chunk: &ChunkInfo, footer: &Footer) -> Vec<bool> {
        match self.disk() {
            Some(disk) => disk.blocks_present(chunk, footer),
            None => vec![false; footer.blocks().len()],
        }
    }

    pub(crate) fn places(&self, key: &PlacesKey) -> Option<Bytes> {
        self.disk()?.places(key)
    }

    /// Writes to the disk cache, if there is one, behind the caller.
    pub(crate) async fn store(&self, job: impl FnOnce(&DiskCache) + Send + 'static) {
        if let Some(cache) = &self.source.cache {
            cache.write(job).await;
        }
    }

    fn disk(&self) -> Option<&DiskCache> {
        self.source.cache.as_ref().map(|cache| cache.disk())
    }
}
