//! The server of a mount: where it is, whether it answers, and how a mount goes on with another address.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lfsfs_common::backoff::Backoff;
use lfsfs_remote::{Answer, Asked, Call, ChunkLocation, Layer, Remote, RemoteError};
use lfsfs_types::Source;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::health::Health;

/// How often a server that is away is asked whether it is back.
const PROBE_DELAYS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));

/// The server that a mount asks, as a layer around the remote at its address. Calls fail at once while it
/// is taken as away.
#[derive(Debug)]
pub(crate) struct Server {
    connection: RwLock<Arc<Connection>>,
    /// What is asked to see whether it answers.
    probed: Source,
    patience: Duration,
}

/// One address and what is known of it.
#[derive(Debug)]
struct Connection {
    address: String,
    remote: Arc<dyn Remote>,
    health: Mutex<Health>,
    probe: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    pub(crate) fn new(
        address: String,
        remote: Arc<dyn Remote>,
        probed: Source,
        patience: Duration,
    ) -> Self {
        Self {
            connection: RwLock::new(Arc::new(Connection::new(address, remote, patience))),
            probed,
            patience,
        }
    }

    /// Returns where it is: host:port, or several such addresses, separated by commas.
    pub(crate) fn address(&self) -> String {
        self.connection().address.clone()
    }

    /// Returns for how long it has not answered, if it is taken as away.
    pub(crate) fn away(&self) -> Option<Duration> {
        self.connection().health().away(Instant::now())
    }

    /// Asks at another address from now on. Calls that wait go on waiting at the old one, which ends
    /// with their deadlines; what they try again they try at the new one.
    pub(crate) fn replace(&self, address: String, remote: Arc<dyn Remote>) {
        let connection = Arc::new(Connection::new(address, remote, self.patience));
        let mut current = self
            .connection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = connection;
    }

    fn connection(&self) -> Arc<Connection> {
        let current = self
            .connection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Notes that a call begins, unless the server is taken as away.
    fn begin(&self) -> Result<Waiting, RemoteError> {
        let connection = self.connection();
        let now = Instant::now();
        let mut health = connection.health();
        if let Some(silent) = health.away(now) {
            return Err(RemoteError::Away {
                address: connection.address.clone(),
                seconds: silent.as_secs(),
            });
        }
        health.ask(now);
        drop(health);
        Ok(Waiting {
            connection,
            probed: self.probed.clone(),
            is_answered: false,
        })
    }

    /// Returns true if a chunk is to be had from the very server that also has the metadata, and from
    /// no other.
    fn is_only_source(&self, chunk: &ChunkLocation) -> bool {
        let addresses = self.address();
        let is_server = |node: &String| addresses.split(',').any(|address| node == address);
        !chunk.nodes.is_empty() && chunk.nodes.iter().all(is_server)
    }
}

impl Connection {
    fn new(address: String, remote: Arc<dyn Remote>, patience: Duration) -> Self {
        Self {
            address,
            remote,
            health: Mutex::new(Health::new(patience)),
            probe: Mutex::default(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until there is an answer.
    fn start_probe(self: &Arc<Self>, probed: Source) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The process is ending: nothing is asked any more.
            return;
        };
        warn!(
            server = self.address,
            "the server does not answer; calls that need it fail at once until it does"
        );
        // Weak, so that the probe of an address that was replaced ends.
        let connection = Arc::downgrade(self);
        let probe = runtime.spawn(async move {
            for delay in PROBE_DELAYS.delays(0) {
                let Some(connection) = connection.upgrade() else {
                    return;
                };
                let answer = connection.remote.resolve_source(&probed).await;
                if answer.is_answer() {
                    connection.health().come_back();
                    info!(server = connection.address, "the server answers again");
                    return;
                }
                drop(connection);
                sleep(delay).await;
            }
        });
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let probe = self.probe.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = probe.take() {
            probe.abort();
        }
    }
}

/// Whether an outcome came from a server.
trait Answered {
    fn is_answer(&self) -> bool;
}

impl<T> Answered for Result<T, RemoteError> {
    /// A refusal is an answer too.
    fn is_answer(&self) -> bool {
        !self.as_ref().is_err_and(RemoteError::is_no_answer)
    }
}

/// A call on its way. Dropped without an answer it counts as given up.
struct Waiting {
    connection: Arc<Connection>,
    probed: Source,
    is_answered: bool,
}

impl Waiting {
    fn end<T>(mut self, outcome: Result<T, RemoteError>) -> Result<T, RemoteError> {
        if outcome.is_answer() {
            self.is_answered = true;
            self.connection.health().answer();
        }
        outcome
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let is_away_now = self.connection.health().give_up(Instant::now());
        if is_away_now {
            self.connection.start_probe(self.probed.clone());
        }
    }
}

impl Layer for Server {
    async fn call<'a, T: Send + 'a>(
        &'a self,
        asked: Asked<'a>,
        mut ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> Result<T, RemoteError> {
        if asked.chunk.is_some_and(|chunk| !self.is_only_source(chunk)) {
            return ask(Arc::clone(&self.connection().remote)).await;
        }
        if matches!(asked.call, Call::Commit | Call::StoreChunk) {
            // They are silent while they work, and a datanode answers the one.
            return ask(Arc::clone(&self.connection().remote)).await;
        }
        let waiting = self.begin()?;
        let outcome = ask(Arc::clone(&waiting.connection.remote)).await;
        waiting.end(outcome)
    }
}
