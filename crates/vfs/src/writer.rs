//! Writes to the disk cache that nobody waits for: one thread does them one after the other.
//!
//! One, because thousands of small files made by many threads at once only wait for each other. The
//! queue is bounded, so a slow disk slows down those who fill the cache instead of filling memory.

use std::thread;

use lfsfs_cache::DiskCache;
use tokio::sync::{mpsc, oneshot};

const QUEUE_LEN: usize = 256;

type Job = Box<dyn FnOnce(&DiskCache) + Send>;

/// The queue to the thread, which ends when this is dropped and everything is written.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread. Without one nothing is written, which costs speed later and nothing else.
    pub(crate) fn start(cache: DiskCache) -> Self {
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE_LEN);
        let work = move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&cache);
            }
        };
        let thread = thread::Builder::new().name("lfsfs-cache".to_owned());
        if let Err(error) = thread.spawn(work) {
            tracing::warn!(%error, "cannot start a thread, nothing is cached on disk");
        }
        Self { queue }
    }

    /// Adds a write; waits while too many are pending.
    pub(crate) async fn write(&self, job: impl FnOnce(&DiskCache) + Send + 'static) {
        if self.queue.send(Box::new(job)).await.is_err() {
            tracing::debug!("nobody writes to the disk cache");
        }
    }

    /// Waits until everything added so far is written.
    pub(crate) async fn settle(&self) {
        let (done, settled) = oneshot::channel::<()>();
        self.write(move |_| drop(done)).await;
        // There is nothing to receive: the job is done when its sender is gone.
        drop(settled.await);
    }
}
