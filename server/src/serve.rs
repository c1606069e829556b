//! Starting, serving and stopping.
//!
//! Order of starting: the lock of the directory, the stores, the services, and last, for a
//! datanode, its registration; then the server is ready. Order of stopping: no new calls; calls in
//! flight get the grace time; what is still going on is cut off; the metadata is flushed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_chunk_store::DiskChunkStore;
use lfsfs_common::clock::{Clock, SystemClock};
use lfsfs_meta_store::{MetaStore, SledStore};
use lfsfs_metadata::Metadata;
use lfsfs_proto::v1::coordinator_server::CoordinatorServer;
use lfsfs_proto::v1::data_node_server::DataNodeServer;
use lfsfs_proto::v1::fs_server::FsServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::config::{Role, ServerConfig};
use crate::coordinator::{Coordinator, CoordinatorService, DiskGuard, FsService};
use crate::data::DataDir;
use crate::datanode::{Agent, CoordinatorLink, DataNode, DataNodeParts, DataNodeService};
use crate::error::ServerError;
use crate::panics::CatchPanics;
use crate::process_key::{Callers, ProcessKey};
use crate::streams::Tasks;

/// Longest message that is taken. Frames and batches are far below it.
const MESSAGE_LEN_MAX: usize = 16 * 1024 * 1024;
/// Most calls at the same time on one connection.
const CALLS_PER_CONNECTION_MAX: usize = 256;
/// Bytes that one stream, and one connection, may have on the way.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// How long a connection may be silent before its other end is asked, and may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// From where a server may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenPolicy {
    /// From this machine only.
    LoopbackOnly,
    /// From anywhere, without TLS and tokens.
    Insecure,
}

/// Listens on an address, if the policy allows it.
pub async fn bind(address: SocketAddr, policy: ListenPolicy) -> Result<TcpListener, ServerError> {
    if policy == ListenPolicy::LoopbackOnly && !address.ip().is_loopback() {
        return Err(ServerError::NotLoopback { address });
    }
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServerError::Listen { address, source })
}

/// Serves until `shutdown` is cancelled and calls in flight have ended or run out of time.
///
/// `ready` is called once, with the address that is served, when everything can be asked for.
pub async fn run(
    config: ServerConfig,
    listener: TcpListener,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr) + Send,
) -> Result<(), ServerError> {
    let address = listener
        .local_addr()
        .map_err(|source| ServerError::System {
            act: "ask for the listener's address",
            source,
        })?;
    let opening = config.clone();
    let parts = tokio::task::spawn_blocking(move || Parts::open(&opening, address));
    let parts = parts.await.map_err(|error| ServerError::System {
        act: "open the stores",
        source: error.into(),
    })??;
    let tasks = parts.tasks.clone();
    let serving = serve(parts.routes.routes(), listener, shutdown.clone());
    let stopping = stop_after(&shutdown, &config, &tasks);
    let background = background(parts.coordinator, parts.agent, || ready(address));
    let background = async {
        tokio::select! {
            () = background => {}
            () = shutdown.cancelled() => {}
        }
    };
    let (served, ()) = tokio::join!(cut_off(serving, stopping), background);
    tasks.abort.cancel();
    tasks.tracker.close();
    tasks.tracker.wait().await;
    flush(parts.meta).await?;
    served
}

/// Does what nobody calls for: the datanode's registration and heartbeats, after the first of which
/// the server is ready, and the coordinator's housekeeping.
async fn background(
    coordinator: Option<Arc<Coordinator>>,
    agent: Option<(Agent, oneshot::Receiver<()>)>,
    ready: impl FnOnce(),
) {
    let keeping = async {
        if let Some(coordinator) = coordinator {
            coordinator.keep_house().await;
        }
    };
    let Some((agent, registered)) = agent else {
        ready();
        return keeping.await;
    };
    let announcing = async {
        if registered.await.is_ok() {
            ready();
        }
    };
    // In a box, or the futures of all who wait for this one are large.
    tokio::join!(keeping, Box::pin(agent.run()), announcing);
}

/// Serves until there are no calls any more, or until `stopping` says that time is over.
async fn cut_off(
    serving: impl Future<Output = Result<(), ServerError>>,
    stopping: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    tokio::select! {
        served = serving => served,
        () = stopping => {
            tracing::warn!("calls in flight were cut off");
            Ok(())
        }
    }
}

/// Ends when the time for calls in flight is over.
async fn stop_after(shutdown: &CancellationToken, config: &ServerConfig, tasks: &Tasks) {
    shutdown.cancelled().await;
    tracing::info!("stopping");
    tokio::time::sleep(config.grace).await;
    tasks.abort.cancel();
}

