//! `lfsfs sync`: directories that are kept in step with a project.

mod layers;
mod once;
mod serve;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lfsfs_client::Client;
use lfsfs_mount::{MountOptions, Places};
use lfsfs_sync::directory_sync::{
    FarPlace, PassParams, RemoteRoot, RootControl, SyncError, SyncSettings,
};
use serde::Serialize;

use super::on_runtime;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;
use crate::user;

#[derive(Debug, Subcommand)]
pub(crate) enum SyncCommand {
    /// Sync directories until the process is ended
    Run(serve::RunArgs),
    /// Sync directories once
    Once(once::OnceArgs),
    /// Show how directories are synced
    Status(status::StatusArgs),
    /// Stop to sync, until it is resumed
    Pause(SettingsArgs),
    /// Go on after a pause
    Resume(SettingsArgs),
    /// Let the removals be made that wait because they are so many
    Confirm(SettingsArgs),
    /// Show the settings, and where each is from
    Config(ConfigArgs),
}

/// Where settings come from, and what is set on the command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    /// File of settings [env: LFSFS_SYNC_CONFIG] [default: lfsfs-sync.toml here, or /etc/lfsfs/sync.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that is synced, in place of sync_dirs; may be given several times
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// What it is kept in step with, in place of remote_root: PROJECT, PROJECT:PATH, or an absolute directory
    #[arg(long, value_name = "ROOT")]
    remote: Option<String>,
    /// Another setting, such as direction=push; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Layers, of which the last one that has a key counts: the defaults; lfsfs-sync.ENV.toml beside the file \
    of settings, if LFSFS_ENV is dev, test or prod; the file of settings; variables such as LFSFS_SYNC_POLL_INTERVAL; the \
    command line. Everything is checked before anything is done.\n\n\
    Examples:\n  \
    lfsfs sync config --config /etc/lfsfs/sync.toml"
)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A setting in JSON.
#[derive(Debug, Serialize)]
struct JsonSetting<'a> {
    key: &'a str,
    value: &'a str,
    origin: &'a str,
}

pub(crate) fn run(server: ServerArgs, command: SyncCommand) -> Result<(), CommandError> {
    match command {
        SyncCommand::Run(args) => on_runtime(serve::run(server, args)),
        SyncCommand::Once(args) => on_runtime(once::run(server, args)),
        SyncCommand::Status(args) => on_runtime(status::run(args)),
        SyncCommand::Pause(args) => each_root(&args, RootControl::pause),
        SyncCommand::Resume(args) => each_root(&args, RootControl::resume),
        SyncCommand::Confirm(args) => each_root(&args, RootControl::confirm),
        SyncCommand::Config(args) => config(&args),
    }
}

impl SettingsArgs {
    /// Joins the layers and checks them.
    fn settings(&self) -> Result<SyncSettings, CommandError> {
        let layers = layers::read(self)?;
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        SyncSettings::new(&layers, &host).map_err(|error| {
            CommandError::usage(error.to_string())
                .hint("lfsfs sync config --help says where settings come from; docs/configuration.md has them all")
        })
    }

    fn controls(&self) -> Result<Vec<RootControl>, CommandError> {
        let settings = self.settings()?;
        let state = state()?;
        let control = |dir: &PathBuf| RootControl::new(&state, dir, &settings.far_of(dir).1);
        Ok(settings.sync_dirs.iter().map(control).collect())
    }
}

fn state() -> Result<PathBuf, CommandError> {
    Ok(Places::find(&MountOptions::default())?.state)
}

/// Returns how each root is synced, and the way to a server, if one is needed.
fn roots(
    settings: &SyncSettings,
    server: &ServerArgs,
    is_dry_run: bool,
) -> Result<(Vec<PassParams>, Option<Client>), CommandError> {
    let state = state()?;
    let author = user::author();
    let root = |dir: &PathBuf| {
        let (far, remote) = settings.far_of(dir);
        PassParams {
            dir: dir.clone(),
            far,
            remote,
            state: state.clone(),
            direction: settings.direction,
            rule: settings.rule,
            ignore: settings.ignore.clone(),
            debounce_nanos: u64::try_from(settings.debounce.as_nanos()).unwrap_or(u64::MAX),
            concurrency: settings.concurrency,
            host: settings.host.clone(),
            author: author.clone(),
            is_dry_run,
        }
    };
    let roots: Vec<PassParams> = settings.sync_dirs.iter().map(root).collect();
    let is_remote = |root: &PassParams| matches!(root.far, FarPlace::Project { .. });
    let client = roots.iter().any(is_remote).then(|| server.client());
    Ok((roots, client.transpose()?))
}

fn each_root(
    args: &SettingsArgs,
    act: impl Fn(&RootControl) -> Result<(), SyncError>,
) -> Result<(), CommandError> {
    for control in args.controls()? {
        act(&control)?;
    }
    Ok(())
}

fn config(args: &ConfigArgs) -> Result<(), CommandError> {
    let settings = args.settings.settings()?;
    let mut out = Output::new();
    for origin in &settings.origins {
        if args.json {
            out.json(&JsonSetting {
                key: origin.key,
                value: &origin.value,
                origin: &origin.origin,
            })?;
        } else {
            out.line(format!(
                "{} = {}  # {}",
                origin.key, origin.value, origin.origin
            ))?;
        }
    }
    out.finish()
}

/// Returns what the far side of all roots is, as the user wrote it.
fn is_project(settings: &SyncSettings) -> bool {
    matches!(settings.remote, RemoteRoot::Project(..))
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        let advice = error.advice();
        let failed = match error {
            SyncError::Remote(error) => error.into(),
            error => Self::failed(lfsfs_common::full_text(&error)),
        };
        match advice {
            Some(advice) => failed.hint(advice),
            None => failed,
        }
    }
}
