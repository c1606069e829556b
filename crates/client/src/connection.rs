//! Connections to one address of a coordinator and to its datanodes, and deadlines.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lfsfs_proto::address::endpoint;
use lfsfs_proto::headers::Headers;
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_proto::v1::data_node_client::DataNodeClient;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_remote::RemoteError;
use tokio::time::{Instant, sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::config::ClientConfig;
use crate::fault::from_fault;
use crate::seen::SeenNodes;
use crate::signs::Signs;

/// The longest message that is accepted: a page of a listing with long names and attributes.
const MESSAGE_LEN_MAX: usize = 16 * 1024 * 1024;
const STREAM_WINDOW_LEN: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_LEN: u32 = 16 * 1024 * 1024;
/// A frame of a chunk comes in one frame of HTTP/2: in many small ones it is put together by copying.
const HTTP_FRAME_LEN: u32 = 1024 * 1024;
/// How long a call waits before it is asked whether the server is there.
const PING_DELAY: Duration = Duration::from_secs(1);

/// How soon a connection that has died is noticed, whether or not a call waits on it.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect_max: Duration,
    /// A ping is sent after so much silence.
    ping_after: Duration,
    pong_max: Duration,
}

impl Patience {
    const fn of_only_address(connect_max: Duration) -> Self {
        Self {
            connect_max,
            ping_after: Duration::from_secs(10),
            pong_max: Duration::from_secs(10),
        }
    }

    /// Another address is asked instead, so less is waited for this one. It is still long enough for a server that
    /// has too much to do.
    fn of_several(connect_max: Duration) -> Self {
        Self {
            connect_max: connect_max.min(Duration::from_secs(2)),
            ping_after: Duration::from_secs(3),
            pong_max: Duration::from_secs(5),
        }
    }
}

/// Connections that are made when first used and made again when they broke.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) config: ClientConfig,
    /// How long resolving a source may take at this address.
    pub(crate) open_max: Duration,
    coordinator: Channel,
    datanodes: Arc<Mutex<HashMap<String, Channel>>>,
    headers: Headers,
    /// What was seen of datanodes.
    pub(crate) nodes: Arc<SeenNodes>,
    /// When each datanode acknowledged something last.
    pub(crate) signs: Arc<Signs>,
}

/// A connection that adds the headers of every request.
pub(crate) type Wire = InterceptedService<Channel, Headers>;

impl Connections {
    /// Returns connections to each of the addresses of a coordinator, which share those to datanodes. Nothing is
    /// sent yet. Needs a tokio runtime.
    pub(crate) fn to_each(
        addresses: &[String],
        config: &ClientConfig,
    ) -> Result<Vec<Self>, RemoteError> {
        let (patience, open_max) = match addresses {
            [_] => (
                Patience::of_only_address(config.open_timeout),
                config.open_timeout,
            ),
            // The caller waits for no longer, so that is to be enough for one that answers nothing and another one.
            _ => (
                Patience::of_several(config.open_timeout),
                config.open_timeout / 2,
            ),
        };
        let (datanodes, nodes, signs) = (Arc::default(), Arc::default(), Arc::default());
        let each = addresses.iter().map(|address| {
            Ok(Self {
                config: ClientConfig {
                    address: address.clone(),
                    ..config.clone()
                },
                open_max,
                coordinator: channel(address, patience)?,
                datanodes: Arc::clone(&datanodes),
                headers: Headers::default(),
                nodes: Arc::clone(&nodes),
                signs: Arc::clone(&signs),
            })
        });
        each.collect()
    }