async fn serve(
    routes: Routes,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    // Small answers would otherwise wait 40 ms for the client's delayed acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .layer(CatchPanics)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
        .map_err(ServerError::Transport)
}

async fn flush(meta: Option<Arc<dyn MetaStore>>) -> Result<(), ServerError> {
    let Some(meta) = meta else { return Ok(()) };
    let flushed = tokio::task::spawn_blocking(move || meta.flush()).await;
    let flushed = flushed.map_err(|error| ServerError::System {
        act: "flush the metadata",
        source: error.into(),
    })?;
    flushed.map_err(ServerError::MetaStore)
}

/// Everything that a server consists of, ready to serve.
struct Parts {
    routes: RoutesBuilder,
    callers: Callers,
    tasks: Tasks,
    agent: Option<(Agent, oneshot::Receiver<()>)>,
    coordinator: Option<Arc<Coordinator>>,
    meta: Option<Arc<dyn MetaStore>>,
    data: DataDir,
}

impl Parts {
    fn open(config: &ServerConfig, address: SocketAddr) -> Result<Self, ServerError> {
        let data = DataDir::open(&config.data)?;
        let mut routes = RoutesBuilder::default();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(lfsfs_proto::FILE_DESCRIPTORS)
            .build_v1()
            .map_err(ServerError::Reflection)?;
        routes.add_service(reflection);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let callers = match config.role {
            Role::All => Callers::Process(ProcessKey::draw()?),
            Role::Coordinator | Role::DataNode { .. } => Callers::Network,
        };
        let mut parts = Self {
            routes,
            callers,
            tasks: Tasks::new(),
            agent: None,
            coordinator: None,
            meta: None,
            data,
        };
        if matches!(config.role, Role::All | Role::Coordinator) {
            parts.add_coordinator(config, &clock)?;
        }
        match &config.role {
            Role::Coordinator => {}
            Role::All => parts.add_datanode(config, address, &local(address), &clock)?,
            Role::DataNode { coordinator } => {
                parts.add_datanode(config, address, coordinator, &clock)?;
            }
        }
        Ok(parts)
    }

    fn add_coordinator(
        &mut self,
        config: &ServerConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), ServerError> {
        let disk = DiskGuard::new(self.data.meta(), config.reserve);
        let store = SledStore::open(&self.data.meta()).map_err(ServerError::MetaStore)?;
        let store: Arc<dyn MetaStore> = Arc::new(store);
        self.meta = Some(Arc::clone(&store));
        let metadata = Metadata::open(store, Arc::clone(clock)).map_err(ServerError::Metadata)?;
        let coordinator = Coordinator::new(metadata, disk, Arc::clone(clock), self.tasks.clone())
            .map_err(ServerError::Metadata)?;
        let coordinator = Arc::new(coordinator);
        self.coordinator = Some(Arc::clone(&coordinator));
        let fs = FsServer::new(FsService::new(Arc::clone(&coordinator)));
        let service =
            CoordinatorServer::new(CoordinatorService::new(coordinator, self.callers.clone()));
        self.routes
            .add_service(fs.max_decoding_message_size(MESSAGE_LEN_MAX));
        self.routes
            .add_service(service.max_decoding_message_size(MESSAGE_LEN_MAX));
        Ok(())
    }

    fn add_datanode(
        &mut self,
        config: &ServerConfig,
        address: SocketAddr,
        coordinator: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), ServerError> {
        let store = DiskChunkStore::open(&self.data.chunks(), config.reserve)
            .map_err(ServerError::ChunkStore)?;
        let node = Arc::new(DataNode::new(DataNodeParts {
            id: self.data.node_id()?,
            address: advertised(config, address)?,
            reserve: config.reserve,
            store: Arc::new(store),
            clock: Arc::clone(clock),
            tasks: self.tasks.clone(),
            link: CoordinatorLink::new(coordinator, self.callers.clone())?,
        }));
        let service = DataNodeService::new(Arc::clone(&node), self.callers.clone());
        let service = DataNodeServer::new(service);
        self.routes
            .add_service(service.max_decoding_message_size(MESSAGE_LEN_MAX));
        let (registered, wait) = oneshot::channel();
        self.agent = Some((Agent::new(node, registered), wait));
        Ok(())
    }
}

/// Returns where a process reaches itself.
fn local(address: SocketAddr) -> String {
    let ip = match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(_) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    format!("{ip}:{}", address.port())
}

/// Returns the address that clients are told.
fn advertised(config: &ServerConfig, address: SocketAddr) -> Result<String, ServerError> {
    match &config.advertise {
        Some(advertise) => Ok(advertise.clone()),
        None if address.ip().is_unspecified() => Err(ServerError::NoAdvertise { address }),
        None => Ok(address.to_string()),
    }
}
