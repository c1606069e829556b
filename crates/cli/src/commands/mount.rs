//! `lfsfs mount`: a version becomes a directory.

use std::path::PathBuf;

use clap::Args;
use lfsfs_common::telemetry;
use lfsfs_mount::{Launcher, MountError, MountRequest, connect, server_option};

use crate::cli::ServerArgs;
use crate::error::CommandError;

/// What a mount in the foreground logs unless the environment says otherwise.
const LOG_FILTER: &str = "info";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs mount app /mnt/app                   to read and to write, the newest version\n  \
    lfsfs mount app@v42 /mnt/app -o ro         to read one version\n  \
    lfsfs mount app:src /mnt/app -o ro         to read a directory of it\n  \
    lfsfs mount app /mnt/app -o server=10.0.0.5:5051,cache-size=5G\n  \
    mount -t lfsfs app@v42 /mnt/app            the same through mount(8)\n\n\
    Options (-o): ro, server=HOST:PORT[+HOST:PORT...], cache=DIR, cache-size=SIZE, state=DIR, run=DIR,\n\
    uid=N, gid=N, allow_other, log=FILE, foreground, retry=N, timeout=SECONDS, noxattr, acl, follow, overlay=NAME,\n\
    overlay-size=SIZE, writeback, volatile, noupload, mode=auto|kernel|fuse,\n\
    serve=follow|plain, and those of mount(8).")]
pub(crate) struct MountArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG; with :PATH and -o ro, that directory of it
    /// alone
    source: String,
    /// Directory to mount it on
    dir: PathBuf,
    /// Options, separated by commas; can be given several times
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Serve in this process until the mount ends, as -o foreground
    #[arg(long)]
    foreground: bool,
}

pub(crate) fn run(server: &ServerArgs, args: MountArgs) -> Result<(), CommandError> {
    let mut options = args.options;
    if let Some(address) = &server.server {
        // What -o says comes later and wins.
        options.insert(0, server_option(address));
    }
    if args.foreground {
        options.push("foreground".to_owned());
    }
    let request = MountRequest::new(&args.source, &args.dir, &options)?;
    Ok(mount(&request)?)
}

/// Mounts as asked for, in the background unless that was said otherwise.
pub(crate) fn mount(request: &MountRequest) -> Result<(), MountError> {
    if request.options.foreground {
        telemetry::init(&lfsfs_mount::foreground_log(request)?, LOG_FILTER)?;
        return lfsfs_mount::run_foreground(request, &connect);
    }
    lfsfs_mount::mount(request, &Launcher::current_program()?)
}
