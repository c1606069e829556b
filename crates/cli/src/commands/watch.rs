//! `lfsfs watch`: each new version of a project, as it is published.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;
use lfsfs_types::VersionRecord;
use tokio::task::spawn_blocking;

use super::diff::DiffForm;
use super::show;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::named::Named;
use crate::output::{Output, TimeStyle};

#[derive(Debug, Args)]
#[command(
    after_help = "Shows each version that is published behind SOURCE, as lfsfs show does: none is left out, \
    and none comes twice, also where the server goes away and comes back within --retry-for.\n\n\
    With --exec a command is run for each version instead, one after another, by sh, with LFSFS_SOURCE \
    (app@v5), LFSFS_PROJECT (app) and LFSFS_VERSION (5). If it fails, the watch ends with exit code 1.\n\n\
    Examples:\n  \
    lfsfs watch app                       versions from now on\n  \
    lfsfs watch app@v1 -n 1               the one behind v1\n  \
    lfsfs watch app@v3 --json             those behind v3, and then new ones\n  \
    lfsfs watch app --exec 'lfsfs switch /mnt/app \"v$LFSFS_VERSION\"'"
)]
pub(crate) struct WatchArgs {
    /// The last version that is known: PROJECT (its newest), PROJECT@vN, PROJECT@TAG, or a mount
    #[arg(value_name = "SOURCE")]
    word: OsString,
    /// Run this for each version
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["stat", "nul", "json", "patch"])]
    exec: Option<OsString>,
    /// End after so many versions
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// Show the time in this style
    #[arg(long, value_name = "STYLE", value_enum, default_value_t)]
    time: TimeStyle,
    #[command(flatten)]
    form: DiffForm,
}

pub(crate) async fn run(server: ServerArgs, args: WatchArgs) -> Result<(), CommandError> {
    let named = Named::find(&server, Some(&args.word))?;
    let snapshot = named.snapshot().await?;
    let after = (snapshot.version.number, snapshot.version.id);
    let project = snapshot.project;
    let mut watch = named.client.history.watch(project.id, after);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let version = watch.next().await?;
        match &args.exec {
            Some(command) => execute(command, project.name.as_str(), &version).await?,
            None => {
                let remote = &named.client.remote;
                let snapshot = remote.snapshot(project.id, version.number).await?;
                let mut out = Output::new();
                show::print(&named.client, snapshot, &args.form, args.time, &mut out).await?;
                out.finish()?;
            }
        }
        left -= 1;
    }
    Ok(())
}

/// Runs the command for a version, and waits for its end.
async fn execute(
    command: &OsString,
    project: &str,
    version: &VersionRecord,
) -> Result<(), CommandError> {
    let source = format!("{project}@{}", version.number);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command)
        .env("LFSFS_SOURCE", &source)
        .env("LFSFS_PROJECT", project)
        .env("LFSFS_VERSION", version.number.0.to_string());
    let ended = spawn_blocking(move || shell.status()).await;
    let status = ended
        .unwrap_or_else(|error| Err(error.into()))
        .map_err(|error| CommandError::failed(format!("cannot run sh: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let before = version.parent;
    let failed = CommandError::failed(format!("the command for {source} failed: {status}"));
    Err(failed.hint(format!("go on with: lfsfs watch {project}@{before}")))
}
