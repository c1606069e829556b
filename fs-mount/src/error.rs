//! Errors of mounting and unmounting, with the exit codes that mount(8) expects.

use std::io;
use std::path::PathBuf;

use lfsfs_common::telemetry::TelemetryError;
use lfsfs_common::{PathError, full_text};
use lfsfs_types::SourceDirectoryError;
use thiserror::Error;

use crate::control::ControlError;
use crate::options::OptionError;

/// Why a mount failed.
#[derive(Debug, Error)]
pub enum MountError {
    /// An option cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The source names no version.
    #[error(transparent)]
    Source(#[from] SourceDirectoryError),
    /// A directory of a version was to be mounted to be written.
    #[error(
        "{source_name} is a directory of a version, which can only be mounted to be read: add -o ro, or mount \
         the whole version to write"
    )]
    WritableSubdirectory {
        /// What was typed.
        source_name: String,
    },
    /// A version that is named by its number stays what it is.
    #[error(
        "{source_name} is one version, and -o follow has nothing to follow: mount {project}@latest or {project}@TAG, or \
         leave the option out"
    )]
    FollowsNothing {
        /// What was typed.
        source_name: String,
        /// The project.
        project: String,
    },
    /// Kernel mode was asked for, and cannot be had.
    #[error(
        "kernel mode cannot be had: {why}; leave out mode=kernel, and fuse mode serves the mount"
    )]
    NoKernelMode {
        /// Why not.
        why: &'static str,
    },
    /// The mount point does not exist.
    #[error("mount point {} does not exist", dir.display())]
    MountPointMissing {
        /// The directory as given.
        dir: PathBuf,
    },
    /// The mount point is a file, or the like.
    #[error("mount point {} is not a directory", dir.display())]
    MountPointNotDirectory {
        /// The directory as given.
        dir: PathBuf,
    },
    /// Something is mounted there.
    #[error("{} is in use: {source_name} ({kind}) is mounted there", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What is mounted there.
        source_name: String,
        /// The type of its file system.
        kind: String,
    },
    /// The kernel has no FUSE, or this container may not use it.
    #[error(
        "/dev/fuse is missing: load the module with modprobe fuse, or give it to the container"
    )]
    DeviceMissing,
    /// Only root can do that.
    #[error("only root may mount with option {option}")]
    OnlyRoot {
        /// The option.
        option: &'static str,
    },
    /// A user's mount for others is not allowed on this machine.
    #[error("allow_other needs this line in /etc/fuse.conf: user_allow_other")]
    AllowOther,
    /// The helper that mounts for users is missing.
    #[error("fusermount3 is missing; a user who is not root needs it: install the package fuse3")]
    HelperMissing,
    /// The helper that mounts for users refused.
    #[error("fusermount3 refused: {message}")]
    Helper {
        /// What it said.
        message: String,
    },
    /// The kernel refused.
    #[error("cannot mount on {}", dir.display())]
    Kernel {
        /// The directory.
        dir: PathBuf,
        /// Its reason.
        #[source]
        source: io::Error,
    },
    /// The mount could not be unmounted.
    #[error("cannot unmount {}", dir.display())]
    Unmount {
        /// The directory.
        dir: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The mount is used, and the caller wanted to end it only when idle.
    #[error(
        "{} is in use: a file or directory of it is open, or something is mounted below; \
         lfsfs umount --lazy does not wait for that", dir.display()
    )]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no mount of lfsfs.
    #[error("{} is not in a mount of lfsfs", path.display())]
    NotMounted {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The version could not be opened.
    #[error("cannot open {source_name}")]
    Open {
        /// The version as typed.
        source_name: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The overlay has uncommitted changes of another version.
    #[error(
        "{} has uncommitted changes of {version}: mount {version} there and use lfsfs commit or \
         lfsfs discard, or give another overlay with -o overlay=NAME", dir.display()
    )]
    OverlayOfOtherVersion {
        /// The directory.
        dir: PathBuf,
        /// The version that the changes were made on.
        version: String,
    },
    /// Another mount has the overlay open.
    #[error(
        "overlay {} is in use by {holder}: unmount that, or give another overlay with \
         -o overlay=NAME", overlay.display()
    )]
    OverlayInUse {
        /// The directory of the overlay.
        overlay: PathBuf,
        /// The process that has it.
        holder: String,
    },
    /// The mount did not answer in time.
    #[error("the mount of {source_name} did not answer within {seconds} s; its log is {}", log.display())]
    NoAnswer {
        /// The version as typed.
        source_name: String,
        /// How long was waited.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// The process that was to serve the mount ended.
    #[error("the mount process ended ({status}); its log is {}", log.display())]
    Ended {
        /// How it ended.
        status: String,
        /// Where to look.
        log: PathBuf,
    },
    /// The mount process reported why it cannot serve.
    #[error("{message}")]
    Told {
        /// The whole reason.
        message: String,
        /// Its exit code.
        exit_code: u8,
    },
    /// There is no directory for local data.
    #[error("no directory for {what}: set {variable} or -o {option}=DIR")]
    NoPlace {
        /// What the directory is for.
        what: &'static str,
        /// The variable to set.
        variable: &'static str,
        /// Or the option to give.
        option: &'static str,
    },
    /// Another user could replace one of the mount's own files.
    #[error(
        "cannot use {}: {} {objection}, and could lead to any other file; take a directory that only \
         root can write", path.display(), step.display()
    )]
    Untrusted {
        /// What was to be used.
        path: PathBuf,
        /// What is wrong on the way to it.
        step: PathBuf,
        /// What is wrong with that.
        objection: String,
    },
    /// A local file could not be used.
    #[error(transparent)]
    File(#[from] PathError),
    /// The log could not be set up.
    #[error(transparent)]
    Log(#[from] TelemetryError),
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A mount process refused a command.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The answer of a mount process could not be written.
    #[error("cannot write the answer of the mount process")]
    Sink(#[source] io::Error),
}

impl MountError {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }

    /// Returns the exit code of mount(8)'s helpers: 1 wrong usage or no permission, 2 system
    /// error, 32 mount failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Option(OptionError::Remount) => 32,
            Self::Option(_)
            | Self::Source(_)
            | Self::WritableSubdirectory { .. }
            | Self::FollowsNothing { .. }
            | Self::NoKernelMode { .. }
            | Self::OnlyRoot { .. }
            | Self::AllowOther
            | Self::Untrusted { .. }
            | Self::NoPlace { .. } => 1,
            Self::DeviceMissing
            | Self::HelperMissing
            | Self::File(_)
            | Self::Log(_)
            | Self::System { .. } => 2,
            Self::Told { exit_code, .. } => *exit_code,
            Self::MountPointMissing { .. }
            | Self::MountPointNotDirectory { .. }
            | Self::InUse { .. }
            | Self::Helper { .. }
            | Self::Kernel { .. }
            | Self::Unmount { .. }
            | Self::Busy { .. }
            | Self::NotMounted { .. }
            | Self::Open { .. }
            | Self::OverlayOfOtherVersion { .. }
            | Self::OverlayInUse { .. }
            | Self::NoAnswer { .. }
            | Self::Ended { .. }
            | Self::Control(_)
            | Self::Sink(_) => 32,
        }
    }

    /// Returns the error with all its causes, as one line for people.
    #[must_use]
    pub fn full_text(&self) -> String {
        full_text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_system_and_failure_apart() {
        let usage = MountError::Option(OptionError::Unknown { name: "x".into() });
        let system = MountError::DeviceMissing;
        let failure = MountError::MountPointMissing { dir: "/x".into() };
        assert_eq!(usage.exit_code(), 1);
        assert_eq!(system.exit_code(), 2);
        assert_eq!(failure.exit_code(), 32);
        assert_eq!(MountError::Option(OptionError::Remount).exit_code(), 32);
    }

    #[test]
    fn the_full_text_has_every_cause_once() {
        let error = MountError::Kernel {
            dir: "/mnt".into(),
            source: io::Error::other("no"),
        };
        assert_eq!(error.full_text(), "cannot mount on /mnt: no");
    }
}
