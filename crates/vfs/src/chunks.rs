//! Verified parts of chunks: indexes and blocks, from memory, from the disk cache, from datanodes.
//!
//! Nothing leaves this module, or enters a cache, that is not what its hash says: an index is
//! checked against the chunk's place, a block against the index. A damaged answer is asked for once
//! more, at another node if there is one. Retrying when servers are away is up to the caller.
//!
//! Lock order: flights, then window, then the memory caches.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use lfsfs_cache::DiskCache;
use lfsfs_client::ChunkLocation;
use lfsfs_types::chunk::{FOOTER_LEN_MAX, Footer, TRAILER_LEN, decode_block};
use lfsfs_types::limits::CHUNK_LEN_MAX;
use lfsfs_types::{ChunkId, ContentId};
use tokio::sync::Semaphore;

use self::window::{Window, WindowLimits};
use crate::config::VfsConfig;
use crate::deadline::Deadline;
use crate::error::VfsError;
use crate::flight::{Flights, Start};
use crate::listings::Source;
use crate::weighted::{Weight, WeightedCache};

mod window;

const READ: &str = "read from a chunk";
const VERIFY: &str = "verify a chunk";

/// How often damaged data is asked for.
const ATTEMPTS: usize = 2;

type BlockKey = (ChunkId, u32);

/// A chunk whose index is known.
#[derive(Debug)]
pub(crate) struct Chunk {
    location: Arc<ChunkLocation>,
    pub(crate) footer: Footer,
    window: Mutex<Window>,
}

/// Blocks that came together.
#[derive(Debug)]
struct Fetched {
    first: u32,
    /// Raw bytes; `None` for those that no node has undamaged.
    blocks: Vec<Option<Bytes>>,
}

/// All chunks that were looked into.
#[derive(Debug)]
pub(crate) struct Chunks {
    source: Source,
    limits: WindowLimits,
    loaded: WeightedCache<ChunkId, Arc<Chunk>>,
    loading: Arc<Flights<ChunkId, Arc<Chunk>>>,
    blocks: WeightedCache<BlockKey, Bytes>,
    fetching: Arc<Flights<BlockKey, Arc<Fetched>>>,
    /// Bytes that may be on their way at once.
    in_flight: Arc<Semaphore>,
    in_flight_max: u32,
}

impl Chunks {
    pub(crate) fn new(source: Source, config: &VfsConfig) -> Self {
        Self {
            source,
            limits: WindowLimits {
                first: config.window_len_first,
                max: config.window_len_max,
            },
            loaded: WeightedCache::new(config.footers_len_max),
            loading: Flights::new(),
            blocks: WeightedCache::new(config.blocks_len_max),
            fetching: Flights::new(),
            in_flight: Arc::new(Semaphore::new(config.in_flight_len_max as usize)),
            in_flight_max: config.in_flight_len_max,
        }
    }

    /// Returns the chunk that has a small content and the content's length, if its index is loaded.
    pub(crate) fn find_loaded(&self, content: &ContentId) -> Option<(Arc<ChunkLocation>, u32)> {
        self.loaded.find_map(|(_, chunk)| {
            let entry = chunk.footer.find(content)?;
            Some((Arc::clone(&chunk.location), entry.len))
        })
    }

    pub(crate) fn chunk_in_memory(&self, id: &ChunkId) -> Option<Arc<Chunk>> {
        self.loaded.find(id)
    }

    /// Returns a block if it is in memory and reading it is no reason to read ahead.
    pub(crate) fn block_at_hand(&self, chunk: &Chunk, index: u32) -> Option<Bytes> {
        let is_time = chunk.window().is_time(index);
        if is_time {
            None
        } else {
            self.block_in_memory(chunk, index)
        }
    }

    fn block_in_memory(&self, chunk: &Chunk, index: u32) -> Option<Bytes> {
        self.blocks.find(&chunk.key(index))
    }

    /// Returns the number of blocks in memory and their bytes.
    pub(crate) fn load_in_memory(&self) -> (usize, usize) {
        self.blocks.load()
    }

    /// Loads the index of a chunk.
    pub(crate) async fn open(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        deadline: Deadline,
    ) -> Result<Arc<Chunk>, VfsError> {
        let id = location.info.id;
        if let Some(chunk) = self.chunk_in_memory(&id) {
            return Ok(chunk);
        }
        if let Some(footer) = self.source.cache.footer(&location.info) {
            return Ok(self.keep(location, footer));
        }
        let fetched = self.loading.join(&id, |_| match self.chunk_in_memory(&id) {
            Some(chunk) => Start::Ready(chunk),
            None => {
                let work = Arc::clone(self).fetch_footer(Arc::clone(location), deadline);
                Start::Launch(vec![id], work)
            }
        });
        deadline.bound(READ, fetched).await
    }

