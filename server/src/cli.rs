//! The command line of `lfsfsd`.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use lfsfs_common::documents;
use lfsfs_common::full_text;
use lfsfs_common::telemetry::{self, LogTarget};
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{CONNECTIONS_DEFAULT, MEMORY_DEFAULT, MEMORY_MIN, RESERVE_DEFAULT};
use crate::meta_place::{MetaPlace, copy_meta};
use crate::{ListenPolicy, Role, ServerConfig, ServerError, bind, check, health, run};

/// Exit code of a command that failed.
const FAILED: u8 = 1;

/// Serve versioned filesystems
#[derive(Debug, Parser)]
#[command(name = "lfsfsd", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run coordinator and datanode in one process
    #[command(after_help = "Example: lfsfsd all --data /var/lib/lfsfsd")]
    All(AllArgs),
    /// Run the coordinator alone
    #[command(after_help = "Example: lfsfsd coordinator --data /var/lib/lfsfsd")]
    Coordinator(ServeArgs),
    /// Run a datanode of a coordinator
    #[command(
        after_help = "Example: lfsfsd datanode --data /srv/chunks --listen 127.0.0.1:5052 \
                      --coordinator 127.0.0.1:5051"
    )]
    Datanode(DatanodeArgs),
    /// Ask a server whether it serves
    #[command(after_help = "Exit codes: 0 it serves, 1 it does not, 2 usage")]
    Health(HealthArgs),
    /// Check everything in a data directory, and change nothing in it
    #[command(after_help = "Exit codes: 0 all is well, 1 something is wrong, 2 usage")]
    Check(CheckArgs),
    /// Work on the metadata of a server that is not running
    #[command(subcommand)]
    Meta(MetaCommand),
    /// Write completions and manual pages into a directory such as /usr/share
    #[command(hide = true)]
    Documents { dir: PathBuf },
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Directory that holds everything this server keeps
    #[arg(long, value_name = "DIR", env = "LFSFSD_DATA")]
    data: PathBuf,
    /// Engine and directory of the metadata: redb:DIR or sled:DIR [default: what the data directory
    /// has, else redb]
    #[arg(long, value_name = "ENGINE:DIR", env = "LFSFSD_META")]
    meta: Option<MetaPlace>,
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "LFSFSD_LISTEN",
        default_value = "127.0.0.1:5051"
    )]
    listen: SocketAddr,
    /// Listen on an address that other machines can reach, without TLS and tokens
    #[arg(long)]
    insecure_listen: bool,
    /// Write the log to this file instead of standard error
    #[arg(long, value_name = "FILE", env = "LFSFSD_LOG_FILE")]
    log: Option<PathBuf>,
    /// Bytes of the disk that stay free: below them chunks are refused, below half of them new
    /// versions too, and reads go on
    #[arg(long, value_name = "BYTES", env = "LFSFSD_RESERVE", default_value_t = RESERVE_DEFAULT)]
    reserve: u64,
    /// Bytes of memory that the server may take in all
    #[arg(long, value_name = "BYTES", env = "LFSFSD_MEMORY", default_value_t = MEMORY_DEFAULT,
          value_parser = clap::value_parser!(u64).range(MEMORY_MIN..))]
    memory: u64,
    /// Connections at the same time; with fewer of them each may send faster over a long way
    #[arg(long, value_name = "COUNT", env = "LFSFSD_CONNECTIONS",
          default_value_t = CONNECTIONS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Seconds that calls in flight may go on when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// host:port under which clients reach this server, if it is not the address listened on
    #[arg(long, value_name = "ADDR", env = "LFSFSD_ADVERTISE")]
    advertise: Option<String>,
}

#[derive(Debug, Args)]
struct AllArgs {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct DatanodeArgs {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// host:port of the coordinator
    #[arg(long, value_name = "ADDR", env = "LFSFSD_COORDINATOR")]
    coordinator: String,
}

#[derive(Debug, Subcommand)]
enum MetaCommand {
    /// Copy all metadata to another place, for example to another engine, and compare it
    #[command(
        after_help = "A copy that was interrupted goes on when it is run again.\n\
                      Example: lfsfsd meta copy sled:/var/lib/lfsfsd/meta redb:/var/lib/lfsfsd/new"
    )]
    Copy {
        /// Engine and directory of the metadata
        #[arg(value_name = "ENGINE:DIR")]
        from: MetaPlace,
        /// Engine and directory of the copy, which must be empty
        #[arg(value_name = "ENGINE:DIR")]
        to: MetaPlace,
    },
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Directory of a server that is not running
    #[arg(long, value_name = "DIR", env = "LFSFSD_DATA")]
    data: PathBuf,
    /// Engine and directory of the metadata, as the server was started with
    #[arg(long, value_name = "ENGINE:DIR", env = "LFSFSD_META")]
    meta: Option<MetaPlace>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// host:port of the server
    #[arg(
        long,
        value_name = "ADDR",
        env = "LFSFSD_LISTEN",
        default_value = "127.0.0.1:5051"
    )]
    server: String,
    /// Seconds that the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// Does what the command line says.
