//! `lfsfs export`: a version becomes a plain directory.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use lfsfs_client::Remote as _;
use lfsfs_sync::{Export, ExportFigures, ExportProgress};
use lfsfs_types::{Source, VersionCounts};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;
use crate::progress;
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Writes contents (verified), modes, times, links, extended attributes and special \
    files; owners if root\ndoes it. All or nothing: if it fails or is interrupted, DIR is as it \
    was. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs export app@v42 ./app\n  \
    lfsfs export app@stable /srv/app --json"
)]
pub(crate) struct ExportArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG
    source: String,
    /// Directory, new or empty
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonExport {
    project: String,
    version: u64,
    entries: u64,
    bytes: u64,
    skipped_special: u64,
    skipped_xattrs: u64,
    skipped_owners: u64,
}

pub(crate) async fn run(server: ServerArgs, args: ExportArgs) -> Result<(), CommandError> {
    let source: Source = args.source.parse()?;
    let remote = server.remote()?;
    let snapshot = remote.resolve_source(&source).await?;
    let (project, version) = (snapshot.project.name.to_string(), snapshot.version.number);
    let counts = snapshot.version.counts;
    let export = Export::new(Arc::new(remote), snapshot);
    let figures = watched(export.progress(), Some(counts), export.into_dir(&args.dir)).await??;
    tell_what_was_left_out(&figures);
    let mut out = Output::new();
    if args.json {
        out.json(&JsonExport {
            project,
            version: version.0,
            entries: figures.entries,
            bytes: figures.bytes,
            skipped_special: figures.skipped_special,
            skipped_xattrs: figures.skipped_xattrs,
            skipped_owners: figures.skipped_owners,
        })?;
    } else {
        out.line(format!("{project}@{version}"))?;
    }
    out.finish()
}

/// Does the work with a bar on a terminal, and stops it where a signal says so.
pub(crate) async fn watched<T>(
    progress: Arc<ExportProgress>,
    expected: Option<VersionCounts>,
    work: impl Future<Output = T>,
) -> Result<T, CommandError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let bar = draw(Arc::clone(&progress), expected);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            // It ends by itself, after it has cleaned up.
            _ = interrupt.recv() => progress.stop(),
            _ = terminate.recv() => progress.stop(),
        }
    };
    bar.finish_and_clear();
    Ok(done)
}

/// Draws how far the work is: of how much, if that is known.
fn draw(progress: Arc<ExportProgress>, expected: Option<VersionCounts>) -> ProgressBar {
    let Some(expected) = expected else {
        let bar = progress::spinner();
        progress::watch(&bar, move |bar| {
            let figures = progress.figures();
            let (entries, bytes) = (HumanCount(figures.entries), HumanBytes(figures.bytes));
            bar.set_message(format!("{entries} entries, {bytes}"));
        });
        return bar;
    };
    let bar = progress::bar(expected.bytes);
    progress::watch(&bar, move |bar| {
        let figures = progress.figures();
        bar.set_position(figures.bytes);
        let (done, all) = (HumanCount(figures.entries), HumanCount(expected.objects));
        bar.set_message(format!("{done} of {all} entries"));
    });
    bar
}

/// Says what this user, or this file system, could not have.
pub(crate) fn tell_what_was_left_out(figures: &ExportFigures) {
    let left_out = [
        (figures.skipped_special, "device nodes and sockets"),
        (figures.skipped_xattrs, "extended attributes"),
        (figures.skipped_owners, "owners"),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        user::warn(&format!("left out, not permitted here: {count} {what}"));
    }
}
