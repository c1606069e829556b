//! `lfsfs sync run`: directories are synced until the process is ended.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use lfsfs_common::durable::TempFile;
use lfsfs_common::telemetry::{self, LogTarget};
use lfsfs_sync::directory_sync::{RootStatus, ServiceParams, SyncService, SyncState};
use sd_notify::NotifyState;
use tokio::time::timeout;

use super::status::one_line;
use super::{SettingsArgs, roots};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::signals::EndSignals;

/// How often systemd and the file of metrics are told how it goes.
const TELL_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Stays in the foreground, and logs to standard error. A pass begins when files change, when the project \
    gets a version, and at each poll; a pass that fails is made again, after a pause that grows. It tells systemd when it \
    is ready (Type=notify). A pass that goes on is ended soon by a signal; the next process goes on where it was.\n\n\
    Examples:\n  \
    lfsfs sync run --config /etc/lfsfs/sync.toml"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// File that gets metrics for the textfile collector of node_exporter, each second
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

pub(crate) async fn run(server: ServerArgs, args: RunArgs) -> Result<(), CommandError> {
    telemetry::init(&LogTarget::Stderr, "info")
        .map_err(|error| CommandError::failed(lfsfs_common::full_text(&error)))?;
    let settings = args.settings.settings()?;
    let (roots, client) = roots(&settings, &server, false)?;
    let mut signals = EndSignals::new()?;
    let params = ServiceParams {
        roots: if settings.is_enabled {
            roots
        } else {
            Vec::new()
        },
        poll_interval: settings.poll_interval,
        is_watching: settings.is_watching,
        bandwidth: settings.bandwidth,
    };
    if !settings.is_enabled {
        tracing::warn!("enabled is false: nothing is synced");
    }
    let service = SyncService::start(&params, client.as_ref());
    notify(&[NotifyState::Ready]);
    while timeout(TELL_EVERY, signals.recv()).await.is_err() {
        let statuses = service.statuses();
        notify(&[NotifyState::Status(&summary(&statuses))]);
        if let Some(file) = &args.metrics_file {
            write_metrics(file, &statuses);
        }
    }
    notify(&[NotifyState::Stopping]);
    service.end().await;
    Ok(())
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd is not told");
    }
}

fn summary(statuses: &[RootStatus]) -> String {
    match statuses {
        [one] => one_line(one),
        many => {
            let idle = many.iter().filter(|status| status.state == SyncState::Idle);
            format!("{} of {} directories are in step", idle.count(), many.len())
        }
    }
}

fn write_metrics(file: &Path, statuses: &[RootStatus]) {
    let text = metrics(statuses);
    let parent = lfsfs_common::durable::parent_of(file);
    let written = TempFile::create_in(parent).map_err(|error| error.source);
    let written = written.and_then(|mut temp| {
        std::io::Write::write_all(temp.file_mut(), text.as_bytes())?;
        // The collector may be another user.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        temp.file().set_permissions(mode)?;
        temp.persist_without_sync(file)
            .map_err(|error| error.source)
    });
    if let Err(error) = written {
        tracing::warn!(%error, file = %file.display(), "metrics are not written");
    }
}

/// A metric: its name, its type, its help, and its value for a root.
type Metric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&RootStatus) -> u64,
);

const METRICS: &[Metric] = &[
    (
        "lfsfs_sync_up",
        "gauge",
        "1 if the last pass succeeded",
        |it| {
            u64::from(
                matches!(it.state, SyncState::Idle | SyncState::Syncing) && it.synced.is_some(),
            )
        },
    ),
    ("lfsfs_sync_paused", "gauge", "1 while it is paused", |it| {
        u64::from(it.state == SyncState::Paused)
    }),
    (
        "lfsfs_sync_last_seconds",
        "gauge",
        "End of the last pass that succeeded, in seconds since 1970",
        |it| {
            it.synced
                .and_then(|time| u64::try_from(time).ok())
                .unwrap_or(0)
        },
    ),
    (
        "lfsfs_sync_agreed",
        "gauge",
        "Paths that both sides have in common",
        |it| it.agreed,
    ),
    (
        "lfsfs_sync_passes_total",
        "counter",
        "Passes that succeeded",
        |it| it.passes,
    ),
    (
        "lfsfs_sync_sent_total",
        "counter",
        "Changes of the far side",
        |it| it.sent,
    ),
    (
        "lfsfs_sync_received_total",
        "counter",
        "Changes of the directory",
        |it| it.received,
    ),
    (
        "lfsfs_sync_conflicts_total",
        "counter",
        "Paths that both sides changed",
        |it| it.conflicts,
    ),
    (
        "lfsfs_sync_busy",
        "gauge",
        "Files that are being written",
        |it| it.busy,
    ),
    (
        "lfsfs_sync_troubles",
        "gauge",
        "Paths that are left, 20 at most",
        |it| it.troubles.len() as u64,
    ),
    (
        "lfsfs_sync_unconfirmed",
        "gauge",
        "Removals that wait for the user",
        |it| it.unconfirmed_root + it.unconfirmed_far,
    ),
];

fn metrics(statuses: &[RootStatus]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        // Writing to a text does not fail.
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        for status in statuses {
            let dir = status
                .dir
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = writeln!(text, "{name}{{dir=\"{dir}\"}} {}", value(status));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_line_for_each_directory() {
        let mut status = RootStatus::new(Path::new("/a\"b"), "app:b");
        status.sent = 7;
        let text = metrics(&[status]);
        assert!(text.contains(
            "# TYPE lfsfs_sync_sent_total counter\nlfsfs_sync_sent_total{dir=\"/a\\\"b\"} 7\n"
        ));
    }
}
