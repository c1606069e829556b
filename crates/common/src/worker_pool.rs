//! Threads that do the jobs that one producer finds.
//!
//! Jobs wait in a bounded queue, so a producer is never far ahead of the workers. The first failure ends
//! it all: the producer cannot push any more, and no worker takes another job. All threads belong to one
//! future: when it has an outcome, they have ended; when it is dropped, they end after the job that they
//! are at. Threads may block.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::task::JoinSet;

/// How many threads there are, and how far the producer may be ahead of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPool {
    /// Threads that do jobs. The producer has one more.
    pub workers: usize,
    /// Jobs that wait for a worker.
    pub queued_max: usize,
}

/// Why a pool stopped, where no failure of a job or of the producer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolError {
    /// A worker failed, or the pool was given up: no worker takes jobs any more.
    Ended,
    /// A job or the producer panicked, which is a defect.
    Panicked,
}

impl PoolError {
    /// Returns the text of the error.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ended => "no worker is left",
            Self::Panicked => "a worker panicked",
        }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Error for PoolError {}

/// The producer's end of the queue.
#[derive(Debug)]
pub struct JobQueue<J> {
    jobs: SyncSender<J>,
    is_over: Arc<AtomicBool>,
}

impl<J> JobQueue<J> {
    /// Gives a job to the workers. Blocks while as many wait as may.
    pub fn push(&self, job: J) -> Result<(), PoolError> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(PoolError::Ended);
        }
        self.jobs.send(job).map_err(|_| PoolError::Ended)
    }
}

impl WorkerPool {
    /// Has `produce` find jobs and the workers do them, until all that it found are done.
    ///
    /// Returns what the producer returned, or whatever failed first: a job or the producer. A producer
    /// that cannot push fails later than the job that is the reason.
    pub async fn run<J, R, E>(
        self,
        produce: impl FnOnce(JobQueue<J>) -> Result<R, E> + Send + 'static,
        work: impl Fn(J) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<R, E>
    where
        J: Send + 'static,
        R: Send + 'static,
        E: From<PoolError> + Send + 'static,
    {
        let outcome = Arc::new(Outcome::new());
        let _given_up = SetOnDrop(Arc::clone(&outcome.is_over));
        let (jobs, queue) = sync_channel(self.queued_max);
        let shared = Arc::new((Mutex::new(queue), work));
        let mut threads = JoinSet::new();
        for _ in 0..self.workers {
            let (shared, outcome) = (Arc::clone(&shared), Arc::clone(&outcome));
            threads.spawn_blocking(move || {
                let (queue, work) = &*shared;
                outcome.guard(|| outcome.work(queue, work));
            });
        }
        // The workers alone hold the queue: when the last of them is gone, the producer notices.
        drop(shared);
        let producer = Arc::clone(&outcome);
        threads.spawn_blocking(move || {
            let queue = JobQueue {
                jobs,
                is_over: Arc::clone(&producer.is_over),
            };
            producer.guard(|| producer.produced(produce(queue)));
        });
        // What became of them is in the outcome, a panic too.
        while threads.join_next().await.is_some() {}
        outcome.take()
    }
}

/// What came of a pool so far.
#[derive(Debug)]
struct Outcome<R, E> {
    is_over: Arc<AtomicBool>,
    /// The first failure, or what the producer returned.
    result: Mutex<Option<Result<R, E>>>,
}

impl<R, E: From<PoolError>> Outcome<R, E> {
    fn new() -> Self {
        Self {
            is_over: Arc::default(),
            result: Mutex::new(None),
        }
    }

    /// Does jobs until there are no more, or something failed.
    fn work<J>(&self, queue: &Mutex<Receiver<J>>, work: &impl Fn(J) -> Result<(), E>) {
        loop {
            let job = lock(queue).recv();
            let Ok(job) = job else { return };
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = work(job) {
                return self.fail(error);
            }
        }
    }

    /// Notes what the producer returned. It has been dropped by then, so that the workers will find the
    /// end of the queue.
    fn produced(&self, produced: Result<R, E>) {
        match produced {
            Ok(value) => {
                lock(&self.result).get_or_insert(Ok(value));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Notes a failure, unless there was one before.
    fn fail(&self, error: E) {
        let mut result = lock(&self.result);
        if !matches!(*result, Some(Err(_))) {
            *result = Some(Err(error));
        }
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Runs a thread. If it panics, that is a failure like others.
    fn guard(&self, run: impl FnOnce()) {
        let _guard = FailOnPanic(self);
        run();
    }

    fn take(&self) -> Result<R, E> {
        // A runtime that ends starts no thread any more.
        let ended = || Err(PoolError::Ended.into());
        lock(&self.result).take().unwrap_or_else(ended)
    }
}

struct FailOnPanic<'a, R, E: From<PoolError>>(&'a Outcome<R, E>);

impl<R, E: From<PoolError>> Drop for FailOnPanic<'_, R, E> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(PoolError::Panicked.into());
        }
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