pub fn execute(cli: Cli) -> ExitCode {
    let none = StoreArgs { advertise: None };
    match cli.command {
        Command::All(args) => execute_server(Role::All, args.serve, args.store),
        Command::Coordinator(args) => execute_server(Role::Coordinator, args, none),
        Command::Datanode(args) => {
            let coordinator = args.coordinator;
            execute_server(Role::DataNode { coordinator }, args.serve, args.store)
        }
        Command::Documents { dir } => match documents::write_all(&Cli::command(), &dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Health(args) => match health::ask(&args.server, Duration::from_secs(args.timeout))
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Check(args) => match check::execute(&args.data, args.meta.as_ref(), args.json) {
            Ok(check::Verdict::Clean) => ExitCode::SUCCESS,
            Ok(check::Verdict::Damaged) => ExitCode::from(FAILED),
            Err(error) if error.is_corrupt() => fail(&Unreadable(error)),
            Err(error) => fail(&error),
        },
        Command::Meta(MetaCommand::Copy { from, to }) => match copy(&from, &to) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
    }
}

/// Copies metadata, and tells how far it is where a person looks.
fn copy(from: &MetaPlace, to: &MetaPlace) -> Result<(), ServerError> {
    const PERIOD: Duration = Duration::from_secs(1);
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let is_terminal = std::io::stderr().is_terminal();
    let mut told = Instant::now();
    let mut tell = |rows: u64| {
        if is_terminal && told.elapsed() >= PERIOD {
            told = Instant::now();
            // A terminal that is gone needs no progress.
            drop(writeln!(std::io::stderr(), "{rows} rows"));
        }
    };
    let rows = copy_meta(from, to, &mut tell)?;
    let line = writeln!(
        std::io::stdout(),
        "{rows} rows are at {to}, each as at {from}; start the server with --meta {to}"
    );
    line.map_err(|source| ServerError::System {
        act: "write to the standard output",
        source,
    })
}

/// Metadata so damaged that nothing in it can be checked.
#[derive(Debug, thiserror::Error)]
#[error(
    "the metadata cannot be read; keep the directory as it is, and restore a backup, or import \
     again into a new one"
)]
struct Unreadable(#[source] ServerError);

fn execute_server(role: Role, serve: ServeArgs, store: StoreArgs) -> ExitCode {
    // Before any file is made: what the server keeps is its own, and so is its log.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let target = serve.log.clone().map_or(LogTarget::Stderr, LogTarget::File);
    if let Err(error) = telemetry::init(&target, "info") {
        return fail(&error);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(source) => {
            let act = "start threads";
            return fail(&ServerError::System { act, source });
        }
    };
    let policy = if serve.insecure_listen {
        ListenPolicy::Insecure
    } else {
        ListenPolicy::LoopbackOnly
    };
    let config = ServerConfig {
        role,
        data: serve.data,
        meta: serve.meta,
        reserve: serve.reserve,
        memory: serve.memory,
        connections: serve.connections,
        advertise: store.advertise,
        grace: Duration::from_secs(serve.grace),
    };
    let ended = runtime.block_on(serve_until_signal(config, serve.listen, policy));
    // Work that still blocks a thread is cut off as a crash would do it: what was acknowledged is
    // on the disk.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve_until_signal(
    config: ServerConfig,
    listen: SocketAddr,
    policy: ListenPolicy,
) -> Result<(), ServerError> {
    let listener = bind(listen, policy).await?;
    let shutdown = CancellationToken::new();
    let running = run(config, listener, shutdown.clone(), announce);
    tokio::select! {
        ended = running => ended,
        failed = cancel_on_signal(shutdown) => failed,
    }
}

/// Cancels `shutdown` at the first signal, and then never ends: each task that runs sees that and
/// ends by itself.
async fn cancel_on_signal(shutdown: CancellationToken) -> Result<(), ServerError> {
    let system = |source| ServerError::System {
        act: "wait for signals",
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    std::future::pending().await
}

/// Tells the process that started the server, and systemd, that clients can call.
fn announce(address: SocketAddr) {
    let mut stdout = std::io::stdout().lock();
    let printed = writeln!(stdout, "listening on {address}")
        .and_then(|()| std::io::Write::flush(&mut stdout));
    if let Err(error) = printed {
        tracing::warn!(%error, "the standard output cannot be written: its reader is gone");
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager that the server is ready");
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    // Where this fails there is no other way to tell the operator; the exit code says that it failed.
    drop(writeln!(stderr, "lfsfsd: {}", full_text(error)));
    ExitCode::from(FAILED)
}
