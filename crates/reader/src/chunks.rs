//! Verified parts of chunks: footers and blocks, from memory, from the disk cache, from datanodes.
//!
//! Nothing leaves this module, or enters a cache, that is not what its hash says: a footer is
//! checked against the chunk's place, a block against the footer. What a datanode gives damaged is asked for
//! at another one if there is one, else once more. Retrying when servers are away is up to the caller.
//!
//! Lock order: fetches, then window, then the memory caches.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use lfsfs_remote::{ChunkBytes, ChunkLocation};
use lfsfs_types::chunk::{FOOTER_LEN_MAX, Footer, TRAILER_LEN};
use lfsfs_types::limits::CHUNK_LEN_MAX;
use lfsfs_types::{ChunkId, ContentId};
use tokio::sync::Semaphore;

use self::candidates::Candidates;
use self::fetch::{Fetch, Fetched};
use self::window::{Window, WindowLimits};
use crate::backend::Backend;
use crate::config::ReaderConfig;
use crate::deadline::Deadline;
use crate::error::ReadError;
use crate::place_table::LocatedPart;
use crate::single_flight::{Launch, SingleFlight, Start};
use crate::weighted::{Weight, WeightedCache};

mod candidates;
mod fetch;
mod window;

const READ: &str = "read from a chunk";
const VERIFY: &str = "verify a chunk";

type BlockKey = (ChunkId, u32);

/// A chunk whose footer is known.
#[derive(Debug)]
pub(crate) struct Chunk {
    location: Arc<ChunkLocation>,
    pub(crate) footer: Footer,
    window: Mutex<Window>,
}

/// All chunks that were looked into.
#[derive(Debug)]
pub(crate) struct Chunks {
    backend: Arc<Backend>,
    limits: WindowLimits,
    loaded: WeightedCache<ChunkId, Arc<Chunk>>,
    loading: Arc<SingleFlight<ChunkId, Arc<Chunk>>>,
    blocks: WeightedCache<BlockKey, Bytes>,
    fetching: Arc<SingleFlight<BlockKey, Arc<Fetched>>>,
    /// Bytes that may be on their way at once.
    in_flight: Arc<Semaphore>,
    in_flight_max: u32,
}

impl Chunks {
    pub(crate) fn new(backend: Arc<Backend>, config: &ReaderConfig) -> Self {
        let spawner = backend.source.spawner.clone();
        Self {
            backend,
            limits: WindowLimits {
                first: config.window_len_first,
                max: config.window_len_max,
            },
            loaded: WeightedCache::new(config.footers_len_max),
            loading: SingleFlight::new(config.fetches_max, spawner.clone()),
            blocks: WeightedCache::new(config.blocks_len_max),
            fetching: SingleFlight::new(config.fetches_max, spawner),
            in_flight: Arc::new(Semaphore::new(config.in_flight_len_max as usize)),
            in_flight_max: config.in_flight_len_max,
        }
    }

    /// Returns where a small content or a piece is, if the footer of its chunk is loaded.
    pub(crate) fn find_loaded(&self, content: &ContentId) -> Option<LocatedPart> {
        self.loaded.find_map(|(_, chunk)| {
            let entry = chunk.footer.find(content)?;
            Some(LocatedPart {
                id: *content,
                len: entry.len,
                location: Arc::clone(&chunk.location),
            })
        })
    }

    pub(crate) fn chunk_in_memory(&self, id: &ChunkId) -> Option<Arc<Chunk>> {
        self.loaded.find(id)
    }

    /// Returns a block if it is in memory and reading it is no reason to read ahead.
    pub(crate) fn block_at_hand(&self, chunk: &Chunk, index: u32) -> Option<Bytes> {
        if chunk.window().is_time(index) {
            return None;
        }
        self.block_in_memory(chunk, index)
    }

    fn block_in_memory(&self, chunk: &Chunk, index: u32) -> Option<Bytes> {
        self.blocks.find(&chunk.key(index))
    }

    /// Returns the number of blocks in memory and their bytes.
    pub(crate) fn load_in_memory(&self) -> (usize, usize) {
        self.blocks.load()
    }

