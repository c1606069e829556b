//! `lfsfs flush`: waits until what a mount has written is uploaded.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lfsfs_mount::{ControlRequest, Mount, QueueReport, call_with};
use serde::Serialize;

use super::queue::writable_mount;
use super::status::{refused_hint, refused_text};
use super::umount::not_published;
use crate::error::CommandError;
use crate::output::{Output, counted};
use crate::progress::{Work, millis};

#[derive(Debug, Args)]
#[command(
    after_help = "Uploads what was written in the mount, now and without the pauses of the upload queue, and waits for \
    it, also for uploads that are tried again, and for a version that is on its way (lfsfs commit --async). It makes no \
    version by itself: the next commit has little left to send. Exit code 1 where something is left: the time is over, the \
    queue is paused, files have failed, or the version is not published or was refused.\n\n\
    Examples:\n  \
    lfsfs flush /mnt/app\n  \
    lfsfs flush /mnt/app --timeout 5m     give up after that"
)]
pub(crate) struct FlushArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How long to wait, such as 30s or 5m; for ever if it is not said
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonFlush {
    /// Files that were uploaded since the mount was made.
    uploaded: u64,
    bytes_sent: u64,
}

pub(crate) fn run(args: &FlushArgs) -> Result<(), CommandError> {
    let mount = writable_mount(&args.dir)?;
    let timeout_ms = args.timeout.map(millis);
    let mut work = Work::new("flush");
    let report = call_with(&mount, &ControlRequest::Flush { timeout_ms }, &mut work);
    work.end();
    let report: QueueReport = report?;
    let left = report.waiting + report.uploading;
    if left == 0 && report.failed == 0 {
        expect_published(&report, &mount)?;
        return tell(args, &report);
    }
    let dir = mount.entry.dir.display();
    let error = CommandError::failed(format!(
        "not everything is uploaded: {} left, {} failed",
        counted(left, "file"),
        report.failed
    ));
    Err(if report.paused {
        error.hint(format!("the queue is paused; lfsfs queue resume {dir}"))
    } else {
        error.hint(format!(
            "nothing is lost; see why with: lfsfs queue {dir}; try again with: lfsfs queue retry {dir}"
        ))
    })
}

/// Fails if a version is not published yet, or was refused.
fn expect_published(report: &QueueReport, mount: &Mount) -> Result<(), CommandError> {
    let Some(publishing) = &report.publishing else {
        return Ok(());
    };
    let dir = mount.entry.dir.display();
    Err(match &publishing.refused {
        Some(error) => {
            CommandError::failed(refused_text(error)).hint(refused_hint(&mount.entry.dir))
        }
        None => not_published(publishing).hint(format!(
            "nothing is lost, and the mount goes on with it; lfsfs status {dir} shows how far it is"
        )),
    })
}

fn tell(args: &FlushArgs, report: &QueueReport) -> Result<(), CommandError> {
    let mut out = Output::new();
    if args.json {
        out.json(&JsonFlush {
            uploaded: report.uploaded,
            bytes_sent: report.bytes_sent,
        })?;
    }
    out.finish()
}
