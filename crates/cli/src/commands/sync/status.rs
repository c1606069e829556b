//! `lfsfs sync status`: how directories are synced, told by the process that does it.

use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use lfsfs_sync::directory_sync::{RootStatus, SyncState};
use lfsfs_types::Timestamp;
use tokio::time::sleep;

use super::SettingsArgs;
use crate::error::CommandError;
use crate::output::{Clock, Output, TimeStyle, safe};

/// How often a watch looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Errors and paths that are told.
const NAMED_MAX: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "Tells for each directory whether it is in step, what goes on, and what went wrong last, with what to do.\n\n\
    Examples:\n  \
    lfsfs sync status --dir ./notes --remote work\n  \
    lfsfs sync status --config /etc/lfsfs/sync.toml --watch"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Tell it again whenever something changed, until it is interrupted
    #[arg(long)]
    watch: bool,
    /// One JSON object a line, one for each directory
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), CommandError> {
    let controls = args.settings.controls()?;
    let mut told = Vec::new();
    loop {
        let statuses: Vec<RootStatus> = controls
            .iter()
            .map(|control| {
                let mut status = control.status();
                if control.is_paused() && status.state != SyncState::Syncing {
                    status.state = SyncState::Paused;
                }
                status
            })
            .collect();
        if statuses != told {
            print(&statuses, args.json)?;
            told = statuses;
        }
        if !args.watch {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

fn print(statuses: &[RootStatus], json: bool) -> Result<(), CommandError> {
    let mut out = Output::new();
    for status in statuses {
        if json {
            out.json(status)?;
            continue;
        }
        out.line(format!("{}: {}", safe(&status.dir), one_line(status)))?;
        if let Some(reason) = &status.not_watching {
            out.line(format!(
                "  changes are found by the poll alone: {}",
                safe(reason)
            ))?;
        }
        for trouble in status.troubles.iter().take(NAMED_MAX) {
            out.line(format!(
                "  left: {}: {}",
                safe(&trouble.path),
                safe(&trouble.reason)
            ))?;
        }
        let clock = Clock::new(TimeStyle::default());
        for error in status.errors.iter().take(NAMED_MAX) {
            let time = clock.show(Timestamp {
                secs: error.time,
                nanos: 0,
            });
            out.line(format!("  {time}: {}", safe(&error.message)))?;
            if let Some(advice) = &error.advice {
                out.line(format!("    {}", safe(advice)))?;
            }
        }
    }
    out.finish()
}

/// Returns what one glance understands.
pub(super) fn one_line(status: &RootStatus) -> String {
    let version = status.version.as_deref();
    let version = version.map_or(String::new(), |version| format!(", {version}"));
    match status.state {
        SyncState::Stopped => "not running: lfsfs sync run".to_owned(),
        SyncState::Idle if !status.troubles.is_empty() || status.busy > 0 => format!(
            "in step but for {} paths{version}",
            HumanCount(status.troubles.len() as u64 + status.busy)
        ),
        SyncState::Idle => format!("in step, {} paths{version}", HumanCount(status.agreed)),
        SyncState::Paused => "paused: lfsfs sync resume".to_owned(),
        SyncState::Failed => {
            let last = status.errors.first();
            let last = last.map_or("the last pass failed", |error| &error.message);
            format!("failing: {}", safe(last))
        }
        SyncState::Unconfirmed => format!(
            "{} removals wait: lfsfs sync confirm",
            HumanCount(status.unconfirmed_root + status.unconfirmed_far)
        ),
        SyncState::Syncing => syncing(status),
    }
}

fn syncing(status: &RootStatus) -> String {
    let ((files, files_all), (bytes, bytes_all)) = (status.files, status.bytes);
    if files_all == 0 {
        return "looking for changes".to_owned();
    }
    let left = status.seconds_left.map_or(String::new(), |seconds| {
        let left = humantime::format_duration(Duration::from_secs(seconds));
        format!(", {left} left")
    });
    format!(
        "{} of {} files, {} of {}{left}",
        HumanCount(files),
        HumanCount(files_all),
        HumanBytes(bytes),
        HumanBytes(bytes_all)
    )
}
