//! `lfsfs stats`: the counters of a mount.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use lfsfs_mount::{ControlRequest, MountStats, call, find_mount};

use crate::error::CommandError;
use crate::mounted::{places, served};
use crate::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs stats /mnt/app\n  \
    lfsfs stats --json                    for scripts, of the mount of this directory")]
pub(crate) struct StatsArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    path: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatsArgs) -> Result<(), CommandError> {
    let mount = find_mount(&args.path, &places()?)?;
    served(&mount)?;
    let stats: MountStats = call(&mount, &ControlRequest::Stats)?;
    let mut out = Output::new();
    if args.json {
        out.json(&stats)?;
        return out.finish();
    }
    section(&mut out, "requests of the kernel", &stats.requests)?;
    section(&mut out, "cache and network", &stats.counters)?;
    out.finish()
}

fn section(
    out: &mut Output,
    title: &str,
    counters: &BTreeMap<String, u64>,
) -> Result<(), CommandError> {
    out.line(title)?;
    for (name, count) in counters {
        out.line(format!("  {name:<24} {count:>12}"))?;
    }
    Ok(())
}
