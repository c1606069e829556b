//! Mounts: the operations that a kernel asks for, the transport that carries them, and the life of a mount
//! process.
//!
//! What is served comes from [`lfsfs_vfs`]. [`operations`] answers each request with a reply value and lets
//! the kernel keep all of it; `fuse` carries requests and replies. Around that: options, the mount itself,
//! the process that serves it, and the socket by which other processes talk to it (`control` has the
//! messages, `verbs` the serving end, `mounts` the asking end).

mod control;
mod counters;
mod cut;
mod daemon;
mod error;
mod flush;
mod fuse;
mod health;
mod holding;
mod kernel_cache;
mod kernel_mode;
mod kernel_mount;
mod limits;
mod memory;
mod mount_point;
pub mod mountinfo;
mod mounts;
pub mod operations;
mod options;
mod overlays;
mod places;
mod process;
mod publication;
mod publisher;
mod request;
mod scheduling;
mod serve;
mod server;
mod serving;
mod session;
mod shown;
mod submounts;
mod trust;
mod upkeep;
mod users;
mod verbs;
mod version;

pub use control::{
    ChangeItem, ChangeKind, Committed, ControlError, ControlErrorKind, ControlPhase,
    ControlProgress, ControlRequest, Counted, FollowStatus, IgnoredItem, MountStats, MountStatus,
    PhaseMillis, PublishingStatus, QueueItem, QueueReport, ServerMoved, Switched, Unmounted,
    VersionInfo,
};
pub use counters::{Counters, Opcode};
pub use cut::{HOLDER_ARGUMENT, Origin, PageSource, SENDER_ARGUMENT, run_holder, run_sender};
pub use daemon::{DAEMON_ARGUMENT, Launcher, foreground_log, mount, run_daemon};
pub use error::MountError;
pub use mounts::{
    AnswerSink, Mount, MountState, Silence, UmountMode, call, call_with, find_mount, list_mounts,
    unmount,
};
pub use options::{Access, MountOptions, OptionError, WantedMode, server_option};
pub use places::Places;
pub use process::run_foreground;
pub use request::MountRequest;
pub use serving::Serve;
pub use version::{Connect, connect, open_cache, server_address};
