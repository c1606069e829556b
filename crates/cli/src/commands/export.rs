//! `lfsfs export`: a version becomes a plain directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use lfsfs_sync::{Export, ExportFigures, ExportProgress, LeftOut};
use lfsfs_types::{SourceDirectory, VersionCounts};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::lookup::{Directory, find_directory};
use crate::output::{JsonPath, Output, counted, quoted};
use crate::progress;
use crate::signals::EndSignals;
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Writes contents (verified), modes, times, links, extended attributes and special \
    files; and owners if root exports. If it fails or is interrupted, DIR is as it was. \
    Objects that are damaged, or that cannot be made in DIR, are left out and listed, \
    and the exit code is 1. Until it has come to the end, a file \
    .lfsfs-export-unfinished-* is in DIR. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs export app@v42 /srv/app42\n  \
    lfsfs export app@v42:src /srv/src\n  \
    lfsfs export app@stable /srv/app --json"
)]
pub(crate) struct ExportArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG; with :PATH, that directory of it alone
    source: OsString,
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
    left_out: u64,
    first_left_out: Vec<JsonLeftOut>,
}

/// An object that was left out, in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonLeftOut {
    #[serde(flatten)]
    path: JsonPath,
    reason: String,
}

pub(crate) async fn run(server: ServerArgs, args: ExportArgs) -> Result<(), CommandError> {
    let source = SourceDirectory::new(args.source.as_bytes())?;
    let Directory {
        remote,
        snapshot,
        counts,
    } = find_directory(server.client()?.remote, source).await?;
    let (project, version) = (snapshot.project.name.to_string(), snapshot.version.number);
    let export = Export::new(remote, snapshot);
    let progress = export.progress();
    let work = export.into_dir(&args.dir);
    let figures = watched(Arc::clone(&progress), counts, work).await??;
    tell_what_was_skipped(&figures);
    let (whole, first) = (format!("{project}@{version}"), progress.first_left_out());
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
            left_out: figures.left_out,
            first_left_out: json_left_out(&first),
        })?;
    } else if figures.left_out == 0 {
        out.line(&whole)?;
    }
    out.finish()?;
    all_or(figures.left_out, &first, |count| {
        format!(
            "{count} of {whole} could not be written; the rest of it is in {}",
            args.dir.display()
        )
    })
}

/// Fails if objects were left out, and lists the first of them.
pub(crate) fn all_or(
    count: u64,
    first: &[LeftOut],
    message: impl FnOnce(String) -> String,
) -> Result<(), CommandError> {
    if count == 0 {
        return Ok(());
    }
    let mut error = CommandError::failed(message(counted(count, "object")));
    for LeftOut { path, reason } in first {
        let path = if path.is_empty() { b"." } else { &path[..] };
        error = error.detail(format!("{}: {reason}", quoted(path)));
    }
    let unnamed = count.saturating_sub(first.len() as u64);
    if unnamed > 0 {
        error = error.detail(format!("and {unnamed} more"));
    }
    Err(error.hint(
        "if contents are missing or damaged, find out more on the server's machine: stop lfsfsd \
        and run: lfsfsd check --data DIR",
    ))
}

pub(crate) fn json_left_out(first: &[LeftOut]) -> Vec<JsonLeftOut> {
    let json = |left_out: &LeftOut| JsonLeftOut {
        path: JsonPath::new(&left_out.path),
        reason: left_out.reason.clone(),
    };
    first.iter().map(json).collect()
}

/// Does the work with a bar on a terminal, and stops it where a signal says so.
pub(crate) async fn watched<T>(
    progress: Arc<ExportProgress>,
    expected: Option<VersionCounts>,
    work: impl Future<Output = T>,
) -> Result<T, CommandError> {
    let mut signals = EndSignals::new()?;
    let bar = draw(Arc::clone(&progress), expected);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            // The export ends by itself, after it has cleaned up.
            () = signals.recv() => progress.stop(),
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

/// Says which attributes this user may not set, or this file system cannot keep.
pub(crate) fn tell_what_was_skipped(figures: &ExportFigures) {
    let left_out = [
        (figures.skipped_special, "device nodes and sockets"),
        (figures.skipped_xattrs, "extended attributes"),
        (figures.skipped_owners, "owners"),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        user::warn(&format!("left out, not permitted here: {count} {what}"));
    }
}