    /// Returns the raw bytes of a block.
    pub(crate) async fn block(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        index: u32,
        deadline: Deadline,
    ) -> Result<Bytes, VfsError> {
        self.read_ahead(location, chunk, index, deadline);
        if let Some(block) = self.block_in_memory(chunk, index) {
            return Ok(block);
        }
        let info = &location.info;
        if let Some(block) = self.source.cache.block(info, &chunk.footer, index) {
            self.blocks.insert(chunk.key(index), block.clone());
            return Ok(block);
        }
        let on_disk = self.source.cache.blocks_present(info, &chunk.footer);
        let key = chunk.key(index);
        let fetched = self.fetching.join(&key, |is_in_flight| {
            if let Some(block) = self.block_in_memory(chunk, index) {
                return Start::Ready(Arc::new(Fetched::one(index, block)));
            }
            let is_wanted = |it| self.is_wanted(chunk, it, &on_disk, is_in_flight);
            self.launch(location, chunk, index, &is_wanted, deadline)
        });
        let fetched = deadline.bound(READ, fetched).await?;
        fetched.find(index).ok_or_else(|| {
            VfsError::corrupt(
                VERIFY,
                format!("block {index} of chunk {} is damaged", info.id),
            )
        })
    }

    /// Starts to fetch the next blocks if they are asked for in order.
    fn read_ahead(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        index: u32,
        deadline: Deadline,
    ) {
        let Some(next) = chunk.window().ahead(index) else {
            return;
        };
        let on_disk = self
            .source
            .cache
            .blocks_present(&location.info, &chunk.footer);
        self.fetching.launch(&chunk.key(next), |is_in_flight| {
            let is_wanted = |it| self.is_wanted(chunk, it, &on_disk, is_in_flight);
            is_wanted(next).then(|| self.launch(location, chunk, next, &is_wanted, deadline))
        });
    }

    fn launch(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        index: u32,
        is_wanted: &dyn Fn(u32) -> bool,
        deadline: Deadline,
    ) -> Start<BlockKey, Arc<Fetched>, impl Future<Output = Result<Arc<Fetched>, VfsError>> + use<>>
    {
        let range = chunk
            .window()
            .open(&chunk.footer, index, self.limits, is_wanted);
        let keys = range.clone().map(|it| chunk.key(it)).collect();
        let fetch = Fetch {
            chunks: Arc::clone(self),
            location: Arc::clone(location),
            chunk: Arc::clone(chunk),
            asked: index,
            deadline,
        };
        Start::Launch(keys, fetch.run(range))
    }

    fn is_wanted(
        &self,
        chunk: &Chunk,
        index: u32,
        on_disk: &[bool],
        is_in_flight: &dyn Fn(&BlockKey) -> bool,
    ) -> bool {
        let key = chunk.key(index);
        let is_missing = on_disk.get(index as usize) == Some(&false);
        is_missing && !is_in_flight(&key) && !self.blocks.contains(&key)
    }

    async fn fetch_footer(
        self: Arc<Self>,
        location: Arc<ChunkLocation>,
        deadline: Deadline,
    ) -> Result<Arc<Chunk>, VfsError> {
        let info = location.info;
        if info.len > CHUNK_LEN_MAX || info.footer_len > FOOTER_LEN_MAX {
            return Err(VfsError::corrupt(VERIFY, "no chunk is that long"));
        }
        let end = info.len.saturating_sub(TRAILER_LEN as u64);
        let range = end.saturating_sub(u64::from(info.footer_len))..end;
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            let encoded = self
                .read(&location, attempt, range.clone(), deadline)
                .await?;
            match Footer::decode_verified(&encoded, &info.footer_sha256) {
                Ok(footer) if footer.chunk_len() == info.len => {
                    self.source
                        .writer
                        .write(move |cache| cache.store_footer(&info, &encoded))
                        .await;
                    return Ok(self.keep(&location, footer));
                }
                Ok(_) => problem = "the index is not that of a chunk of this length".to_owned(),
                Err(error) => problem = error.to_string(),
            }
            self.note_damage(&location, &problem);
        }
        Err(VfsError::corrupt(VERIFY, problem))
    }

    /// Reads a range from the first node that has it, others first on a second attempt.
    async fn read(
        &self,
        location: &ChunkLocation,
        attempt: usize,
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Bytes, VfsError> {
        let mut location = location.clone();
        if let Some(turn) = attempt.checked_rem(location.nodes.len()) {
            location.nodes.rotate_left(turn);
        }
        let expected = range.end - range.start;
        let call = async {
            self.source.counters.reads.add(1);
            let answer = self.source.remote.read_chunk(&location, range).await;
            answer.map_err(VfsError::io(READ))
        };
        let bytes = deadline.bound(READ, call).await?;
        self.source.counters.bytes.add(bytes.len() as u64);
        if bytes.len() as u64 != expected {
            let problem = format!("{} bytes came instead of {expected}", bytes.len());
            return Err(VfsError::corrupt(READ, problem));
        }
        Ok(bytes)
    }

    fn note_damage(&self, location: &ChunkLocation, problem: &str) {
        self.source.counters.damaged.add(1);
        let chunk = location.info.id;
        tracing::warn!(%chunk, problem, "damaged data from a datanode, not used");
    }

    fn keep(&self, location: &Arc<ChunkLocation>, footer: Footer) -> Arc<Chunk> {
        let chunk = Arc::new(Chunk {
            location: Arc::clone(location),
            footer,
            window: Mutex::new(Window::new()),
        });
        self.loaded.insert(location.info.id, Arc::clone(&chunk));
        chunk
    }
}

