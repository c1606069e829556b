//! One fetch in flight for each thing, however many ask for it.
//!
//! A fetch runs in a task of its own, so it goes on when the one who asked first gives up. It must
//! end by itself: whoever starts one bounds it by a deadline.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use lfsfs_client::RemoteError;
use lfsfs_common::request::carried;
use tokio::sync::watch;

use crate::error::VfsError;

type Outcome<V> = Option<Result<V, VfsError>>;
type Running<K, V> = HashMap<K, watch::Receiver<Outcome<V>>>;

/// The fetches in flight, by what they bring.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    running: Mutex<Running<K, V>>,
}

/// What to do for a key that nobody fetches.
pub(crate) enum Start<K, V, Fut> {
    /// Somebody finished fetching it just now.
    Ready(V),
    /// Fetch it, and what else these keys name.
    Launch(Vec<K>, Fut),
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::new(HashMap::new()),
        })
    }

    /// Returns what the fetch that covers `key` brings. If there is none, `start` says what to do;
    /// it may ask which keys are in flight, and runs under the lock, so that what a finished fetch
    /// left behind is either seen by it or still in flight.
    pub(crate) async fn join<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Start<K, V, Fut>,
    ) -> Result<V, VfsError>
    where
        Fut: Future<Output = Result<V, VfsError>> + Send + 'static,
    {
        let mut receiver = match self.enter(key, start) {
            Ok(receiver) => receiver,
            Err(ready) => return Ok(ready),
        };
        let outcome = receiver.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        let aborted = || RemoteError::Internal("the fetch was aborted".to_owned());
        outcome.unwrap_or_else(|| Err(VfsError::io("fetch")(aborted())))
    }

    /// Starts a fetch that nobody waits for, unless `key` is in flight or `start` says no.
    pub(crate) fn launch<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Option<Start<K, V, Fut>>,
    ) where
        Fut: Future<Output = Result<V, VfsError>> + Send + 'static,
    {
        let mut running = self.lock();
        if !running.contains_key(key)
            && let Some(Start::Launch(keys, work)) = start(&|key| running.contains_key(key))
        {
            self.spawn(&mut running, keys, work);
        }
    }

    fn enter<Fut>(
        self: &Arc<Self>,
        key: &K,
        start: impl FnOnce(&dyn Fn(&K) -> bool) -> Start<K, V, Fut>,
    ) -> Result<watch::Receiver<Outcome<V>>, V>
    where
        Fut: Future<Output = Result<V, VfsError>> + Send + 'static,
    {
        let mut running = self.lock();
        if let Some(receiver) = running.get(key) {
            return Ok(receiver.clone());
        }
        let (keys, work) = match start(&|key| running.contains_key(key)) {
            Start::Ready(value) => return Err(value),
            Start::Launch(keys, work) => (keys, work),
        };
        Ok(self.spawn(&mut running, keys, work))
    }

    fn spawn(
        self: &Arc<Self>,
        running: &mut Running<K, V>,
        keys: Vec<K>,
        work: impl Future<Output = Result<V, VfsError>> + Send + 'static,
    ) -> watch::Receiver<Outcome<V>> {
        let (sender, receiver) = watch::channel(None);
        for key in &keys {
            running.insert(key.clone(), receiver.clone());
        }
        let landing = Landing {
            flights: Arc::clone(self),
            keys,
        };
        tokio::spawn(carried(async move {
            let outcome = work.await;
            drop(landing);
            sender.send_replace(Some(outcome));
        }));
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Running<K, V>> {
        self.running.lock().expect("no holder of this lock panics")
    }
}

/// Takes the keys out however the fetch ends, also when it panics.
struct Landing<K, V>
where
    K: Hash + Eq,
{
    flights: Arc<Flights<K, V>>,
    keys: Vec<K>,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        if let Ok(mut running) = self.flights.running.lock() {
            for key in &self.keys {
                running.remove(key);
            }
        }
    }
}
