//! `lfsfs umount`: a mount ends.

use std::path::PathBuf;

use clap::Args;
use lfsfs_mount::{MountOptions, Places, UmountMode, list_mounts, unmount};

use crate::error::CommandError;

#[derive(Debug, Args)]
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
    let places = Places::find(&MountOptions::default())?;
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
        .filter_map(|dir| unmount(dir, mode, &places).err())
        .map(CommandError::from)
        .collect();
    CommandError::all(failures, "mounts are still there")
}
