//! The process of a mount: opens the version, mounts it, serves it, and leaves nothing behind.
//!
//! It ends when the kernel ends the session (umount(8) took it away), on SIGTERM and SIGINT, by an order
//! on its control socket, and when only mount namespaces in which no process uses it still show it.

mod ending;
mod starting;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_queue::{QueueConfig, UploadQueue};
use lfsfs_remote::{Layered, Remote};
use lfsfs_vfs::{BaseVersion, Kernel, MountUploader, Vfs};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{error, info, warn};

use crate::control::MountStatus;
use crate::error::MountError;
use crate::holding::Holding;
use crate::mount_point;
use crate::overlays;
use crate::places::Places;
use crate::publisher::Publisher;
use crate::request::MountRequest;
use crate::scheduling;
use crate::server::Server;
use crate::session::{ServedMount, SessionConfig};
use crate::upkeep;
use crate::verbs::{Control, ControlSocket, FixedStatus, Following, Running, UmountOrder, orders};
use crate::version::{self, Connect, OPEN_TIMEOUT, OpenError, Retry};

/// How long a fresh mount may take to show its root.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last writes to the cache may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last users of a mount have when its process is told to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Where the queue keeps what it needs after a restart, beside the log of the overlay.
const QUEUE_DIR: &str = "queue";
/// Threads that read requests. Measured on two processors: two clients that read 20,000 files for
/// the first time take 0.50 s with two threads, 0.92 s with one and 0.60 s with three; for one client
/// their number makes no difference.
const SERVING_THREADS: usize = 2;
/// Threads for what waits for network and disk.
const WAITING_THREADS: usize = 2;

/// Why a version cannot be opened.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// Mounts and serves in this process, until the mount ends.
///
/// The program has set up its log; what goes wrong before the mount is there is returned.
pub fn run_foreground(request: &MountRequest, connect: &Connect) -> Result<(), MountError> {
    let log = request.options.log.clone();
    run(request, connect, log, |_| Ok(()))
}

/// As [`run_foreground`]; `ready` is called when the mount answers; an error of
/// it ends the mount.
pub(crate) fn run(
    request: &MountRequest,
    connect: &Connect,
    log: Option<PathBuf>,
    ready: impl FnOnce(&MountStatus) -> io::Result<()>,
) -> Result<(), MountError> {
    let runtime = runtime()?;
    let result = runtime.block_on(serve(request, connect, log, ready));
    // No program waits for answers any more: the mount is gone.
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<Runtime, MountError> {
    Builder::new_multi_thread()
        .worker_threads(WAITING_THREADS)
        .thread_name("mount")
        .enable_all()
        .build()
        .map_err(MountError::system("start threads"))
}

async fn serve(
    request: &MountRequest,
    connect: &Connect,
    log: Option<PathBuf>,
    ready: impl FnOnce(&MountStatus) -> io::Result<()>,
) -> Result<(), MountError> {
    let mounted = mount(request, connect, log).await?;
    let control = &mounted.control;
    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&control.vfs)));
    let publishing = {
        let control = Arc::clone(control);
        tokio::spawn(async move {
            control.keep_publishing().await;
        })
    };
    let following = {
        let control = Arc::clone(control);
        tokio::spawn(async move {
            control.keep_following().await;
        })
    };
    let holding = Holding::of(control).map(Arc::new);
    let holds = holding.clone().map(|holding| {
        tokio::spawn(async move {
            holding.keep().await;
        })
    });
    let status = control.status();
    let (source, dir) = (request.source_text(), &status.dir);
    info!(
        source,
        dir,
        mode = status.mode,
        changes = status.changes,
        "mounted"
    );
    ready(&status).map_err(MountError::system("tell that the mount is ready"))?;
    let stop = Notify::new();
    let serving = mounted.socket.serve(control, &stop);
    let serving_to_end = async {
        let view = ending::View::of(request);
        ending::until_end(&mounted.served, mounted.signals, mounted.orders, view).await;
        stop.notify_one();
        // The command that ordered the end still waits for the answer.
        Instant::now() + END_TIMEOUT
    };
    answer_last(serving, serving_to_end).await;
    upkeep.abort();
    // What was not published is taken up by the next mount of the overlay.
    publishing.abort();
    following.abort();
    end_queue(control).await;
    if let (Some(holds), Some(holding)) = (holds, holding) {
        holds.abort();
        holding.end().await;
    }
    finish(control).await;
    // What was fetched last is on its way to the cache. A slow disk must not keep the process.
    let _ = timeout(SETTLE_TIMEOUT, control.vfs.base().settle()).await;
    // No program waits for what these still fetch.
    let _ = timeout(SETTLE_TIMEOUT, control.vfs.tasks().end()).await;
    Ok(())
}

