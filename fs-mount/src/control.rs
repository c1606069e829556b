//! What is said over the control socket: one JSON object a line each way.
//!
//! The answer to a request is any number of progress and item lines, then one line that ends it:
//! what was asked for, or why not. Long work tells its progress at least once a second, so silence
//! means that the process hangs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::mountinfo::Device;

/// What can be asked of a mount process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum ControlRequest {
    /// What is mounted, where, by whom: answered by [`MountStatus`].
    Status,
    /// What it has done: answered by [`MountStats`].
    Stats,
    /// Unmount and end: answered by [`Unmounted`].
    Umount {
        /// Also where files are open: the mount is taken from its directory at once, and the
        /// process ends when the last file is closed.
        lazy: bool,
        /// Whether the kernel has sent what it held. Where the mount stays in other namespaces, only
        /// this makes sure that nothing of it is lost.
        #[serde(default)]
        is_flushed: bool,
    },
    /// Make the changes the next version: answered by [`Committed`].
    Commit {
        /// Why the version was made.
        message: String,
        /// Who makes it.
        author: String,
        /// Apply the changes also where others changed the same.
        force: bool,
        /// Take what is ignored, too.
        #[serde(default)]
        takes_ignored: bool,
        /// Let what differs in its times alone keep those that the version has.
        #[serde(default)]
        ignore_times: bool,
        /// Return when the changes are safe on this machine, and publish them later.
        #[serde(default)]
        later: bool,
        /// How long to go on trying while the server is away, in milliseconds.
        #[serde(default)]
        retry_ms: u64,
    },
    /// Show another version of the same project: answered by [`Switched`].
    Switch {
        /// What stands behind `@`, or a whole source.
        version: String,
        /// How long to go on trying while the server is away, in milliseconds.
        #[serde(default)]
        retry_ms: u64,
    },
    /// Ask the server at another address from now on: answered by [`ServerMoved`].
    Server {
        /// host:port, of the same cluster.
        address: String,
    },
    /// What differs from the version below: a [`ChangeItem`] each, answered by [`Counted`].
    Changes,
    /// The new paths that no commit takes: an [`IgnoredItem`] each, answered by [`Counted`].
    Ignored,
    /// The files that are not uploaded yet: a [`QueueItem`] each, answered by [`QueueReport`]. With `watch` a
    /// [`QueueItem`] follows for each file that an executor has uploaded or failed to upload, without end.
    Queue {
        /// Whether to go on.
        watch: bool,
    },
    /// Begin no upload until it is resumed, or go on: answered by [`QueueReport`].
    Pause {
        /// Whether to pause.
        paused: bool,
    },
    /// Try failed uploads again, and others at once: answered by [`QueueReport`].
    Retry,
    /// Wait for the version that is published later: answered by [`QueueReport`].
    Publication {
        /// How long to wait, in milliseconds; for ever if it is not said.
        timeout_ms: Option<u64>,
    },
    /// Upload everything now, and wait for it and for the version that is published later: answered by
    /// [`QueueReport`], of what is left.
    Flush {
        /// How long to wait, in milliseconds; for ever if it is not said.
        timeout_ms: Option<u64>,
    },
    /// Drop changes: answered by [`Counted`], how many objects are as in the version again.
    Discard {
        /// Paths from the root of the mount, in bytes; none means everything.
        paths: Vec<Vec<u8>>,
    },
}

/// What a mount process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The source as typed.
    pub source: String,
    /// Where it is mounted; lossy where that is not UTF-8.
    pub dir: String,
    /// The device number.
    pub device: Device,
    /// The process that serves it.
    pub pid: u32,
    /// `ro` or `rw`.
    pub mode: String,
    /// What serves it: `kernel` or `fuse`.
    #[serde(default)]
    pub served_by: String,
    /// Why it is not the kernel, if that was wanted where it can be had.
    #[serde(default)]
    pub why_fuse: Option<String>,
    /// The version that is mounted now, which commit and switch change.
    pub version: VersionInfo,
    /// How many objects differ from the version, without what is ignored.
    pub changes: u64,
    /// How many new paths are ignored. While the server does not answer, they may be counted as changes.
    #[serde(default)]
    pub ignored: u64,
    /// Whether a commit was begun and its outcome is not known: the next one finishes it.
    pub has_unfinished_commit: bool,
    /// The version that is published later, or why there is none.
    #[serde(default)]
    pub publishing: Option<PublishingStatus>,
    /// What the mount follows, if it was mounted so.
    #[serde(default)]
    pub follow: Option<FollowStatus>,
    /// For how many seconds the server has not answered, if it is taken as away.
    #[serde(default)]
    pub server_away_seconds: Option<u64>,
    /// Where changes are kept, if the mount is writable; it is there once something was changed.
    pub overlay: Option<PathBuf>,
    /// Where the cache lies.
    pub cache: PathBuf,
    /// Where the log lies, if there is a file.
    pub log: Option<PathBuf>,
}