    /// Loads the footer of a chunk.
    pub(crate) async fn open(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        deadline: Deadline,
    ) -> Result<Arc<Chunk>, ReadError> {
        let id = location.info.id;
        if let Some(chunk) = self.chunk_in_memory(&id) {
            return Ok(chunk);
        }
        if let Some(footer) = self.backend.footer(&location.info) {
            return Ok(self.keep(location, footer));
        }
        let fetched = self.loading.join(&id, |_| match self.chunk_in_memory(&id) {
            Some(chunk) => Start::Ready(chunk),
            None => Start::Launch(Launch {
                keys: vec![id],
                deadline,
                work: Arc::clone(self).fetch_footer(Arc::clone(location), deadline),
            }),
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
    ) -> Result<Bytes, ReadError> {
        self.read_ahead(location, chunk, index, deadline);
        if let Some(block) = self.block_in_memory(chunk, index) {
            return Ok(block);
        }
        let info = &location.info;
        if let Some(block) = self.backend.block(info, &chunk.footer, index) {
            self.blocks.insert(chunk.key(index), block.clone());
            return Ok(block);
        }
        let on_disk = self.backend.blocks_present(info, &chunk.footer);
        let key = chunk.key(index);
        let fetched = self.fetching.join(&key, |is_in_flight| {
            if let Some(block) = self.block_in_memory(chunk, index) {
                return Start::Ready(Arc::new(Fetched::one(index, block)));
            }
            let is_wanted = |it| self.is_wanted(chunk, it, &on_disk, is_in_flight);
            Start::Launch(self.window(location, chunk, index, &is_wanted, deadline))
        });
        deadline.bound(READ, fetched).await?.find(index)
    }

    /// Returns the raw bytes of blocks that lie side by side, read in one call. Caches are not asked:
    /// this is for callers that read each block once.
    pub(crate) async fn run(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        run: Range<u32>,
        deadline: Deadline,
    ) -> Result<Vec<Bytes>, ReadError> {
        let _permit = self.fetching.permit(deadline).await?;
        let fetch = Fetch {
            chunks: Arc::clone(self),
            location: Arc::clone(location),
            chunk: Arc::clone(chunk),
            asked: run.clone(),
            deadline,
        };
        fetch.run(run).await?.into_blocks()
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
        let on_disk = self.backend.blocks_present(&location.info, &chunk.footer);
        self.fetching.launch(&chunk.key(next), |is_in_flight| {
            let is_wanted = |it| self.is_wanted(chunk, it, &on_disk, is_in_flight);
            is_wanted(next).then(|| self.window(location, chunk, next, &is_wanted, deadline))
        });
    }

    /// Returns the fetch of a window that has the block `index`.
    fn window(
        self: &Arc<Self>,
        location: &Arc<ChunkLocation>,
        chunk: &Arc<Chunk>,
        index: u32,
        is_wanted: &dyn Fn(u32) -> bool,
        deadline: Deadline,
    ) -> Launch<BlockKey, impl Future<Output = Result<Arc<Fetched>, ReadError>> + use<>> {
        let window = chunk
            .window()
            .open(&chunk.footer, index, self.limits, is_wanted);
        let fetch = Fetch {
            chunks: Arc::clone(self),
            location: Arc::clone(location),
            chunk: Arc::clone(chunk),
            asked: index..index + 1,
            deadline,
        };
        Launch {
            keys: window.clone().map(|it| chunk.key(it)).collect(),
            deadline,
            work: async move { Ok(Arc::new(fetch.run(window).await?)) },
        }
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
    ) -> Result<Arc<Chunk>, ReadError> {
        let info = location.info;
        if info.len > CHUNK_LEN_MAX || info.footer_len > FOOTER_LEN_MAX {
            let problem = format!("chunk {}: no chunk is that long", info.id);
            return Err(ReadError::corrupt(VERIFY, problem));
        }
        let end = info.len.saturating_sub(TRAILER_LEN as u64);
        let range = end.saturating_sub(u64::from(info.footer_len))..end;
        let mut problem = String::new();
        let mut candidates = Candidates::of(&location);
        while let Some(place) = candidates.next() {
            let read = self.backend.read_chunk(place, range.clone(), deadline);
            let ChunkBytes { bytes, node } = read.await?;
            match Footer::decode_verified(&bytes, &info.footer_sha256) {
                Ok(footer) if footer.chunk_len() == info.len => {
                    self.backend
                        .store(move |cache| cache.store_footer(&info, &bytes))
                        .await;
                    return Ok(self.keep(&location, footer));
                }
                Ok(_) => problem = "the footer is not that of a chunk of this length".to_owned(),
                Err(error) => problem = error.to_string(),
            }
            self.note_damage(&location, &node, &problem);
            candidates.leave_out(&node);
        }
        Err(ReadError::corrupt(
            VERIFY,
            format!("chunk {}: {problem}", info.id),
        ))
    }

    fn note_damage(&self, location: &ChunkLocation, node: &str, problem: &str) {
        self.backend.counters.damaged.add(1);
        let chunk = location.info.id;
        tracing::warn!(%chunk, node, problem, "damaged data from a datanode, not used");
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

impl Weight for Bytes {
    fn weight(&self) -> usize {
        self.len() + 128
    }
}

impl Weight for Chunk {
    fn weight(&self) -> usize {
        256 + self.footer.blocks().len() * 56 + self.footer.contents().len() * 48
    }
}
