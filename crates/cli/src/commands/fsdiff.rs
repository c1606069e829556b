//! `lfsfs fsdiff`: what was changed in a rebuilt directory.

use std::path::PathBuf;

use clap::Args;
use lfsfs_sync::{CompareBy, DirectoryDiff};

use super::diff::{DiffForm, Found};
use super::export::watched;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;

#[derive(Debug, Args)]
#[command(
    after_help = "Compares DIR with the version that lfsfs rebuild brought it to. Lines: A added, D removed, \
    M modified (content, kind, mode, owner, xattr), T times alone; the root has an empty path. A file \
    is read unless the summary in DIR/.lfsfs knows it as it is. Tells what lfsfs update would send. What DIR was told to ignore, \
    and what is outside of its subpaths, is not looked at.\n\n\
    Examples:\n  \
    lfsfs fsdiff ./rebuilt\n  \
    lfsfs fsdiff ./rebuilt --ignore-times --stat"
)]
pub(crate) struct FsdiffArgs {
    /// Directory that a rebuild made
    dir: PathBuf,
    /// Read all files, also those that the summary knows
    #[arg(long)]
    ignore_times: bool,
    /// Only count
    #[arg(long)]
    stat: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(server: ServerArgs, args: FsdiffArgs) -> Result<(), CommandError> {
    let by = if args.ignore_times {
        CompareBy::Bytes
    } else {
        CompareBy::Summary
    };
    let diff = DirectoryDiff::open(&args.dir, by)?;
    let remote = server.client()?.remote;
    let work = watched(diff.progress(), None, diff.run(remote));
    let form = DiffForm {
        stat: args.stat,
        nul: args.nul,
        json: args.json,
        patch: false,
    };
    let mut found = Found::new(&form);
    for entry in work.await?? {
        found.add(entry);
    }
    let mut out = Output::new();
    found.write(&form, &mut out)?;
    out.finish()
}
