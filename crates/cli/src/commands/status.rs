//! `lfsfs status`: what a mount shows, and how it is.

use std::path::PathBuf;

use clap::Args;
use lfsfs_mount::{Mount, MountOptions, MountState, MountStatus, Places, find_mount};

use crate::error::CommandError;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    path: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<(), CommandError> {
    let places = Places::find(&MountOptions::default())?;
    let mount = find_mount(&args.path, &places)?;
    let status = served(&mount)?;
    let mut out = Output::new();
    if args.json {
        out.json(status)?;
        return out.finish();
    }
    let version = &status.version;
    let log = status
        .log
        .as_ref()
        .map_or_else(|| "stderr".into(), |log| log.display().to_string());
    out.line(format!("directory  {}", status.dir))?;
    out.line(format!("source     {}", status.source))?;
    out.line(format!(
        "version    {}@v{}",
        version.project, version.version
    ))?;
    out.line(format!("project    {}", version.project_id))?;
    out.line(format!("mode       {}", status.mode))?;
    out.line(format!("server     {}", version.server))?;
    out.line(format!("cache      {}", status.cache.display()))?;
    out.line(format!("log        {log}"))?;
    out.line(format!("pid        {}", status.pid))?;
    out.finish()
}

/// Returns what the process of a mount says of itself, or why it says nothing.
pub(crate) fn served(mount: &Mount) -> Result<&MountStatus, CommandError> {
    let dir = mount.entry.dir.display();
    match &mount.state {
        MountState::Served(status) => Ok(status),
        MountState::Dead => Err(
            CommandError::failed(format!("the mount at {dir} is dead")).hint(format!(
                "mount it again, or take it away with: lfsfs umount {dir}"
            )),
        ),
        MountState::Silent => Err(CommandError::failed(format!(
            "the process of the mount at {dir} does not answer"
        ))
        .hint("it may be another user's, or have been started with another run directory")),
    }
}
