//! Starting, serving and stopping.
//!
//! Order of starting: the lock of the directory, the stores, the services, and last, for a
//! datanode, its registration; then the server is ready. Order of stopping: no new calls; calls in
//! flight get the grace time; what is still going on is cut off; the metadata is flushed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use lfsfs_chunk_store::{ChunkStore, ChunkStoreError, DiskChunkStore, SpreadChunkStore};
use lfsfs_cluster::{ClusterConfig, RepairLimits, Timing, Tolerance};
use lfsfs_common::clock::{Clock, SystemClock};
use lfsfs_common::random::random_bytes;
use lfsfs_meta_store::OpenOptions;
use lfsfs_metadata::{Metadata, MetadataOptions, StagingPlace};
use lfsfs_proto::v1::coordinator_server::CoordinatorServer;
use lfsfs_proto::v1::data_node_server::DataNodeServer;
use lfsfs_proto::v1::fs_server::FsServer;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;

use crate::budget::Budget;
use crate::calls::Calls;
use crate::config::{ClusterSettings, MemoryPlan, Role, ServerConfig};
use crate::connections::{Connections, Socket};
use crate::coordinator::{
    Coordinator, CoordinatorParts, CoordinatorService, DiskGuard, FsService, Replication,
};
use crate::data::{ChunkDirs, DataDir};
use crate::datanode::{Agent, CoordinatorLink, DataNode, DataNodeParts, DataNodeService};
use crate::datanodes::Datanodes;
use crate::error::ServerError;
use crate::figures::CallFigures;
use crate::health::Health;
use crate::listen::{Listeners, advertised, local};
use crate::meta_place::MetaPlace;
use crate::metrics::{Metrics, MetricsParts};
use crate::panics::CatchPanics;
use crate::process_key::{Callers, ProcessKey};
use crate::streams::Tasks;

/// Longest message that is taken by any call; most take less, as `weight` says.
const MESSAGE_LEN_MAX: usize = 16 * 1024 * 1024;
/// Most calls at the same time on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 128;

/// Metadata of more bytes is checked beside serving, and not before: reading so much takes a quarter of a
/// second if it is in memory, and more if it is not.
const META_CHECKED_MAX: u64 = 256 * 1024 * 1024;

/// How long handlers may take to answer calls that were cut off.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long tasks that were cut off may take to end.
const CUT_OFF_MAX: Duration = Duration::from_secs(2);
/// How long a connection may be silent before the server sends a ping, and how long the client may
/// take to answer that.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves until `shutdown` is cancelled and calls in flight have ended or run out of time.
///
/// `ready` is called once, with the address that is served, when everything can be asked for.
pub async fn run(
    config: ServerConfig,
    listeners: impl Into<Listeners>,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr) + Send,
) -> Result<(), ServerError> {
    let listeners = listeners.into();
    let address = listeners
        .calls
        .local_addr()
        .map_err(|source| ServerError::System {
            act: "ask for the listener's address",
            source,
        })?;
    let parts = open_parts(config.clone(), address).await?;
    let tasks = parts.tasks.clone();
    let plan = config.memory_plan();
    let count = usize::try_from(config.connections).unwrap_or(usize::MAX);
    let budget = Budget::new(plan.calls);
    let connections = Connections::new(budget.clone(), count);
    let figures = CallFigures::new(&[
        lfsfs_proto::FILE_DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
    ]);
    let metrics = parts.metrics(&config, &figures, budget, &connections);
    let calls = Calls {
        refusals: Arc::clone(&tasks.refusals),
        figures,
    };
    // In boxes, as in `background`: callers of this contain what it waits for.
    let serving = Box::pin(serve(
        parts.routes.routes(),
        Arc::clone(&connections).accept(listeners.calls),
        plan,
        calls,
        shutdown.clone(),
    ));
    let stopping = stop_after(&shutdown, &config, &tasks, &parts.health);
    let announce = || {
        started(&config, address);
        ready(address);
    };
    let background = background(
        parts.coordinator.clone(),
        parts.agent,
        &connections,
        &parts.health,
        announce,
    );
    let background = async {
        tokio::select! {
            () = background => {}
            () = shutdown.cancelled() => {}
        }
        if let Some(coordinator) = &parts.coordinator {
            coordinator.stop();
        }
    };
    let working = Box::pin(async { tokio::join!(cut_off(serving, stopping), background) });
    let (served, ()) = tokio::select! {
        ended = working => ended,
        never = metrics.serve(listeners.metrics, &tasks) => match never {},
    };
    tasks.abort.cancel();
    connections.close_all();
    tasks.tracker.close();
    if timeout(CUT_OFF_MAX, tasks.tracker.wait()).await.is_err() {
        tracing::warn!("tasks that were cut off still run; the server ends without them");
    }
    flush(parts.metadata).await?;
    tracing::info!("stopped");
    served
}