/// A mount that answers, and what it is told by.
struct Mounted {
    served: ServedMount,
    socket: ControlSocket,
    control: Arc<Control>,
    signals: Signals,
    orders: mpsc::Receiver<UmountOrder>,
}

async fn mount(
    request: &MountRequest,
    connect: &Connect,
    log: Option<PathBuf>,
) -> Result<Mounted, MountError> {
    let places = Places::find(&request.options)?.prepare()?;
    let dir = mount_point::prepare(&request.dir, &places)?;
    let remote = connect(request).map_err(|error| cannot_open(request, error))?;
    let address = version::server_address(&request.options);
    let patience = request.options.timeout;
    let server = Server::new(address, remote, request.source.clone(), patience);
    let server = Arc::new(Layered(server));
    let base = open(request, &server, &places).await?;
    let project = base.snapshot().project.id;
    let overlay = overlays::directory(&request.options, &places, &project, &dir);
    let vfs = overlays::open(base, overlay.clone(), request, &places).await?;
    // Signals that come while the version is being opened end the process as they do by default;
    // from here on they would leave a mount behind.
    let signals = Signals::new().map_err(MountError::system("listen for signals"))?;
    let config = SessionConfig {
        threads: SERVING_THREADS,
        serve: request.options.serve,
        operations: request.operations_config(),
    };
    let spec = request.spec(dir.clone());
    let served = starting::start(&spec, &vfs, &request.options, config).await?;
    probe(&dir, request).await?;
    let socket = ControlSocket::bind(places.socket(served.device()))?;
    let (sender, orders) = orders();
    let queue = match &overlay {
        Some(overlay) if !request.options.noupload => {
            Some(start_queue(&vfs, &server, overlay, request).await?)
        }
        _ => None,
    };
    let publisher = open_publisher(overlay.clone(), &vfs).await?;
    let control = Control {
        fixed: FixedStatus {
            source: request.source_text().to_owned(),
            path: request.path.clone(),
            dir,
            access: request.options.access,
            served_by: served.served_by().clone(),
            overlay,
            cache: places.cache.clone(),
            log,
        },
        counters: Arc::clone(served.counters()),
        serving: Arc::clone(served.serving()),
        vfs,
        server,
        client: version::client_config(request),
        kernel: Kernel {
            cache: served.kernel().clone(),
            barrier: served.cut().clone(),
        },
        cut: Arc::clone(served.cut()),
        shown: Arc::clone(served.shown()),
        images: served.images().cloned(),
        socket: socket.place(places),
        queue,
        publisher: Arc::new(publisher),
        following: following(request),
        running: Running::default(),
        orders: sender,
    };
    Ok(Mounted {
        served,
        socket,
        control: Arc::new(control),
        signals,
        orders,
    })
}

/// Returns what the mount follows, if the user wants that.
fn following(request: &MountRequest) -> Option<Following> {
    let wanted = request.options.follow;
    wanted.then(|| Following::new(request.source.clone()))
}

