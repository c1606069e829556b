//! A disk cache that is read by its callers and written behind them: one thread does all writes, one
//! after the other.
//!
//! One, because thousands of small files made by many threads at once only wait for each other. The
//! queue is bounded, so a slow disk slows down those who fill the cache instead of filling memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lfsfs_cache::DiskCache;
use tokio::sync::{mpsc, oneshot};

const QUEUE_LEN: usize = 256;
/// How long the write that is under way may take to its end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce(&DiskCache) + Send>;

/// The cache and the queue to its thread. When this is dropped the thread ends; what was not written
/// is not.
#[derive(Debug)]
pub struct WriteBehindCache {
    cache: DiskCache,
    queue: mpsc::Sender<Job>,
    is_over: Arc<AtomicBool>,
    ended: Mutex<Receiver<()>>,
}

impl WriteBehindCache {
    /// Starts the thread. Without one nothing is written, which costs speed later and nothing else.
    #[must_use]
    pub fn start(cache: DiskCache) -> Arc<Self> {
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE_LEN);
        let (end, ended) = sync_channel(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, written) = (Arc::clone(&is_over), cache.clone());
        let work = move || {
            while let Some(job) = jobs.blocking_recv()
                && !over.load(Ordering::Relaxed)
            {
                job(&written);
            }
            drop(end);
        };
        let thread = thread::Builder::new().name("lfsfs-cache".to_owned());
        if let Err(error) = thread.spawn(work) {
            tracing::warn!(%error, "cannot start a thread, nothing is cached on disk");
        }
        Arc::new(Self {
            cache,
            queue,
            is_over,
            ended: Mutex::new(ended),
        })
    }

    /// Returns the cache, to be read.
    #[must_use]
    pub fn disk(&self) -> &DiskCache {
        &self.cache
    }

    /// Adds a write; waits while too many are pending.
    pub async fn write(&self, job: impl FnOnce(&DiskCache) + Send + 'static) {
        if self.queue.send(Box::new(job)).await.is_err() {
            tracing::debug!("nothing is written to the disk cache any more");
        }
    }

    /// Waits until everything added so far is written.
    pub async fn settle(&self) {
        let (done, settled) = oneshot::channel::<()>();
        self.write(move |_| drop(done)).await;
        // There is nothing to receive: the job is done when its sender is gone.
        drop(settled.await);
    }
}

impl Drop for WriteBehindCache {
    /// Nothing is written any more on return, unless the disk hangs.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread. If there is no room it is awake.
        let _ = self.queue.try_send(Box::new(|_| ()));
        // Nothing is ever sent: it ends when the thread does.
        if let Ok(ended) = self.ended.get_mut() {
            let _ = ended.recv_timeout(END_TIMEOUT);
        }
    }
}
