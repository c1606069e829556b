//! `lfsfs mounts`: what is mounted on this machine.

use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use lfsfs_mount::{Mount, MountState, list_mounts};
use serde::Serialize;

use crate::error::CommandError;
use crate::mounted::places;
use crate::output::{JsonPath, Output, quoted};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs mounts\n  \
    lfsfs mounts --json                   for scripts, with null where a mount does not answer")]
pub(crate) struct MountsArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A mount in JSON. What only its process knows is null where that does not answer.
#[derive(Debug, Serialize)]
struct JsonMount {
    #[serde(flatten)]
    dir: JsonPath,
    source: String,
    state: &'static str,
    version: Option<u64>,
    mode: &'static str,
    changes: Option<u64>,
    pid: Option<u32>,
    /// Why the process does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl JsonMount {
    fn new(mount: &Mount) -> Self {
        let (status, reason) = match &mount.state {
            MountState::Served(status) => (Some(status), None),
            MountState::Dead => (None, None),
            MountState::Silent(silence) => (None, Some(silence.to_string())),
        };
        Self {
            dir: JsonPath::new(mount.entry.dir.as_os_str().as_bytes()),
            source: mount.entry.source.clone(),
            state: state(&mount.state),
            version: status.map(|status| status.version.version),
            // The kernel tells this of every mount.
            mode: if mount.entry.is_read_only() {
                "ro"
            } else {
                "rw"
            },
            changes: status.map(|status| status.changes),
            pid: status.map(|status| status.pid),
            reason,
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
        out.line(line(mount, &shown))?;
    }
    out.finish()
}

fn line(mount: &Mount, shown: &JsonMount) -> String {
    let dir = quoted(mount.entry.dir.as_os_str().as_bytes());
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let JsonMount {
        source,
        state,
        mode,
        ..
    } = shown;
    let version = shown
        .version
        .map_or_else(|| "?".to_owned(), |it| format!("v{it}"));
    let (changes, pid) = (known(shown.changes), known(shown.pid.map(u64::from)));
    let reason = shown.reason.as_ref();
    let reason = reason.map(|it| format!(": {it}")).unwrap_or_default();
    format!("{dir}  {source}  {version}  {mode}  {changes} changes  pid {pid}  {state}{reason}")
}

/// Returns the word for whether a mount is served.
pub(crate) const fn state(state: &MountState) -> &'static str {
    match state {
        MountState::Served(_) => "served",
        MountState::Dead => "dead",
        MountState::Silent(_) => "silent",
    }
}