    pub(crate) fn fs(&self) -> FsClient<Wire> {
        FsClient::with_interceptor(self.coordinator.clone(), self.headers.clone())
            .max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(crate) fn coordinator(&self) -> CoordinatorClient<Wire> {
        CoordinatorClient::with_interceptor(self.coordinator.clone(), self.headers.clone())
            .max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(crate) fn datanode(&self, address: &str) -> Result<DataNodeClient<Wire>, RemoteError> {
        let mut known = self
            .datanodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let channel = match known.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let patience = Patience::of_only_address(self.config.open_timeout);
                let channel = channel(address, patience)?;
                known.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        let client = DataNodeClient::with_interceptor(channel, self.headers.clone());
        Ok(client.max_decoding_message_size(MESSAGE_LEN_MAX))
    }

    /// Waits for one answer of the coordinator.
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RemoteError> {
        within(&self.config.address, what, limit, answer).await
    }

    /// Waits for an answer that is given at once or is worked on, as long as the server answers
    /// anything at all: with the call goes a question whether it is there.
    pub(crate) async fn watched<T>(
        &self,
        what: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RemoteError> {
        let call = self.call(what, limit, answer);
        let mut call = std::pin::pin!(call);
        let silence = async {
            sleep(PING_DELAY).await;
            let mut fs = self.fs();
            let ping = fs.get_cluster(v1::GetClusterRequest {});
            let limit = self.config.open_timeout.saturating_sub(PING_DELAY);
            let pong = self.call("a question", limit, ping).await;
            if !pong.is_err_and(|error| error.is_retryable()) {
                // The server is there, and works on the call.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            answer = &mut call => answer,
            () = silence => Err(RemoteError::Silent {
                address: self.config.address.clone(),
            }),
        }
    }

    /// Waits for the next message of a stream that says something. One that says nothing is no
    /// progress, so it does not begin the time anew.
    pub(crate) async fn next<T>(
        &self,
        what: &'static str,
        stream: &mut Streaming<T>,
        says_something: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, RemoteError> {
        let next = async {
            loop {
                match stream.message().await? {
                    Some(message) if !says_something(&message) => {}
                    message => return Ok(message),
                }
            }
        };
        self.call(what, self.config.progress_timeout, next).await
    }
}

/// As [`within`], and waits on while the server answers or acknowledges anything else.
pub(crate) async fn while_working<T>(
    signs: &Signs,
    address: &str,
    what: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, RemoteError> {
    match signs.wait(address, limit, answer).await {
        Some(Ok(value)) => {
            signs.note(address);
            Ok(value)
        }
        Some(Err(status)) => Err(classify(address, &status)),
        None => Err(RemoteError::Deadline {
            address: address.to_owned(),
            what,
            seconds: limit.as_secs(),
        }),
    }
}

/// Waits for an answer, but not for ever, and says in the client's terms how it failed.
pub(crate) async fn within<T>(
    address: &str,
    what: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, RemoteError> {
    let start = Instant::now();
    let answer = timeout(limit, answer).await;
    let (millis, is_ok) = (start.elapsed().as_millis(), matches!(answer, Ok(Ok(_))));
    debug!(server = address, what, millis, is_ok, "asked");
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => Err(classify(address, &status)),
        Err(_) => {
            let address = address.to_owned();
            Err(RemoteError::Deadline {
                address,
                what,
                seconds: limit.as_secs(),
            })
        }
    }
}

fn classify(address: &str, status: &Status) -> RemoteError {
    if is_refused(status) {
        return RemoteError::NoServer {
            address: address.to_owned(),
        };
    }
    if is_timed_out(status) {
        return RemoteError::Silent {
            address: address.to_owned(),
        };
    }
    let mut fault = Fault::from_status(status);
    if let Some(cause) = status.source().and_then(innermost) {
        fault.message = format!("{}: {cause}", fault.message);
    }
    from_fault(address, fault)
}

/// Returns true if the connection itself was refused: no process listens.
fn is_refused(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if error.downcast_ref().is_some_and(refused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns true if the connection could not be made in time, or was given up because nothing came.
fn is_timed_out(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if error.downcast_ref().is_some_and(timed_out) || is_keep_alive(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The transport does not export the type of this error.
fn is_keep_alive(error: &(dyn Error + 'static)) -> bool {
    let text = error.to_string();
    text == "keep-alive timed out" || text == "deadline has elapsed"
}

fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    while let Some(cause) = error.source() {
        error = cause;
    }
    Some(error)
}

fn channel(address: &str, patience: Patience) -> Result<Channel, RemoteError> {
    let wrong = |reason: String| {
        RemoteError::Invalid(format!(
            "{address:?} is not the address of a server: {reason}"
        ))
    };
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port || address.contains('/') {
        return Err(wrong("expected HOST or HOST:PORT".to_owned()));
    }
    let endpoint = endpoint(address).map_err(|error| wrong(error.to_string()))?;
    Ok(endpoint
        .connect_timeout(patience.connect_max)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_LEN)
        .initial_connection_window_size(CONNECTION_WINDOW_LEN)
        .max_frame_size(HTTP_FRAME_LEN)
        .http2_keep_alive_interval(patience.ping_after)
        .keep_alive_timeout(patience.pong_max)
        // So that the next call of an idle client makes a new connection instead of waiting on a dead one.
        .keep_alive_while_idle(true)
        .connect_lazy())
}
