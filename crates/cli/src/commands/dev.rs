//! `lfsfs dev`: for tests of programs that use lfsfs.

use clap::{Args, Subcommand};
use lfsfs_client::ProjectStates;
use lfsfs_types::{ProjectName, VersionNumber};
use serde::Serialize;

use super::project::name;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;
use crate::user;

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Print all projects and their newest versions
    Snapshot(SnapshotArgs),
    /// Bring all projects back to a snapshot, and delete those that it does not have
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "A server answers if it was started with --development.\n\n\
    Examples:\n  \
    lfsfs dev snapshot                    such as app=42,web=7\n  \
    lfsfs dev snapshot --json             for scripts"
)]
pub(crate) struct SnapshotArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Each project whose newest version is another one gets a new version that is as the one of the \
    snapshot; its history stays. Nothing is done if a project or a version of the snapshot is not there. An empty STATE \
    deletes all projects.\n\n\
    Examples:\n  \
    lfsfs dev reset --state app=42,web=7 --yes"
)]
pub(crate) struct ResetArgs {
    /// What lfsfs dev snapshot printed
    #[arg(long, value_name = "STATE")]
    state: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// A project and its newest version, in JSON.
#[derive(Debug, Serialize)]
struct JsonState<'a> {
    name: &'a str,
    version: u64,
}

pub(crate) async fn run(server: ServerArgs, command: DevCommand) -> Result<(), CommandError> {
    match command {
        DevCommand::Snapshot(args) => snapshot(&server, args).await,
        DevCommand::Reset(args) => reset(&server, &args).await,
    }
}

async fn snapshot(server: &ServerArgs, args: SnapshotArgs) -> Result<(), CommandError> {
    let states = server.client()?.development.snapshot().await?;
    let mut out = Output::new();
    if args.json {
        for (name, version) in &states {
            out.json(&JsonState {
                name: name.as_str(),
                version: version.0,
            })?;
        }
        return out.finish();
    }
    let states = states.iter();
    let states: Vec<_> = states
        .map(|(name, version)| format!("{name}={}", version.0))
        .collect();
    out.line(states.join(","))?;
    out.finish()
}

async fn reset(server: &ServerArgs, args: &ResetArgs) -> Result<(), CommandError> {
    let states = parsed(&args.state)?;
    let question = format!(
        "bring {} projects back and delete all others? What is deleted cannot be brought back.",
        states.len()
    );
    let development = server.client()?.development;
    user::confirm(&question, args.yes)?;
    Ok(development.reset(&states).await?)
}

fn parsed(text: &str) -> Result<ProjectStates, CommandError> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    parts.map(state).collect()
}

fn state(part: &str) -> Result<(ProjectName, VersionNumber), CommandError> {
    let wrong = || {
        CommandError::usage(format!("{part:?} is no part of a state")).hint(
            "a state is written PROJECT=VERSION,PROJECT=VERSION, as lfsfs dev snapshot prints it",
        )
    };
    let (project, version) = part.trim().split_once('=').ok_or_else(wrong)?;
    let version = version.parse().map_err(|_| wrong())?;
    Ok((name(project)?, VersionNumber(version)))
}