/// What a mount follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowStatus {
    /// The project, with `latest` or a tag.
    pub source: String,
    /// Why the mount cannot show yet what that names.
    pub failure: Option<ControlError>,
}

/// A version that is published later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishingStatus {
    /// The random id that it will have, hexadecimal.
    pub version_id: String,
    /// Who makes it.
    pub author: String,
    /// Why.
    pub message: String,
    /// How long ago it was asked for.
    pub seconds: u64,
    /// Attempts that failed since the mount was made.
    pub tries: u32,
    /// Why the last of them failed.
    pub reason: Option<String>,
    /// Why there will be no version. Its changes are uncommitted changes again.
    pub refused: Option<ControlError>,
}

/// Which version is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Address of the server.
    pub server: String,
    /// Name of the project.
    pub project: String,
    /// Id of the project, hexadecimal.
    pub project_id: String,
    /// Number of the version.
    pub version: u64,
    /// Random id of the version, hexadecimal.
    pub version_id: String,
    /// The directory of the version that is the root of the mount; empty for the version's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// What a mount has done since it was mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStats {
    /// Requests of the kernel by opcode.
    pub requests: BTreeMap<String, u64>,
    /// Counters of cache and network.
    pub counters: BTreeMap<String, u64>,
}

/// A mount was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmounted {
    /// Changes that are kept for the next mount of the same version at the same directory.
    pub changes: u64,
    /// The version they belong to.
    pub version: VersionInfo,
    /// Mount namespaces of other programs that still show it; there it is dead when the process has
    /// ended.
    #[serde(default)]
    pub shown_in: Vec<String>,
    /// Who still uses it. The process goes on for them.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// The version that was to be published and is not yet.
    #[serde(default)]
    pub publishing: Option<PublishingStatus>,
}

/// A file that is not uploaded yet, or what happened to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueItem {
    /// Its path from the root of the mount, in bytes; empty if it has none any more.
    pub path: Vec<u8>,
    /// What it is about to do: `waiting`, `uploading`, `retrying` or `failed`; or that it is `remote` now.
    pub state: String,
    /// Its length.
    pub bytes: u64,
    /// Attempts that failed.
    pub tries: u32,
    /// Why the last of them failed.
    pub reason: Option<String>,
}

/// What the upload queue of a mount is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Files that wait for their turn, or for another attempt.
    pub waiting: u64,
    /// Files that are being uploaded.
    pub uploading: u64,
    /// Files that are set aside.
    pub failed: u64,
    /// Executors that run.
    pub executors: u64,
    /// Whether no upload begins.
    pub paused: bool,
    /// Files that were uploaded since the mount was made.
    pub uploaded: u64,
    /// Bytes that were sent for them.
    pub bytes_sent: u64,
    /// In how many seconds the files that wait are uploaded, at the pace of those before; `None` if that is not known.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// The version that is not published yet, or was refused.
    #[serde(default)]
    pub publishing: Option<PublishingStatus>,
}

/// Changes became a version, or there were none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// What is mounted now.
    pub version: VersionInfo,
    /// The random id of the version that is published later, hexadecimal, if it is.
    #[serde(default)]
    pub pending: Option<String>,
    /// False if nothing differed: then the version is the one that was mounted before.
    pub is_new: bool,
    /// Whether others had committed meanwhile; their changes are in the version too.
    pub rebased: bool,
    /// Objects that the version added, removed and modified.
    pub changes: u64,
    /// Objects that it added.
    #[serde(default)]
    pub added: u64,
    /// Objects that it modified.
    #[serde(default)]
    pub modified: u64,
    /// Objects that it removed.
    #[serde(default)]
    pub removed: u64,
    /// Bytes of chunks sent.
    pub bytes_sent: u64,
    /// Contents sent in them.
    pub contents_sent: u64,
    /// Bytes of contents of what changed that the server lacked.
    #[serde(default)]
    pub bytes_new: u64,
    /// Bytes of contents of what changed that it had already.
    #[serde(default)]
    pub bytes_known: u64,
    /// How long each phase took.
    #[serde(default)]
    pub phases: PhaseMillis,
}

