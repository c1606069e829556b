//! `lfsfs switch`: a mount shows another version.

use std::path::PathBuf;

use clap::Args;
use lfsfs_mount::{ControlRequest, Switched, call_with, find_mount};
use serde::Serialize;

use crate::error::CommandError;
use crate::mounted::{places, served, source};
use crate::output::Output;
use crate::progress::Work;

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    after_help = "Programs go on in the mount: what is the same in both versions keeps its inode \
    number and stays\ncached, open files keep what they opened. Refused while there are \
    uncommitted changes. Prints\nPROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs switch /mnt/app v43\n  \
    lfsfs switch /mnt/app stable          the version of a tag\n  \
    lfsfs switch latest                   in a mount"
)]
pub(crate) struct SwitchArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Version of the same project: vN, latest, a tag, or PROJECT@ and one of them
    version: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonSwitch {
    project: String,
    from: u64,
    version: u64,
    changed: u64,
}

pub(crate) fn run(args: SwitchArgs) -> Result<(), CommandError> {
    let mount = find_mount(&args.dir, &places()?)?;
    served(&mount)?;
    let request = ControlRequest::Switch {
        version: args.version,
    };
    let mut work = Work::new("switch");
    let switched = call_with(&mount, &request, &mut work);
    work.end();
    let switched: Switched = switched?;
    let mut out = Output::new();
    if args.json {
        out.json(&JsonSwitch {
            project: switched.version.project,
            from: switched.from.version,
            version: switched.version.version,
            changed: switched.changed,
        })?;
    } else {
        out.line(source(&switched.version))?;
    }
    out.finish()
}