impl Chunk {
    fn key(&self, index: u32) -> BlockKey {
        (self.location.info.id, index)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().expect("no holder of this lock panics")
    }
}

impl Fetched {
    fn one(index: u32, block: Bytes) -> Self {
        Self {
            first: index,
            blocks: vec![Some(block)],
        }
    }

    fn find(&self, index: u32) -> Option<Bytes> {
        let position = index.checked_sub(self.first)?;
        self.blocks.get(position as usize)?.clone()
    }
}

/// One window on its way.
struct Fetch {
    chunks: Arc<Chunks>,
    location: Arc<ChunkLocation>,
    chunk: Arc<Chunk>,
    /// The block that somebody waits for.
    asked: u32,
    deadline: Deadline,
}

impl Fetch {
    /// Fetches the blocks of a window. Those that stay damaged are left out, so that one rotten
    /// block does not take its neighbours along.
    async fn run(self, window: Range<u32>) -> Result<Arc<Fetched>, VfsError> {
        let mut fetched = Fetched {
            first: window.start,
            blocks: vec![None; window.len()],
        };
        let mut range = window;
        for attempt in 0..ATTEMPTS {
            match self.attempt(attempt, range.clone()).await {
                Ok(blocks) => {
                    let start = (range.start - fetched.first) as usize;
                    for (slot, block) in fetched.blocks[start..].iter_mut().zip(blocks) {
                        *slot = slot.take().or(block);
                    }
                    if fetched.blocks.iter().all(Option::is_some) {
                        break;
                    }
                }
                // A node that finds damage itself refuses the whole range.
                Err(error) if error.is_corrupt() && attempt + 1 < ATTEMPTS => {
                    range = self.asked..self.asked + 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Arc::new(fetched))
    }

    /// Fetches blocks once and returns those that are whole.
    async fn attempt(
        &self,
        attempt: usize,
        range: Range<u32>,
    ) -> Result<Vec<Option<Bytes>>, VfsError> {
        let entries = &self.chunk.footer.blocks()[range.start as usize..range.end as usize];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Vec::new());
        };
        let bytes_range = first.offset..last.offset + u64::from(last.stored_len);
        let len = u32::try_from(bytes_range.end - bytes_range.start).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.chunks.in_flight)
            .acquire_many_owned(len.min(self.chunks.in_flight_max));
        let permit = self
            .deadline
            .bound(READ, async { Ok(permits.await.ok()) })
            .await?;
        let bytes = self
            .chunks
            .read(&self.location, attempt, bytes_range, self.deadline)
            .await?;
        let (blocks, whole) = self.verify(range, bytes).await?;
        let (info, chunk) = (self.location.info, Arc::clone(&self.chunk));
        // What waits for the disk still counts as in flight.
        let write = move |cache: &DiskCache| {
            cache.store_blocks(&info, &chunk.footer, &whole);
            drop(permit);
        };
        self.chunks.source.writer.write(write).await;
        Ok(blocks)
    }

    /// Checks and decodes blocks off the reactor. Returns the raw bytes of those that are whole, and
    /// their stored ones.
    async fn verify(&self, range: Range<u32>, bytes: Bytes) -> Result<Verified, VfsError> {
        let (chunks, chunk) = (Arc::clone(&self.chunks), Arc::clone(&self.chunk));
        let location = Arc::clone(&self.location);
        let work = move || chunks.verify(&location, &chunk, range, &bytes);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| VfsError::corrupt(VERIFY, error.to_string()))
    }
}

/// Raw blocks of a range, and the stored bytes of those that are whole.
type Verified = (Vec<Option<Bytes>>, Vec<(u32, Bytes)>);

impl Chunks {
    fn verify(
        &self,
        location: &ChunkLocation,
        chunk: &Chunk,
        range: Range<u32>,
        bytes: &Bytes,
    ) -> Verified {
        let entries = &chunk.footer.blocks()[range.start as usize..range.end as usize];
        let mut raw_blocks = Vec::with_capacity(entries.len());
        let mut whole = Vec::with_capacity(entries.len());
        let mut start = 0;
        for (index, entry) in range.zip(entries) {
            let end = start + entry.stored_len as usize;
            let stored = bytes.slice(start..end);
            start = end;
            let raw = decode_block(entry, &stored).map(Bytes::from);
            match &raw {
                Ok(raw) => {
                    self.blocks.insert(chunk.key(index), raw.clone());
                    whole.push((index, stored));
                }
                Err(error) => self.note_damage(location, &error.to_string()),
            }
            raw_blocks.push(raw.ok());
        }
        (raw_blocks, whole)
    }
}

impl Weight for Bytes {
    fn weight(&self) -> usize {
        self.len() + 128
    }
}

impl Weight for Arc<Chunk> {
    fn weight(&self) -> usize {
        256 + self.footer.blocks().len() * 56 + self.footer.contents().len() * 48
    }
}
