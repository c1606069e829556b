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
    after_help = "What was changed and not committed is kept for the next mount of the same \
    version at the same\ndirectory, and its number is told.\n\n\
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
    /// Take the mount from its directory at once; it ends when nobody uses it any more
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
    if let Some(kept) = unmount(path, mode, places)?.filter(|kept| kept.changes > 0) {
        user::warn(&kept_text(&kept, &dir));
    }
    Ok(())
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
            let version = version.clone();
            kept_text(&Unmounted { changes, version }, Path::new("/mnt/app"))
        };
        assert_eq!(
            text(1),
            "kept: 1 uncommitted change; to go on with that: lfsfs mount app@v4 /mnt/app"
        );
        assert!(text(2).starts_with("kept: 2 uncommitted changes; "));
    }
}
