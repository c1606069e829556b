//! `lfsfs umount`: a mount ends.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use lfsfs_mount::{
    ControlRequest, Mount, MountError, MountState, Places, PublishingStatus, QueueReport,
    UmountMode, Unmounted, call_with, find_mount, list_mounts, unmount,
};

use crate::error::CommandError;
use crate::mounted::{places, source};
use crate::output::{counted, quoted};
use crate::progress::{Work, millis};
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Uncommitted changes are kept for the next mount of the same version at the same \
    directory; umount says how many there are. A mount that a program uses stays, and umount names \
    the program. A version that is on its way (lfsfs commit --async) is waited for; if it is not published when the time is \
    over, the mount ends all the same, the exit code is 1, and the next mount goes on with it. Where other mount namespaces show the mount and no program uses it there, it ends \
    there too.\n\n\
    Examples:\n  \
    lfsfs umount /mnt/app\n  \
    lfsfs umount --all --lazy"
)]
pub(crate) struct UmountArgs {
    /// Directories of the mounts, or paths in them
    #[arg(required_unless_present = "all")]
    dirs: Vec<PathBuf>,
    /// End all mounts of lfsfs
    #[arg(long, conflicts_with = "dirs")]
    all: bool,
    /// Take the mount from its directory at once; it ends when no program uses it any more
    #[arg(short, long)]
    lazy: bool,
    /// How long to wait for a version that is on its way, such as 30s or 5m
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// How a mount is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    mode: UmountMode,
    /// How long a version that is on its way is waited for.
    timeout: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            mode: UmountMode::WhenIdle,
            timeout: Duration::from_secs(30),
        }
    }
}

pub(crate) fn run(args: &UmountArgs) -> Result<(), CommandError> {
    let places = places()?;
    let mode = if args.lazy {
        UmountMode::Lazy
    } else {
        UmountMode::WhenIdle
    };
    let manner = Manner {
        mode,
        timeout: args.timeout,
    };
    let dirs = if args.all {
        // The newest first, since one may lie in another.
        let mounts = list_mounts(&places)?;
        mounts
            .into_iter()
            .rev()
            .map(|mount| mount.entry.dir)
            .collect()
    } else {
        args.dirs.clone()
    };
    let failures: Vec<CommandError> = dirs
        .iter()
        .filter_map(|dir| end(dir, manner, &places).err())
        .collect();
    CommandError::all(failures, "mounts are still there")
}

/// Ends the mount that a path lies in and tells what is kept of it. Fails if it ends before a version that is on its way is
/// published.
pub(crate) fn end(path: &Path, manner: Manner, places: &Places) -> Result<(), CommandError> {
    let mount = find_mount(path, places)?;
    if let MountState::Served(status) = &mount.state
        && status
            .publishing
            .as_ref()
            .is_some_and(|it| it.refused.is_none())
    {
        await_publication(&mount, manner.timeout)?;
    }
    let dir = mount.entry.dir;
    let Some(kept) = unmount(path, manner.mode, places)? else {
        return Ok(());
    };
    if kept.changes > 0 {
        user::warn(&kept_text(&kept, &dir));
    }
    if let Some(text) = left_text(&kept, &dir) {
        user::warn(&text);
    }
    match &kept.publishing {
        None => Ok(()),
        Some(publishing) => Err(not_published(publishing).hint(format!(
            "nothing is lost; the next mount goes on with it: lfsfs mount {} {}",
            source(&kept.version),
            quoted(dir.as_os_str().as_bytes())
        ))),
    }
}

fn await_publication(mount: &Mount, timeout: Duration) -> Result<(), CommandError> {
    let request = ControlRequest::Publication {
        timeout_ms: Some(millis(timeout)),
    };
    let mut work = Work::new("waiting for the version that is on its way");
    let waited: Result<QueueReport, MountError> = call_with(mount, &request, &mut work);
    work.end();
    // The mount tells at its end what is left.
    waited.map(drop).map_err(CommandError::from)
}

/// Says that a version is not there, and why.
pub(crate) fn not_published(publishing: &PublishingStatus) -> CommandError {
    let seconds = publishing.seconds;
    let reason = match &publishing.reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    CommandError::failed(format!(
        "the version that was asked for {seconds} s ago is not yet published{reason}"
    ))
}

/// Says where something is left of a mount.
fn left_text(kept: &Unmounted, dir: &Path) -> Option<String> {
    let dir = quoted(dir.as_os_str().as_bytes());
    if !kept.used_by.is_empty() {
        let users = kept.used_by.join(", ");
        return Some(format!(
            "{dir} is unmounted here, but still used by {users}; until that ends, its process goes on \
             and keeps its changes from being mounted again"
        ));
    }
    let shown_in = kept.shown_in.join(", ");
    (!shown_in.is_empty()).then(|| {
        format!("{dir} was also shown in the mount namespace of {shown_in}; it has ended there too")
    })
}

fn kept_text(kept: &Unmounted, dir: &Path) -> String {
    let dir = quoted(dir.as_os_str().as_bytes());
    let source = source(&kept.version);
    let what = counted(kept.changes, "uncommitted change");
    format!("kept: {what}; to go on with that: lfsfs mount {source} {dir}")
}

#[cfg(test)]
mod tests {
    use lfsfs_mount::VersionInfo;

    use super::*;

    #[test]
    fn what_is_kept_is_told_with_the_way_back() {
        let version = VersionInfo {
            project: "app".to_owned(),
            version: 4,
            ..VersionInfo::default()
        };
        let text = |changes| {
            let kept = Unmounted {
                changes,
                version: version.clone(),
                ..Unmounted::default()
            };
            kept_text(&kept, Path::new("/mnt/app"))
        };
        assert_eq!(
            text(1),
            "kept: 1 uncommitted change; to go on with that: lfsfs mount app@v4 /mnt/app"
        );
        assert!(text(2).starts_with("kept: 2 uncommitted changes; "));
    }

    #[test]
    fn what_is_left_elsewhere_is_named() {
        let dir = Path::new("/mnt/app");
        let process = || vec!["process 7 (sleep)".to_owned()];
        let mut kept = Unmounted::default();
        assert_eq!(left_text(&kept, dir), None);
        kept.shown_in = process();
        let shown = left_text(&kept, dir).expect("a text");
        assert!(shown.contains("namespace of process 7 (sleep)"), "{shown}");
        kept.used_by = process();
        let used = left_text(&kept, dir).expect("a text");
        assert!(used.contains("still used by process 7 (sleep)"), "{used}");
    }
}
