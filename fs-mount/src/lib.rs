//! The FUSE adapter and the life of a mount process.
//!
//! What is served comes from [`lfsfs_vfs`]; the adapter hands it to the kernel and lets the kernel
//! keep all of it. Around that: options, the mount itself, the process that serves
//! it, and the socket by which other processes talk to it.

mod adapter;
mod caller;
mod control;
mod counters;
mod cut;
mod daemon;
mod errno;
mod error;
mod flush;
mod health;
mod kernel_cache;
mod kernel_mount;
mod memory;
mod mount_point;
pub mod mountinfo;
mod mounts;
mod options;
mod overlays;
mod places;
mod process;
mod request;
mod server;
mod session;
mod submounts;
mod trust;
mod upkeep;
mod users;
mod version;

pub use control::{
    AnswerSink, ChangeItem, ChangeKind, Committed, ControlError, ControlErrorKind, ControlPhase,
    ControlProgress, ControlRequest, Counted, MountStats, MountStatus, ServerMoved, Switched,
    Unmounted, VersionInfo,
};
pub use counters::{Counters, Opcode};
pub use cut::{HOLDER_ARGUMENT, SENDER_ARGUMENT, run_holder, run_sender};
pub use daemon::{DAEMON_ARGUMENT, Launcher, foreground_log, mount, run_daemon};
pub use error::MountError;
pub use mounts::{
    Mount, MountState, Silence, UmountMode, call, call_with, find_mount, list_mounts, unmount,
};
pub use options::{Access, MountOptions, OptionError};
pub use places::Places;
pub use process::run_foreground;
pub use request::MountRequest;
pub use version::{Connect, connect, server_address};
