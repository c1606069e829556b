//! `lfsfs queue`: what a mount has not uploaded yet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use lfsfs_mount::{
    AnswerSink, ControlProgress, ControlRequest, Mount, QueueItem, QueueReport, call, call_with,
    find_mount,
};
use serde::Serialize;

use crate::error::CommandError;
use crate::mounted::{places, served_writable};
use crate::output::{JsonPath, Output, counted, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "What is written in a mount is uploaded behind the programs that write it, so that a commit \
    finds little left to send. A line for each file that is not uploaded yet: what it is about to do (waiting, \
    uploading, retrying, failed), its bytes, attempts that failed, its path, and why the last attempt failed. \
    Failed files wait for lfsfs queue retry, for a write, or for the commit.\n\n\
    Examples:\n  \
    lfsfs queue /mnt/app\n  \
    lfsfs queue --watch                   in a mount: and what happens from now on\n  \
    lfsfs queue pause /mnt/app            send nothing but what is committed\n  \
    lfsfs queue resume /mnt/app\n  \
    lfsfs queue retry /mnt/app            try failed files again"
)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    action: Option<QueueAction>,
    /// A path in the mount; one that is named as an action is written ./NAME
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Go on with what happens, until it is interrupted
    #[arg(short, long)]
    watch: bool,
    /// One JSON object for each line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum QueueAction {
    /// Begin no upload until it is resumed, also after a restart
    Pause(ActionArgs),
    /// Go on uploading
    Resume(ActionArgs),
    /// Try failed files again, and at once those that wait for another attempt
    Retry(ActionArgs),
}

#[derive(Debug, Args)]
struct ActionArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// A file in JSON.
#[derive(Debug, Serialize)]
struct JsonItem<'a> {
    #[serde(flatten)]
    path: JsonPath,
    state: &'a str,
    bytes: u64,
    tries: u32,
    reason: Option<&'a str>,
}

pub(crate) fn run(args: &QueueArgs) -> Result<(), CommandError> {
    match &args.action {
        None => tell(args),
        Some(QueueAction::Pause(args)) => act(&args.dir, &ControlRequest::Pause { paused: true }),
        Some(QueueAction::Resume(args)) => act(&args.dir, &ControlRequest::Pause { paused: false }),
        Some(QueueAction::Retry(args)) => act(&args.dir, &ControlRequest::Retry),
    }
}

/// Finds the mount that a path lies in, which must be one that can be written.
pub(super) fn writable_mount(dir: &Path) -> Result<Mount, CommandError> {
    let mount = find_mount(dir, &places()?)?;
    let _ = served_writable(&mount)?;
    Ok(mount)
}

fn act(dir: &Path, request: &ControlRequest) -> Result<(), CommandError> {
    let report: QueueReport = call(&writable_mount(dir)?, request)?;
    let mut out = Output::new();
    out.line(text(&report))?;
    out.finish()
}

fn tell(args: &QueueArgs) -> Result<(), CommandError> {
    let mount = writable_mount(&args.dir)?;
    let mut lines = Lines {
        out: Output::new(),
        is_json: args.json,
        is_watched: args.watch,
        failure: None,
    };
    let request = ControlRequest::Queue { watch: args.watch };
    let report = call_with(&mount, &request, &mut lines);
    if let Some(failure) = lines.failure {
        return Err(failure);
    }
    let report: QueueReport = report?;
    if !args.json {
        lines.out.line(text(&report))?;
    }
    lines.out.finish()
}

/// Returns what a queue is doing, on one line.
fn text(report: &QueueReport) -> String {
    let files = |count, what: &str| format!("{} {what}", counted(count, "file"));
    let mut parts = vec![
        files(report.waiting, "waiting"),
        format!("{} uploading", report.uploading),
        format!("{} failed", report.failed),
    ];
    if report.paused {
        parts.push("paused".to_owned());
    }
    if let Some(seconds) = report.seconds_left {
        let left = humantime::format_duration(Duration::from_secs(seconds));
        parts.push(format!("about {left} left"));
    }
    parts.join(", ")
}

/// Writes each file when it comes.
struct Lines {
    out: Output,
    is_json: bool,
    is_watched: bool,
    /// Why nothing more can be written.
    failure: Option<CommandError>,
}

impl Lines {
    fn write(&mut self, item: &QueueItem) -> Result<(), CommandError> {
        if self.is_json {
            self.out.json(&JsonItem {
                path: JsonPath::new(&item.path),
                state: &item.state,
                bytes: item.bytes,
                tries: item.tries,
                reason: item.reason.as_deref(),
            })?;
        } else {
            self.out.line(line(item))?;
        }
        if self.is_watched {
            self.out.flush()?;
        }
        Ok(())
    }
}

fn line(item: &QueueItem) -> String {
    let path = quoted(&item.path);
    let line = format!(
        "{:<9} {:>12} {:>5} {path}",
        item.state, item.bytes, item.tries
    );
    match &item.reason {
        None => line,
        Some(reason) => format!("{line}  {reason}"),
    }
}

impl AnswerSink for Lines {
    type Item = QueueItem;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn warn(&mut self, text: &str) {
        user::warn(text);
    }

    fn item(&mut self, item: QueueItem) -> io::Result<()> {
        self.write(&item).map_err(|failure| {
            self.failure = Some(failure);
            io::ErrorKind::Other.into()
        })
    }
}
