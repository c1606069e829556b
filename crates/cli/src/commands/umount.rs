//! `lfsfs umount`: a mount ends.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_mount::{Places, UmountMode, Unmounted, find_mount, list_mounts, unmount};

use crate::error::CommandError;
use crate::mounted::{places, source};
use crate::output::{counted, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Uncommitted changes are kept for the next mount of the same version at the same \
    directory; umount says how many there are. A mount that a program uses stays, and umount names \
    the program. Where other mount namespaces show the mount and no program uses it there, it ends \
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
}

pub(crate) fn run(args: &UmountArgs) -> Result<(), CommandError> {
    let places = places()?;
    let mode = if args.lazy {
        UmountMode::Lazy
    } else {
        UmountMode::WhenIdle
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
        .filter_map(|dir| end(dir, mode, &places).err())
        .collect();
    CommandError::all(failures, "mounts are still there")
}

/// Ends the mount that a path lies in and tells what is kept of it.
pub(crate) fn end(path: &Path, mode: UmountMode, places: &Places) -> Result<(), CommandError> {
    let dir = find_mount(path, places)?.entry.dir;
    let Some(kept) = unmount(path, mode, places)? else {
        return Ok(());
    };
    if kept.changes > 0 {
        user::warn(&kept_text(&kept, &dir));
    }
    if let Some(text) = left_text(&kept, &dir) {
        user::warn(&text);
    }
    Ok(())
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