/// Starts the upload queue, with what an earlier mount left in it.
async fn start_queue(
    vfs: &Arc<Vfs>,
    server: &Arc<Layered<Server>>,
    overlay: &Path,
    request: &MountRequest,
) -> Result<Arc<UploadQueue>, MountError> {
    let remote: Arc<dyn Remote> = Arc::<Layered<Server>>::clone(server);
    let uploader = MountUploader::new(Arc::clone(vfs), remote);
    let executors = request.options.upload_executors;
    let config = QueueConfig::default();
    let config = QueueConfig {
        rate: request.options.upload_rate,
        begin_thread: scheduling::work_behind_programs,
        executors_max: executors.map_or(config.executors_max, |count| count as usize),
        ..config
    };
    let dir = overlay.join(QUEUE_DIR);
    let start = move || UploadQueue::start(Arc::new(uploader), &dir, config);
    let started = tokio::task::spawn_blocking(start).await;
    let started = started.unwrap_or_else(|_| Err(io::Error::other("it panicked")));
    let started = started.map_err(MountError::system("start the upload queue"));
    started.map(Arc::new)
}

/// Takes up the version that an earlier process of the mount was to publish.
async fn open_publisher(overlay: Option<PathBuf>, vfs: &Vfs) -> Result<Publisher, MountError> {
    let sealed = vfs.overlay().and_then(|overlay| overlay.sealed());
    let sealed = sealed.map(|sealed| sealed.commit());
    let open = move || Publisher::open(overlay.as_deref(), sealed);
    let opened = tokio::task::spawn_blocking(open).await;
    let panicked = |_| io::Error::other("it panicked");
    opened
        .map_err(panicked)
        .map_err(MountError::system("look what is to be published"))
}

/// Ends the upload queue. What it has begun is waited for a moment, and begun again by the next mount.
async fn end_queue(control: &Control) {
    if let Some(queue) = &control.queue {
        let queue = Arc::clone(queue);
        let end = tokio::task::spawn_blocking(move || queue.end());
        let _ = timeout(SETTLE_TIMEOUT, end).await;
    }
}

/// Makes the changes durable that stay behind, however long the disk takes.
async fn finish(control: &Control) {
    match control.vfs.syncfs().await {
        Ok(()) => info!(changes = control.status().changes, "the mount has ended"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            error!(error, "the last changes may not survive a power loss");
        }
    }
}

/// Runs both; once the end has come, who is being answered has until the deadline it gives.
async fn answer_last(serving: impl Future<Output = ()>, end: impl Future<Output = Instant>) {
    let mut serving = pin!(serving);
    let deadline = tokio::select! {
        () = &mut serving => return,
        deadline = end => deadline,
    };
    let _ = timeout_at(deadline, serving).await;
}

/// Tries to open, in slots of [`OPEN_TIMEOUT`], as often as the user allows.
async fn open(
    request: &MountRequest,
    server: &Arc<Layered<Server>>,
    places: &Places,
) -> Result<BaseVersion, MountError> {
    let mut tries_left = request.options.retry;
    loop {
        let slot_end = Instant::now() + OPEN_TIMEOUT;
        let remote: Arc<dyn Remote> = Arc::<Layered<Server>>::clone(server);
        let opened = timeout_at(slot_end, version::open(request, places, remote)).await;
        let error = match opened {
            Ok(Ok(vfs)) => return Ok(vfs),
            Ok(Err(error)) => error,
            Err(_) => OpenError::timed_out(&request.options),
        };
        if error.retry == Retry::Never || tries_left == 0 {
            return Err(cannot_open(request, error.reason));
        }
        warn!(error = %error.reason, tries_left, "cannot open yet");
        tries_left -= 1;
        sleep_until(slot_end).await;
    }
}

/// Asks for the root through the kernel: only then has mounting succeeded.
async fn probe(dir: &Path, request: &MountRequest) -> Result<(), MountError> {
    let path = dir.to_owned();
    let asked = tokio::task::spawn_blocking(move || std::fs::metadata(path));
    let answer = match timeout(PROBE_TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(io::Error::other("the asking thread ended")),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match answer {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot_open(request, error)),
    }
}

fn cannot_open(request: &MountRequest, reason: impl Into<Reason>) -> MountError {
    MountError::Open {
        source_name: request.source_text().to_owned(),
        source: reason.into(),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
