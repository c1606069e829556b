//! `lfsfs import`: a directory becomes the next version of a project.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use lfsfs_client::{Client, NewProject};
use lfsfs_remote::RemoteError;
use lfsfs_sync::{
    IgnoreWarning, IgnoredPaths, Import, ImportError, ImportOutcome, ImportParams, Phase, Problem,
    Progress,
};
use lfsfs_types::ProjectName;
use serde::Serialize;

use super::project::name;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{Output, quoted};
use crate::progress;
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "The version has exactly what DIR has, but for new paths that are ignored: the project says \
    which (lfsfs project set), and files .lfsfsignore in DIR do, in the syntax of gitignore(5). Contents that the \
    server has are not sent again. A tree without changes makes no version. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs import ./node_modules deps --create -m \"npm ci\"\n  \
    lfsfs import ./app app --exclude .git --exclude 'build/**'"
)]
pub(crate) struct ImportArgs {
    /// Directory to import
    dir: PathBuf,
    /// Project that gets the version
    project: String,
    /// Message of the version: why it is made
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Author of the version (default: USER@HOST)
    #[arg(long)]
    author: Option<String>,
    /// Leave out what matches; a pattern with a slash is compared with the whole path
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    ignored: IgnoredArgs,
    /// Leave out entries that cannot be read, and device nodes, instead of failing
    #[arg(long)]
    skip_unreadable: bool,
    /// Make the project if it is not there
    #[arg(long)]
    create: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What becomes of ignored paths.
#[derive(Debug, Args)]
pub(crate) struct IgnoredArgs {
    /// Take new paths, too, that the project or a file .lfsfsignore says to ignore
    #[arg(long = "no-ignore")]
    is_taken: bool,
}

impl IgnoredArgs {
    pub(crate) const fn paths(&self) -> IgnoredPaths {
        if self.is_taken {
            IgnoredPaths::Taken
        } else {
            IgnoredPaths::LeftOut
        }
    }
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonOutcome {
    project: String,
    version: u64,
    new: bool,
    entries: u64,
    changes: u64,
    rows: u64,
    bytes_read: u64,
    bytes_sent: u64,
    contents_sent: u64,
    skipped_unreadable: u64,
    skipped_sockets: u64,
    skipped_mount_points: u64,
    excluded: u64,
    ignored: u64,
    dry_run: bool,
}

pub(crate) async fn run(server: ServerArgs, args: ImportArgs) -> Result<(), CommandError> {
    let project = name(&args.project)?;
    let params = ImportParams {
        dir: args.dir,
        project: project.clone(),
        author: args.author.unwrap_or_else(user::author),
        message: args.message,
        exclude: args.exclude,
        ignored: args.ignored.paths(),
        skip_unreadable: args.skip_unreadable,
        dry_run: args.dry_run,
    };
    let client = server.client()?;
    let mut outcome = import(&client, &params).await;
    if !args.dry_run && is_missing(&outcome) && may_create(&project, args.create)? {
        create(&client, &project).await?;
        outcome = import(&client, &params).await;
    }
    let outcome = outcome.map_err(|error| told(error, &project))?;
    warn_of_ignore_files(&outcome.ignore_warnings);
    tell_what_was_left_out(&outcome.problems, (outcome.sockets, outcome.mount_points));
    let mut out = Output::new();
    if args.json {
        out.json(&json(project.as_str(), &outcome, args.dry_run))?;
    } else if args.dry_run {
        let figures = outcome.figures;
        let (changes, sent) = (HumanCount(figures.changes), HumanBytes(figures.bytes_sent));
        out.line(format!("{changes} changes, {sent} to send"))?;
    } else {
        out.line(format!("{project}@{}", outcome.version.number))?;
    }
    out.finish()
}

async fn import(client: &Client, params: &ImportParams) -> Result<ImportOutcome, ImportError> {
    let import = Import::new(client, params.clone())?;
    let bar = watch(import.progress());
    if progress::is_seen() {
        let count = import.counter();
        tokio::task::spawn_blocking(move || count.run());
    }
    let outcome = import.run().await;
    bar.finish_and_clear();
    outcome
}

/// Only the project can be missing on the server.
fn is_missing(outcome: &Result<ImportOutcome, ImportError>) -> bool {
    matches!(outcome, Err(ImportError::Remote(error)) if error.is_not_found())
}

/// Returns true if the import makes a project that is missing: `--create` asks for it, or the user at the
/// terminal allows it.
fn may_create(project: &ProjectName, create: bool) -> Result<bool, CommandError> {
    if create || !user::can_be_asked() {
        return Ok(create);
    }
    Ok(user::ask(&format!(
        "there is no project {project}; make it?"
    ))?)
}

async fn create(client: &Client, project: &ProjectName) -> Result<(), CommandError> {
    let made = client
        .admin
        .new_project(&NewProject::named(project.clone()))
        .await;
    match made {
        // Another process made it meanwhile.
        Ok(_) | Err(RemoteError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn told(error: ImportError, project: &ProjectName) -> CommandError {
    match error {
        ImportError::Remote(error) if error.is_not_found() => CommandError::from(error).hint(
            format!("import with --create, or make it with: lfsfs project new {project}"),
        ),
        error => error.into(),
    }
}

/// Draws the counters, on a terminal: as a bar once it is known how much there is to read.
pub(crate) fn watch(progress: Arc<Progress>) -> ProgressBar {
    let bar = progress::spinner();
    progress::watch(&bar, move |bar| {
        let figures = progress.figures();
        let sent = HumanBytes(figures.bytes_sent);
        let (entries, changes) = (HumanCount(figures.entries), HumanCount(figures.changes));
        let (of, read) = match figures.expected {
            Some(expected) if expected.bytes > 0 => {
                // Files may have grown since they were counted.
                progress::become_bar(bar, expected.bytes.max(figures.bytes_read));
                bar.set_position(figures.bytes_read);
                (
                    format!(" of {}", HumanCount(expected.entries)),
                    String::new(),
                )
            }
            _ => {
                let read = HumanBytes(figures.bytes_read);
                (String::new(), format!("{read} read, "))
            }
        };
        let what = match figures.phase {
            Phase::Cut | Phase::Read => "",
            Phase::Send => ", sending the rest",
            Phase::Publish | Phase::Show => ", publishing",
        };
        bar.set_message(format!(
            "{entries}{of} entries, {read}{changes} changes, {sent} sent{what}"
        ));
    });
    bar
}

/// Says what in files that say what is ignored says nothing.
pub(crate) fn warn_of_ignore_files(warnings: &[IgnoreWarning]) {
    for warning in warnings {
        user::warn(&warning.to_string());
    }
}

/// Says which entries are not in the version.
pub(crate) fn tell_what_was_left_out(
    problems: &(Vec<Problem>, u64),
    (sockets, mount_points): (u64, u64),
) {
    for problem in &problems.0 {
        user::warn(&format!(
            "left out {}: {}",
            quoted(&problem.path),
            problem.reason
        ));
    }
    let left_out = [
        (problems.1, "entries that cannot be imported"),
        (sockets, "sockets"),
        (
            mount_points,
            "contents of directories on which something else is mounted",
        ),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        user::warn(&format!("left out: {count} {what}"));
    }
}

fn json(project: &str, outcome: &ImportOutcome, dry_run: bool) -> JsonOutcome {
    let figures = outcome.figures;
    JsonOutcome {
        project: project.to_owned(),
        version: outcome.version.number.0,
        new: outcome.is_new,
        entries: figures.entries,
        changes: figures.changes,
        rows: outcome.rows,
        bytes_read: figures.bytes_read,
        bytes_sent: figures.bytes_sent,
        contents_sent: figures.contents_sent,
        skipped_unreadable: outcome.problems.1,
        skipped_sockets: outcome.sockets,
        skipped_mount_points: outcome.mount_points,
        excluded: outcome.excluded,
        ignored: outcome.ignored,
        dry_run,
    }
}
