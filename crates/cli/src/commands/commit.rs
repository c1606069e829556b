//! `lfsfs commit`: the changes of a mount become the next version.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lfsfs_mount::{Committed, ControlRequest, PhaseMillis, call_with, find_mount};
use lfsfs_sync::IgnoredPaths;
use serde::Serialize;

use super::import::IgnoredArgs;
use super::umount;
use crate::error::{CommandError, Kind};
use crate::mounted::{places, served_writable, source};
use crate::output::{Output, quoted};
use crate::progress::{Work, millis};
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Prints PROJECT@vN (nothing with --async), which the mount shows from then on. Without changes that is \
    the version that it shows already. What others committed meanwhile is part of the new version. \
    Where they changed the same, nothing is published and nothing is lost: the paths are listed, \
    and the exit code is 3. New paths that the project or a file .lfsfsignore says to ignore stay in the mount and \
    out of the version.\n\n\
    Examples:\n  \
    lfsfs commit /mnt/app -m \"npm install\"\n  \
    lfsfs commit --ignore-times           a second `npm ci` makes no version\n  \
    lfsfs commit --force                  in a mount: my changes win where others changed the same\n  \
    lfsfs commit /mnt/app --umount        and end the mount, as a job does last\n  \
    lfsfs commit /mnt/app --async         do not wait for the server; lfsfs status shows how far it is"
)]
pub(crate) struct CommitArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Message of the version: why it is made
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Author of the version (default: USER@HOST)
    #[arg(long)]
    author: Option<String>,
    /// Publish the changes even where others changed the same
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ignored: IgnoredArgs,
    /// Let what differs from the version in its times alone keep those that it has there, so that a repeated job
    /// makes no version; a project can have this as a setting
    #[arg(long)]
    ignore_times: bool,
    /// End the mount afterwards
    #[arg(long)]
    umount: bool,
    /// Return when the changes are safe on this machine; the mount publishes them behind that, and so does its next
    /// process if this one ends
    #[arg(long = "async")]
    is_async: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonCommit {
    project: String,
    version: u64,
    new: bool,
    pending: Option<String>,
    rebased: bool,
    changes: u64,
    added: u64,
    changed: u64,
    removed: u64,
    bytes_sent: u64,
    contents_sent: u64,
    bytes_uploaded: u64,
    bytes_deduplicated: u64,
    seconds: JsonPhases,
}

/// How long each phase took, in seconds.
#[derive(Debug, Serialize)]
struct JsonPhases {
    cut: f64,
    read: f64,
    send: f64,
    publish: f64,
    show: f64,
}

impl JsonPhases {
    fn new(phases: &PhaseMillis) -> Self {
        let seconds = |millis| Duration::from_millis(millis).as_secs_f64();
        Self {
            cut: seconds(phases.cut),
            read: seconds(phases.read),
            send: seconds(phases.send),
            publish: seconds(phases.publish),
            show: seconds(phases.show),
        }
    }
}

pub(crate) fn run(args: CommitArgs, retry_for: Duration) -> Result<(), CommandError> {
    let places = places()?;
    let mount = find_mount(&args.dir, &places)?;
    let base = source(&served_writable(&mount)?.version);
    let request = ControlRequest::Commit {
        message: args.message,
        author: args.author.unwrap_or_else(user::author),
        force: args.force,
        takes_ignored: args.ignored.paths() == IgnoredPaths::Taken,
        ignore_times: args.ignore_times,
        later: args.is_async,
        retry_ms: millis(retry_for),
    };
    let mut work = Work::new("commit");
    let committed = call_with(&mount, &request, &mut work);
    work.end();
    let committed: Committed = committed.map_err(|error| with_way_out(error.into(), &base))?;
    let mut out = Output::new();
    if args.json {
        out.json(&json(&committed))?;
    } else if committed.pending.is_none() {
        out.line(source(&committed.version))?;
    } else {
        let dir = quoted(mount.entry.dir.as_os_str().as_bytes());
        user::warn(&format!(
            "the changes are safe on this machine and on their way to be a version; to wait for it: lfsfs flush {dir}"
        ));
    }
    out.finish()?;
    if args.umount {
        // From outside, since this may be the very directory that the process works in.
        umount::end(&mount.entry.dir, umount::Manner::default(), &places)?;
    }
    Ok(())
}

/// Says how to go on after a conflict, in the words of this program.
fn with_way_out(error: CommandError, base: &str) -> CommandError {
    if error.kind != Kind::Conflict {
        return error;
    }
    let project = base.split('@').next().unwrap_or(base);
    error.hint(format!(
        "nothing was lost; see what others did with: lfsfs diff {base} {project}; then drop your \
        changes of these paths with lfsfs discard, or put them on top with lfsfs commit --force"
    ))
}

fn json(committed: &Committed) -> JsonCommit {
    JsonCommit {
        project: committed.version.project.clone(),
        version: committed.version.version,
        new: committed.is_new,
        pending: committed.pending.clone(),
        rebased: committed.rebased,
        changes: committed.changes,
        added: committed.added,
        changed: committed.modified,
        removed: committed.removed,
        bytes_sent: committed.bytes_sent,
        contents_sent: committed.contents_sent,
        bytes_uploaded: committed.bytes_new,
        bytes_deduplicated: committed.bytes_known,
        seconds: JsonPhases::new(&committed.phases),
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_mount::{ControlError, ControlErrorKind, MountError};

    use super::*;

    fn refused(kind: ControlErrorKind, hint: Option<&str>) -> CommandError {
        MountError::from(ControlError {
            kind,
            message: "2 paths conflict".to_owned(),
            hint: hint.map(str::to_owned),
            paths: vec![b"a".to_vec()],
            paths_count: 2,
        })
        .into()
    }

    #[test]
    fn a_conflict_lists_its_paths_and_says_how_to_go_on() {
        let error = with_way_out(refused(ControlErrorKind::Conflict, None), "app@v3");
        assert_eq!((error.exit_code(), error.paths.len()), (3, 1));
        let text = error.to_string();
        assert!(text.contains("lfsfs diff app@v3 app; "), "{text}");
        assert!(text.contains("--force"), "{text}");
    }

    #[test]
    fn other_failures_keep_the_hint_that_they_have() {
        let told = with_way_out(refused(ControlErrorKind::Failed, Some("wait")), "app@v3");
        assert!(told.to_string().ends_with("\nhint: wait"), "{told}");
        let busy = with_way_out(refused(ControlErrorKind::Busy, None), "app@v3");
        assert_eq!(busy.exit_code(), 1);
        assert!(!busy.to_string().contains("hint"), "{busy}");
    }
}
