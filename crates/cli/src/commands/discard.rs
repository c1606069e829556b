//! `lfsfs discard`: drops changes of a mount.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_mount::{ControlRequest, Counted, Mount, MountStatus, call};
use lfsfs_types::ObjectPath;
use serde::Serialize;

use crate::error::CommandError;
use crate::mounted::{MountedPath, locate, served_writable, source};
use crate::output::{Output, counted, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Without PATH all changes of the mount of this directory are dropped, but for new paths \
    that are ignored: those are dropped where PATH names them, or a directory above. The \
    command asks first; without a terminal it needs --yes.\n\n\
    Examples:\n  \
    lfsfs discard src/main.js             bring back what the version has there\n  \
    lfsfs discard /mnt/app --yes          all changes of that mount"
)]
pub(crate) struct DiscardArgs {
    /// Paths in one mount, each with all that is below it; they may have been removed
    paths: Vec<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonDiscard {
    discarded: u64,
}

pub(crate) fn run(args: &DiscardArgs) -> Result<(), CommandError> {
    let (mount, paths) = find(&args.paths)?;
    let status = served_writable(&mount)?;
    // What is ignored is dropped only where it is named.
    if status.changes == 0 && (status.ignored == 0 || paths.is_empty()) {
        return report(args, 0);
    }
    user::confirm(&question(status, &args.paths, &paths), args.yes)?;
    let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let discarded: Counted = call(&mount, &ControlRequest::Discard { paths })?;
    report(args, discarded.count)
}

/// Returns the mount that all paths lie in, and what they are there: none for all of it.
fn find(paths: &[PathBuf]) -> Result<(Mount, Vec<ObjectPath>), CommandError> {
    let here = [PathBuf::from(".")];
    let is_whole_mount = paths.is_empty();
    let typed = if is_whole_mount { &here[..] } else { paths };
    let mut found: Option<(Mount, Vec<ObjectPath>)> = None;
    for path in typed {
        let MountedPath { mount, path } = locate(path)?;
        match &mut found {
            None => found = Some((mount, vec![path])),
            Some((first, paths)) if first.entry.device == mount.entry.device => paths.push(path),
            Some((first, _)) => {
                let (a, b) = (first.entry.dir.display(), mount.entry.dir.display());
                return Err(CommandError::usage(format!("{a} and {b} are two mounts"))
                    .hint("discard in one after the other"));
            }
        }
    }
    let (mount, mut paths) = found.ok_or_else(|| CommandError::usage("no path"))?;
    // All that is below the root is everything.
    if is_whole_mount || paths.iter().any(ObjectPath::is_root) {
        paths.clear();
    }
    Ok((mount, paths))
}

fn question(status: &MountStatus, typed: &[PathBuf], paths: &[ObjectPath]) -> String {
    let version = source(&status.version);
    let shown = |path: &Path| quoted(path.as_os_str().as_bytes());
    match (paths, typed) {
        ([], _) => format!(
            "drop {} of {} and show {version} as it is?",
            counted(status.changes, "change"),
            status.dir
        ),
        (_, [path]) => format!("drop all changes of {} since {version}?", shown(path)),
        (paths, _) => format!("drop all changes of {} paths since {version}?", paths.len()),
    }
}

fn report(args: &DiscardArgs, discarded: u64) -> Result<(), CommandError> {
    let mut out = Output::new();
    if args.json {
        out.json(&JsonDiscard { discarded })?;
    } else {
        out.line(format!("{} discarded", counted(discarded, "change")))?;
    }
    out.finish()
}
