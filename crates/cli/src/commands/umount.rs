//! `lfsfs umount`: a mount ends.

use std::path::PathBuf;

use clap::Args;
use lfsfs_mount::{MountOptions, Places, UmountMode, list_mounts, unmount};

use crate::error::CommandError;
use crate::user;

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
    let mut failed = 0;
    for dir in &dirs {
        if let Err(error) = unmount(dir, mode, &places) {
            user::warn(&error.full_text());
            failed += 1;
        }
    }
    if failed == 0 {
        return Ok(());
    }
    let error = CommandError::failed(format!("{failed} of {} mounts are still there", dirs.len()));
    Err(match mode {
        UmountMode::WhenIdle => error.hint("somebody uses them; --lazy does not wait for that"),
        UmountMode::Lazy => error,
    })
}
