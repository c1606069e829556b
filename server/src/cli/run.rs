//! Running a server in this process: its log, its threads, its signals.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use lfsfs_common::telemetry::{self, LogTarget};
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::configuration::Start;
use super::fail;
use crate::{Listeners, ServerError, bind, run};

/// Runs a server until it is told to stop.
pub(super) fn execute(start: Start) -> ExitCode {
    // Before any file is made: what the server keeps is its own, and so is its log.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let target = start.log.clone();
    let target = target.map_or(LogTarget::Stderr, LogTarget::File);
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
    let ended = runtime.block_on(serve_until_signal(start));
    // Work that still blocks a thread is cut off as a crash would do it: what was acknowledged is
    // on the disk.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve_until_signal(start: Start) -> Result<(), ServerError> {
    // Both ports are taken before anything is made: where one cannot be, there is no half of a server.
    let listeners = Listeners {
        calls: bind(start.listen, start.policy).await?,
        metrics: match start.metrics {
            Some(address) => Some(bind(address, start.policy).await?),
            None => None,
        },
    };
    let metrics = listeners.metrics.as_ref();
    let metrics = metrics.and_then(|listener| listener.local_addr().ok());
    let shutdown = CancellationToken::new();
    let announce = |address| announce(address, metrics);
    let running = run(start.config, listeners, shutdown.clone(), announce);
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
fn announce(address: SocketAddr, metrics: Option<SocketAddr>) {
    if let Err(error) = print(address, metrics) {
        tracing::warn!(%error, "the standard output cannot be written: its reader is gone");
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager that the server is ready");
    }
}

fn print(address: SocketAddr, metrics: Option<SocketAddr>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {address}")?;
    if let Some(metrics) = metrics {
        writeln!(stdout, "metrics on http://{metrics}/metrics")?;
    }
    stdout.flush()
}
