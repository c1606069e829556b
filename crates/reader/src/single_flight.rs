//! One fetch in flight for each thing, however many ask for it, and not too many fetches at once.
//!
//! A fetch runs in a task of its own, so it goes on when the one who asked first gives up. It ends at
//! its deadline, or when the owner of the tasks stops them.
//!
//! The bound stands here because here the work begins. A bound on those who wait for fetches would
//! bound nothing: each request starts its fetch before it waits.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_common::tasks::Spawner;
use lfsfs_remote::RemoteError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::deadline::Deadline;
use crate::error::ReadError;

const ACTION: &str = "fetch";

type Outcome<V> = Option<Result<V, ReadError>>;
type Running<K, V> = HashMap<K, watch::Receiver<Outcome<V>>>;

/// The fetches in flight, by what they bring.
///
/// Each kind of fetch has one of these, and so a bound of its own: a fetch of places waits for footers
/// and blocks, and would wait for ever if fetches of places had taken all permits of these.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    running: Mutex<Running<K, V>>,
    permits: Arc<Semaphore>,
    spawner: Spawner,
}

/// What to do for a key that no fetch covers.
#[derive(Debug)]
pub enum Start<K, V, Fut> {
    /// Another fetch brought it just now.
    Ready(V),
    /// Fetch it.
    Launch(Launch<K, Fut>),
}

/// A fetch to start.
#[derive(Debug)]
pub struct Launch<K, Fut> {
    /// All that it brings.
    pub keys: Vec<K>,
    /// When it gives up waiting for its turn; the work must keep to it by itself.
    pub deadline: Deadline,
    /// The fetch.
    pub work: Fut,
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `fetches_max` fetches work at once; others wait for their turn, first come, first served.
    #[must_use]
    pub fn new(fetches_max: usize, spawner: Spawner) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::new(HashMap::new()),
            permits: Arc::new(Semaphore::new(fetches_max)),
            spawner,
        })
    }

    /// Returns what the fetch that covers `key` brings. If there is none, `start` says what to do;
    /// it may ask which keys are in flight, and runs under the lock, so that what a finished fetch
    /// left behind is either seen by it or still in flight.
    pub async fn join<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Start<K, V, Fut>,
    ) -> Result<V, ReadError>
    where
        Fut: Future<Output = Result<V, ReadError>> + Send + 'static,
    {
        let mut receiver = match self.enter(key, start) {
            Ok(receiver) => receiver,
            Err(ready) => return Ok(ready),
        };
        let outcome = receiver.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(aborted()))
    }

    /// Starts a fetch that no caller waits for, unless `key` is in flight or `start` says no.
    pub fn launch<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Option<Launch<K, Fut>>,
    ) where
        Fut: Future<Output = Result<V, ReadError>> + Send + 'static,
    {
        let mut running = self.lock();
        if !running.contains_key(key)
            && let Some(launch) = start(&|key| running.contains_key(key))
        {
            self.spawn(&mut running, launch);
        }
    }

    fn enter<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Start<K, V, Fut>,
    ) -> Result<watch::Receiver<Outcome<V>>, V>
    where
        Fut: Future<Output = Result<V, ReadError>> + Send + 'static,
    {
        let mut running = self.lock();
        if let Some(receiver) = running.get(key) {
            return Ok(receiver.clone());
        }
        match start(&|key| running.contains_key(key)) {
            Start::Ready(value) => Err(value),
            Start::Launch(launch) => Ok(self.spawn(&mut running, launch)),
        }
    }

    fn spawn(
        self: &Arc<Self>,
        running: &mut Running<K, V>,
        launch: Launch<K, impl Future<Output = Result<V, ReadError>> + Send + 'static>,
    ) -> watch::Receiver<Outcome<V>> {
        let Launch {
            keys,
            deadline,
            work,
        } = launch;
        let (sender, receiver) = watch::channel(None);
        for key in &keys {
            running.insert(key.clone(), receiver.clone());
        }
        let guard = FlightGuard {
            flight: Arc::clone(self),
            keys,
        };
        self.spawner.spawn(async move {
            let outcome = match guard.flight.permit(deadline).await {
                Ok(_permit) => work.await,
                Err(error) => Err(error),
            };
            drop(guard);
            sender.send_replace(Some(outcome));
        });
        receiver
    }
}

impl<K: Hash + Eq, V> SingleFlight<K, V> {
    /// Waits for the turn of a fetch, which ends when the permit is dropped.
    pub(crate) async fn permit(
        &self,
        deadline: Deadline,
    ) -> Result<OwnedSemaphorePermit, ReadError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        // Only a closed semaphore gives no permit, and nothing closes this one.
        deadline
            .bound(ACTION, async { permit.await.map_err(|_| aborted()) })
            .await
    }

    fn lock(&self) -> MutexGuard<'_, Running<K, V>> {
        self.running.lock().expect("no holder of this lock panics")
    }
}

fn aborted() -> ReadError {
    ReadError::remote(ACTION)(RemoteError::Internal("the fetch was aborted".to_owned()))
}

/// Takes the keys out however the fetch ends, also when it panics or is stopped.
struct FlightGuard<K: Hash + Eq, V> {
    flight: Arc<SingleFlight<K, V>>,
    keys: Vec<K>,
}

impl<K: Hash + Eq, V> Drop for FlightGuard<K, V> {
    fn drop(&mut self) {
        if let Ok(mut running) = self.flight.running.lock() {
            for key in &self.keys {
                running.remove(key);
            }
        }
    }
}