async fn open_parts(config: ServerConfig, address: SocketAddr) -> Result<Parts, ServerError> {
    let opening = tokio::task::spawn_blocking(move || Parts::open(&config, address));
    opening.await.map_err(|error| ServerError::System {
        act: "open the stores",
        source: error.into(),
    })?
}

/// Logs what was started, for the operator who reads it later.
fn started(config: &ServerConfig, address: SocketAddr) {
    let role = config.role.word();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role,
        %address,
        data = %config.data.display(),
        reserve = config.reserve,
        memory = config.memory,
        connections = config.connections,
        "lfsfsd serves"
    );
}

/// Does the work that no call asks for: the datanode's registration and heartbeats, after the first
/// of which the server is ready, and the coordinator's housekeeping.
async fn background(
    coordinator: Option<Arc<Coordinator>>,
    agent: Option<(Agent, oneshot::Receiver<()>)>,
    connections: &Connections,
    health: &Health,
    ready: impl FnOnce(),
) {
    let keeping = async {
        let coordinator = async {
            if let Some(coordinator) = coordinator {
                coordinator.keep_house().await;
            }
        };
        tokio::join!(coordinator, connections.keep_house());
    };
    // The protocol's own default is that a server serves.
    health.stops().await;
    let Some((agent, registered)) = agent else {
        health.serves().await;
        ready();
        return keeping.await;
    };
    let announcing = async {
        if registered.await.is_ok() {
            health.serves().await;
            ready();
        }
    };
    // In a box, because each future that awaits this one contains it and would be large.
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
async fn stop_after(
    shutdown: &CancellationToken,
    config: &ServerConfig,
    tasks: &Tasks,
    health: &Health,
) {
    shutdown.cancelled().await;
    tasks.stop.cancel();
    let grace = config.grace.as_secs();
    tracing::info!(grace, "stopping: no new calls");
    health.stops().await;
    tokio::time::sleep(config.grace).await;
    tasks.abort.cancel();
    tokio::time::sleep(LAST_WORDS).await;
}

async fn serve(
    routes: Routes,
    incoming: impl Stream<Item = io::Result<Socket>>,
    plan: MemoryPlan,
    calls: Calls,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    Server::builder()
        .layer(calls)
        .layer(CatchPanics)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .initial_stream_window_size(plan.stream_window)
        .initial_connection_window_size(plan.connection_window)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
        .map_err(ServerError::Transport)
}

async fn flush(metadata: Option<Metadata>) -> Result<(), ServerError> {
    let Some(metadata) = metadata else {
        return Ok(());
    };
    let flushed = tokio::task::spawn_blocking(move || metadata.flush()).await;
    let flushed = flushed.map_err(|error| ServerError::System {
        act: "flush the metadata",
        source: error.into(),
    })?;
    flushed.map_err(ServerError::Metadata)
}

/// Everything that a server consists of, ready to serve.
struct Parts {
    routes: RoutesBuilder,
    callers: Callers,
    tasks: Tasks,
    agent: Option<(Agent, oneshot::Receiver<()>)>,
    coordinator: Option<Arc<Coordinator>>,
    datanode: Option<Arc<DataNode>>,
    metadata: Option<Metadata>,
    clock: Arc<dyn Clock>,
    health: Health,
    data: DataDir,
    /// Of a datanode.
    chunk_dirs: Option<ChunkDirs>,
}

impl Parts {
    fn open(config: &ServerConfig, address: SocketAddr) -> Result<Self, ServerError> {
        let data = DataDir::open(&config.data)?;
        let mut routes = RoutesBuilder::default();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(lfsfs_proto::FILE_DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Older tools call reflection by the name that it had before it was stable.
        routes.add_service(reflection().build_v1().map_err(ServerError::Reflection)?);
        let older = reflection().build_v1alpha();
        routes.add_service(older.map_err(ServerError::Reflection)?);
        let health = Health::add_to(&mut routes, &config.role);
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
            chunk_dirs: None,
            coordinator: None,
            datanode: None,
            metadata: None,
            clock: Arc::clone(&clock),
            health,
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

    /// Returns the metrics of the whole server.
    fn metrics(
        &self,
        config: &ServerConfig,
        calls: &Arc<CallFigures>,
        budget: Budget,
        connections: &Arc<Connections>,
    ) -> Metrics {
        Metrics::new(MetricsParts {
            config,
            clock: Arc::clone(&self.clock),
            calls: Arc::clone(calls),
            budget,
            connections: Arc::clone(connections),
            coordinator: self.coordinator.clone(),
            datanode: self.datanode.clone(),
        })
    }

    fn add_coordinator(
        &mut self,
        config: &ServerConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), ServerError> {
        let place = MetaPlace::find(config.meta.as_ref(), &self.data.meta())?;
        let disk = DiskGuard::new(place.dir.clone(), config.reserve);
        let plan = config.memory_plan();
        let store = place.open(OpenOptions {
            cache_bytes: plan.pages,
            check_max: META_CHECKED_MAX,
            ..OpenOptions::default()
        })?;
        tracing::info!(meta = %place, "the metadata is open");
        let options = MetadataOptions {
            staging: StagingPlace {
                memory: plan.staging,
                scratch: Some(self.data.staging()),
                cache_bytes: plan.staging,
            },
            filter_bytes: plan.filter,
            late_bytes: plan.late,
        };
        let metadata = Metadata::open_with(store, Arc::clone(clock), options);
        let metadata = metadata.map_err(ServerError::Metadata)?;
        self.metadata = Some(metadata.clone());
        let coordinator = Coordinator::new(CoordinatorParts {
            metadata,
            disk,
            clock: Arc::clone(clock),
            tasks: self.tasks.clone(),
            callers: self.callers.clone(),
            replication: Replication {
                copies: config.cluster.replication,
                copies_min: config.cluster.min_replicas,
            },
            chunk_len: config.cluster.chunk_size,
            cluster: cluster_config(&config.cluster)?,
            garbage: config.garbage,
            marks_bytes: config.memory_plan().marks,
            development: config.development,
        });
        let coordinator = Arc::new(coordinator.map_err(ServerError::Metadata)?);
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
        let dirs = ChunkDirs::open(&self.data, &config.more_data)?;
        let store = chunk_store(&dirs, config.reserve).map_err(ServerError::ChunkStore)?;
        let node = Arc::new(DataNode::new(DataNodeParts {
            id: dirs.node,
            address: advertised(config, address)?,
            reserve: config.reserve,
            store,
            clock: Arc::clone(clock),
            tasks: self.tasks.clone(),
            link: CoordinatorLink::new(coordinator, self.callers.clone())?,
            datanodes: Datanodes::new(self.callers.clone()),
            zone: config.cluster.zone.clone(),
            capacity: config.cluster.capacity,
            scrub_period: config.cluster.scrub_period,
        }));
        self.datanode = Some(Arc::clone(&node));
        self.chunk_dirs = Some(dirs);
        let service = DataNodeService::new(Arc::clone(&node), self.callers.clone());
        let service = DataNodeServer::new(service);
        self.routes
            .add_service(service.max_decoding_message_size(MESSAGE_LEN_MAX));
        let (registered, wait) = oneshot::channel();
        self.agent = Some((Agent::new(node, registered), wait));
        Ok(())
    }
}

fn chunk_store(dirs: &ChunkDirs, reserve: u64) -> Result<Arc<dyn ChunkStore>, ChunkStoreError> {
    Ok(match &dirs.chunks[..] {
        [dir] => Arc::new(DiskChunkStore::open(dir, reserve)?),
        dirs => Arc::new(SpreadChunkStore::open(dirs, reserve)?),
    })
}

/// Returns how the cluster decides.
fn cluster_config(settings: &ClusterSettings) -> Result<ClusterConfig, ServerError> {
    let random = random_bytes().map_err(|source| ServerError::System {
        act: "draw random numbers",
        source,
    })?;
    let ([first, _], []) = random.as_chunks() else {
        unreachable!("16 bytes are twice 8");
    };
    Ok(ClusterConfig {
        timing: Timing::with_lost_after(settings.repair_after),
        placement: settings.placement,
        repair: RepairLimits {
            bytes_per_second: settings.repair_rate,
            tolerance: Tolerance::percent(settings.rebalance_above),
            ..RepairLimits::default()
        },
        seed: u64::from_le_bytes(*first),
    })
}
