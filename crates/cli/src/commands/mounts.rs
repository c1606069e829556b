//! `lfsfs mounts`: what is mounted on this machine.

use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use lfsfs_mount::{Mount, MountState, list_mounts};
use serde::Serialize;

use crate::error::CommandError;
use crate::mounted::places;
use crate::output::{JsonPath, Output, quoted};

#[derive(Debug, Args)]
pub(crate) struct MountsArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A mount in JSON.
#[derive(Debug, Serialize)]
struct JsonMount {
    #[serde(flatten)]
    dir: JsonPath,
    source: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    mode: String,
    changes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

impl JsonMount {
    fn new(mount: &Mount) -> Self {
        let status = match &mount.state {
            MountState::Served(status) => Some(status),
            MountState::Dead | MountState::Silent => None,
        };
        Self {
            dir: JsonPath::new(mount.entry.dir.as_os_str().as_bytes()),
            source: mount.entry.source.clone(),
            state: state(&mount.state),
            version: status.map(|status| status.version.version),
            mode: status.map_or_else(|| "ro".to_owned(), |status| status.mode.clone()),
            changes: status.map_or(0, |status| status.changes),
            pid: status.map(|status| status.pid),
        }
    }
}

pub(crate) fn run(args: &MountsArgs) -> Result<(), CommandError> {
    let mut out = Output::new();
    for mount in &list_mounts(&places()?)? {
        let shown = JsonMount::new(mount);
        if args.json {
            out.json(&shown)?;
            continue;
        }
        let dir = quoted(mount.entry.dir.as_os_str().as_bytes());
        let version = shown
            .version
            .map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
        let pid = shown
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let JsonMount {
            source,
            state,
            mode,
            changes,
            ..
        } = shown;
        out.line(format!(
            "{dir}  {source}  {version}  {mode}  {changes} changes  pid {pid}  {state}"
        ))?;
    }
    out.finish()
}

/// Returns the word for whether a mount is served.
pub(crate) const fn state(state: &MountState) -> &'static str {
    match state {
        MountState::Served(_) => "served",
        MountState::Dead => "dead",
        MountState::Silent => "silent",
    }
}