/// How long each phase of a commit took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseMillis {
    /// [`ControlPhase::Cut`].
    pub cut: u64,
    /// [`ControlPhase::Read`].
    pub read: u64,
    /// [`ControlPhase::Send`].
    pub send: u64,
    /// [`ControlPhase::Publish`].
    pub publish: u64,
    /// [`ControlPhase::Show`].
    pub show: u64,
}

/// Another version is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// What was mounted before.
    pub from: VersionInfo,
    /// What is mounted now.
    pub version: VersionInfo,
    /// How many names changed.
    pub changed: u64,
}

/// The server is asked at another address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMoved {
    /// Where it was asked before.
    pub from: String,
    /// Where it is asked now.
    pub server: String,
}

/// How many were listed, or dealt with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Their number.
    pub count: u64,
}

/// How a changed object differs from the version below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new: `A`.
    Added,
    /// It is gone: `D`.
    Removed,
    /// Its content, kind, mode, owner or extended attributes: `M`.
    Modified,
    /// Its times alone: `T`.
    Times,
    /// It is a directory that has another path: `R`.
    Renamed,
}

/// One line of what differs from the version below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeItem {
    /// How it differs.
    pub kind: ChangeKind,
    /// Its path from the root of the mount, in bytes; of what is gone, the one it had.
    pub path: Vec<u8>,
    /// Where a renamed directory was.
    pub old: Option<Vec<u8>>,
}

/// A new path that no commit takes, with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredItem {
    /// The path from the root of the mount, in bytes.
    pub path: Vec<u8>,
    /// Whether a directory is there.
    pub is_directory: bool,
}

/// What a commit is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlPhase {
    /// Another commit, switch or discard of the mount is under way.
    Wait,
    /// It is decided what belongs to the version.
    #[default]
    Cut,
    /// Files are read and hashed, and what is new is sent meanwhile.
    Read,
    /// Everything was read, and the rest is sent.
    Send,
    /// Everything was sent, and the server makes the version.
    Publish,
    /// The version is there, and the mount goes to it.
    Show,
}

/// How far long work is. Figures grow; which of them do depends on the verb.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlProgress {
    /// What is going on.
    #[serde(default)]
    pub phase: ControlPhase,
    /// Bytes of files read and hashed.
    pub bytes_read: u64,
    /// Bytes of chunks sent.
    pub bytes_sent: u64,
    /// Contents sent in them.
    pub contents_sent: u64,
    /// Changes found so far.
    pub changes: u64,
    /// Files that left the upload queue, of a flush.
    #[serde(default)]
    pub files_uploaded: u64,
    /// Files that are in it.
    #[serde(default)]
    pub files_left: u64,
}

/// What kind of failure an answer tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlErrorKind {
    /// What was asked for could not be done.
    Failed,
    /// What was asked for makes no sense.
    Usage,
    /// Others changed the same; the error names the paths.
    Conflict,
    /// Another request that changes the mount is being served.
    Busy,
}

/// Why a mount process did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct ControlError {
    /// What kind of failure it is.
    pub kind: ControlErrorKind,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The paths that a conflict is about, from the root of the mount, in bytes.
    #[serde(default)]
    pub paths: Vec<Vec<u8>>,
    /// How many there are; not all of very many are named.
    #[serde(default)]
    pub paths_count: u64,
}

impl ControlError {
    pub(crate) fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            paths: Vec::new(),
            paths_count: 0,
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::Failed, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line of answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// Work goes on.
    Progress(ControlProgress),
    /// Work goes on, and the user should know something.
    Warning(String),
    /// One of many results.
    Item(serde_json::Value),
    /// It is done.
    Ok(serde_json::Value),
    /// It is not done.
    Error(ControlError),
}
