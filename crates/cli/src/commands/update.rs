//! `lfsfs update`: what was changed in a rebuilt directory becomes a version.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_sync::{Merged, Update, UpdateError, UpdateOutcome, UpdateParams};
use lfsfs_types::ObjectPath;
use serde::Serialize;

use super::export::all_or;
use super::import::{IgnoredArgs, tell_what_was_left_out, warn_of_ignore_files, watch};
use crate::cli::ServerArgs;
use crate::error::{CommandError, Kind};
use crate::made::VersionArgs;
use crate::output::{JsonPath, Output, quoted};

/// Paths that a message names.
const NAMED_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Sends what was changed in DIR since the version that it has, as one new version, and brings DIR \
    to that. What others published meanwhile is part of the new version, and comes into DIR. Where they \
    changed the same, nothing is published and nothing is lost: the paths are listed, and the exit code is 3. \
    Without changes no version is made, and DIR keeps the one that it has, also where others published. What \
    DIR was told to ignore, and what is outside of its subpaths, stays as it is in the version. New paths that the \
    project or a file .lfsfsignore says to ignore stay out of it. Prints \
    PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs update ./rebuilt -m \"npm install\"\n  \
    lfsfs update ./rebuilt --subpath src    send only what changed in src\n  \
    lfsfs update ./rebuilt --force          my changes win where others changed the same"
)]
pub(crate) struct UpdateArgs {
    /// Directory that a rebuild made
    dir: PathBuf,
    /// Send only what changed at this path and below it; may be given several times. The rest is sent by a
    /// later update
    #[arg(long, value_name = "PATH")]
    subpath: Vec<OsString>,
    /// Publish the changes even where others changed the same
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ignored: IgnoredArgs,
    /// Leave entries that cannot be read, and device nodes, as they are in the version, instead of failing
    #[arg(long)]
    skip_unreadable: bool,
    #[command(flatten)]
    version: VersionArgs,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonUpdate {
    project: String,
    version: u64,
    new: bool,
    rebased: bool,
    merged: bool,
    changes: u64,
    bytes_read: u64,
    bytes_sent: u64,
    contents_sent: u64,
    skipped_unreadable: u64,
    skipped_sockets: u64,
    skipped_mount_points: u64,
    ignored: u64,
    /// What others changed, too, so that the directory keeps its version.
    kept: Vec<JsonPath>,
}

pub(crate) async fn run(server: ServerArgs, args: UpdateArgs) -> Result<(), CommandError> {
    let params = params(&args)?;
    let update = Update::open(&server.client()?, params)?;
    let bar = watch(update.progress());
    let outcome = update.run().await;
    bar.finish_and_clear();
    let outcome = outcome.map_err(|error| with_way_out(error, &args.dir))?;
    let skipped = (outcome.sockets, outcome.mount_points);
    warn_of_ignore_files(&outcome.ignore_warnings);
    tell_what_was_left_out(&outcome.problems, skipped);
    let mut out = Output::new();
    if args.version.json {
        out.json(&json(&outcome))?;
    } else {
        out.line(format!("{}@{}", outcome.project, outcome.version.number))?;
    }
    out.finish()?;
    has_version(&outcome, &args.dir)
}

fn params(args: &UpdateArgs) -> Result<UpdateParams, CommandError> {
    let subpaths = args.subpath.iter().map(|path| subpath(path.as_bytes()));
    Ok(UpdateParams {
        dir: args.dir.clone(),
        subpaths: subpaths.collect::<Result<_, _>>()?,
        author: args.version.author(),
        message: args.version.message.clone(),
        force: args.force,
        ignored: args.ignored.paths(),
        skip_unreadable: args.skip_unreadable,
    })
}

/// Returns a path below the directory.
fn subpath(path: &[u8]) -> Result<ObjectPath, CommandError> {
    let hint = "--subpath takes paths below DIR, as the version has them, such as src/lib";
    if path.starts_with(b"/") {
        let message = format!("the subpath {} is absolute", quoted(path));
        return Err(CommandError::usage(message).hint(hint));
    }
    ObjectPath::new(path).map_err(|error| {
        CommandError::usage(format!("the subpath {}: {error}", quoted(path))).hint(hint)
    })
}

/// Says how to go on after a conflict.
fn with_way_out(error: UpdateError, dir: &Path) -> CommandError {
    let error = CommandError::from(error);
    if error.kind != Kind::Conflict {
        return error;
    }
    let dir = dir.display();
    error.hint(format!(
        "nothing was lost; take what others did, in place of yours, with: lfsfs rebuild PROJECT {dir}; or \
        put your changes on top with: lfsfs update --force {dir}"
    ))
}

/// Fails if the version was published, and the directory does not have it.
fn has_version(outcome: &UpdateOutcome, dir: &Path) -> Result<(), CommandError> {
    let (dir, project) = (dir.display(), &outcome.project);
    let version = format!("{project}@{}", outcome.version.number);
    match &outcome.merged {
        Merged::Done => Ok(()),
        Merged::Kept(paths) => {
            let message = format!(
                "{version} has the changes that were sent, and {dir} keeps its own version: others changed \
                what was changed there and not sent"
            );
            let mut error = CommandError::failed(message);
            for path in paths.iter().take(NAMED_MAX) {
                error = error.detail(quoted(path.as_bytes()));
            }
            let unnamed = paths.len().saturating_sub(NAMED_MAX);
            if unnamed > 0 {
                error = error.detail(format!("and {unnamed} more"));
            }
            Err(error.hint(format!(
                "nothing was lost; send the rest with: lfsfs update {dir}; or take what others did with: lfsfs \
                rebuild {project} {dir}"
            )))
        }
        Merged::LeftOut(first, count) => all_or(*count, first, |count| {
            format!(
                "{count} of {version} could not be written; the next update of {dir} tries again"
            )
        }),
    }
}

fn json(outcome: &UpdateOutcome) -> JsonUpdate {
    let figures = outcome.figures;
    let kept = match &outcome.merged {
        Merged::Kept(paths) => &paths[..],
        Merged::Done | Merged::LeftOut(..) => &[],
    };
    JsonUpdate {
        project: outcome.project.to_string(),
        version: outcome.version.number.0,
        new: outcome.is_new,
        rebased: outcome.is_rebased,
        merged: outcome.merged == Merged::Done,
        changes: figures.changes,
        bytes_read: figures.bytes_read,
        bytes_sent: figures.bytes_sent,
        contents_sent: figures.contents_sent,
        skipped_unreadable: outcome.problems.1,
        skipped_sockets: outcome.sockets,
        skipped_mount_points: outcome.mount_points,
        ignored: outcome.ignored,
        kept: kept
            .iter()
            .map(|path| JsonPath::new(path.as_bytes()))
            .collect(),
    }
}
