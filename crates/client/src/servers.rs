//! A coordinator at one or several addresses: which one a call asks, and what follows where it gives no answer.
//!
//! All addresses lead to one coordinator, such as several proxies before it. What it keeps in memory, the sessions
//! of commits, plans of uploads and slots, is therefore the same by each of them, and the calls of one operation may
//! go to different ones. An address that led to another process would be answered by it with `SessionLost`, after
//! which the operation begins anew.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lfsfs_common::tasks::Tasks;
use lfsfs_proto::v1;
use lfsfs_remote::{Answer, Asked, Call, Layer, Layered, Remote, RemoteError, may_pass};
use tracing::{debug, info, warn};

use crate::config::ClientConfig;
use crate::connection::Connections;
use crate::grpc::OneServer;
use crate::turns::Turns;

/// A coordinator at all of its addresses, and its datanodes, reached over gRPC.
///
/// Calls go to the addresses in turn. One that gives no answer is left out for a while, and a call that may be made
/// again is made at the next address at once; it fails where none answers. Waiting and trying again is what
/// [`Retrying`](lfsfs_remote::Retrying) does.
///
/// Cheap to share; connections are made when first used. Must be made on a tokio runtime.
#[derive(Debug, Clone)]
pub struct Servers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// All addresses, for people.
    address: String,
    config: ClientConfig,
    each: Vec<OneServer>,
    turns: Mutex<Turns>,
    probes: Tasks,
}

impl Servers {
    /// Checks the addresses; nothing is sent yet.
    ///
    /// # Errors
    /// Fails with [`RemoteError::Invalid`] if one is no address, or is given twice.
    pub fn new(config: ClientConfig) -> Result<Self, RemoteError> {
        let addresses = config.addresses();
        let addresses = addresses.map_err(|error| RemoteError::Invalid(error.to_string()))?;
        let versions = Arc::default();
        let each = Connections::to_each(&addresses, &config)?.into_iter();
        let each = each.map(|connections| OneServer::new(connections, &versions));
        Ok(Self {
            shared: Arc::new(Shared {
                address: addresses.join(","),
                config,
                each: each.collect(),
                turns: Mutex::new(Turns::new(
                    addresses.len(),
                    usize::from(random().to_be_bytes()[0]),
                )),
                probes: Tasks::new(),
            }),
        })
    }

    /// Returns the addresses of the coordinator, each with its port, separated by commas.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Returns the calls of the seam.
    #[must_use]
    pub fn remote(&self) -> Arc<dyn Remote> {
        Arc::new(Layered(self.clone()))
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Returns the connections by any of the addresses, for a call that goes to a datanode.
    pub(crate) fn connections(&self) -> &Connections {
        // There is one at least.
        &self.shared.each[0].connections
    }

    /// Makes a call at the address whose turn it is, and if that gives no answer at the others, as far as the call
    /// may be made again.
    pub(crate) async fn ask<T, F>(
        &self,
        call: Call,
        mut ask: impl FnMut(OneServer) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let mut failures: Vec<(usize, RemoteError)> = Vec::new();
        loop {
            let tried: Vec<_> = failures.iter().map(|(at, _)| *at).collect();
            let Some(at) = self.next(&tried) else {
                return Err(self.of_all(failures));
            };
            let answer = self.ask_at(at, &mut ask).await;
            let error = match answer {
                Err(error) if may_pass(call, &error) && self.is_of(at, &error) => error,
                ended => return ended,
            };
            debug!(?call, %error, "an address gave no answer");
            failures.push((at, error));
        }
    }

    /// Makes a call that can be made once only: the stream of its changes is there once.
    async fn ask_once<T, F>(&self, mut ask: impl FnMut(OneServer) -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let at = self.next(&[]).unwrap_or(0);
        self.ask_at(at, &mut ask).await
    }

    /// Makes a call at one address, and notes what that says of it.
    async fn ask_at<T, F>(
        &self,
        at: usize,
        ask: &mut impl FnMut(OneServer) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        // A future of several kilobytes, which each caller would have in its own.
        let answer = Box::pin(ask(self.shared.each[at].clone())).await;
        match &answer {
            Err(error) if error.is_no_answer() => {
                // That of a datanode says nothing of the coordinator.
                if self.is_of(at, error) {
                    self.failed(at);
                }
            }
            _ => self.answered(at),
        }
        answer
    }

    /// Returns the address whose turn it is, and has one probed that was left out long enough.
    fn next(&self, tried: &[usize]) -> Option<usize> {
        let mut turns = self.turns();
        // The only address is asked in any case.
        let has_others = self.shared.each.len() > 1;
        let to_probe = has_others.then(|| turns.take_due(Instant::now())).flatten();
        let next = turns.next(tried);
        drop(turns);
        if let Some(at) = to_probe {
            self.start_probe(at);
        }
        next
    }

    /// Asks whether an address answers again, beside the calls of users: none of them waits for it.
    fn start_probe(&self, at: usize) {
        // Weak, so that the owner of the task can go.
        let shared = Arc::downgrade(&self.shared);
        let server = self.shared.each[at].clone();
        let probe = async move {
            let connections = &server.connections;
            let mut fs = connections.fs();
            let answer = fs.get_cluster(v1::GetClusterRequest {});
            let limit = connections.open_max;
            let answer = connections.call("a probe", limit, answer).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let servers = Self { shared };
            match answer {
                Err(error) if error.is_no_answer() => servers.failed(at),
                _ => {
                    info!(server = server.address(), "the address answers again");
                    servers.answered(at);
                }
            }
        };
        // Its end is noted by itself.
        drop(self.shared.probes.spawner().spawn(probe));
    }

    fn failed(&self, at: usize) {
        if self.turns().failed(at, Instant::now(), random()) && self.shared.each.len() > 1 {
            let server = self.shared.each[at].address();
            warn!(
                server,
                "an address of the server does not answer; others are asked"
            );
        }
    }

    fn answered(&self, at: usize) {
        self.turns().answered(at);
    }

    /// No method panics while it holds it.
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.shared
            .turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_of(&self, at: usize, error: &RemoteError) -> bool {
        error.address() == Some(self.shared.each[at].address())
    }

    /// Returns why no address answered. Where one did not refuse the connection, there is a server.
    fn of_all(&self, failures: Vec<(usize, RemoteError)>) -> RemoteError {
        let mut errors = failures.into_iter().map(|(_, error)| error);
        let last = errors.next_back();
        let is_refused = |error: &RemoteError| matches!(error, RemoteError::NoServer { .. });
        let told = errors.find(|error| !is_refused(error)).or(last);
        let none = || RemoteError::Internal("no address was asked".to_owned());
        told.unwrap_or_else(none).at(self.address())
    }
}

/// Returns a number that differs from those of other clients, so that they do not all ask the same address at the
/// same time.
fn random() -> u32 {
    let random = RandomState::new().hash_one(());
    u32::try_from(random >> 32).unwrap_or_default()
}

impl Layer for Servers {
    async fn call<'a, T: Send + 'a>(
        &'a self,
        asked: Asked<'a>,
        mut ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> Result<T, RemoteError> {
        let ask = move |server: OneServer| ask(Arc::new(server));
        match asked.call {
            Call::Commit => self.ask_once(ask).await,
            // The client asks datanodes for it, which are the same by each address of the coordinator.
            Call::ReadChunk => {
                let mut ask = ask;
                ask(self.shared.each[0].clone()).await
            }
            call => self.ask(call, ask).await,
        }
    }
}
