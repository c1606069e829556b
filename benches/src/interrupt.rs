//! Ctrl-C and SIGTERM: noticed between two steps, so that what was started is also cleaned up.
//!
//! A child in the foreground gets the terminal's signal itself and ends; its step then fails, and
//! [`check`] tells why.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The user wants the program to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Catches the signals from now on instead of dying of them.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start the watch for signals")?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).context("listen for a signal");
    let signals = [
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    ];
    drop(inside);
    std::thread::spawn(move || runtime.block_on(wait(signals)));
    Ok(())
}

async fn wait(mut signals: [Signal; 3]) {
    let [interrupt, terminate, hangup] = &mut signals;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
}

/// Fails with [`Interrupted`] once a signal came.
pub(crate) fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(Interrupted);
    }
    Ok(())
}
