//! What a root's process tells of it, in a file that other processes read.

use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_common::durable::TempFile;
use serde::{Deserialize, Serialize};

use super::error::SyncError;
use super::root::{Flag, Kept};

/// The format of the file.
const FORMAT: u32 = 1;
/// Troubles and errors that are kept.
const KEPT_MAX: usize = 20;

/// What a root's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncState {
    /// No process syncs the root.
    #[default]
    Stopped,
    /// A pass goes on.
    Syncing,
    /// Both sides are in step, as far as is known.
    Idle,
    /// The user paused it.
    Paused,
    /// The last pass failed, and is made again.
    Failed,
    /// Removals wait for the user.
    Unconfirmed,
}

/// A path, and why nothing was done there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleStatus {
    /// For people: bytes that are no text are replaced.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A pass that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorStatus {
    /// When, in seconds since 1970.
    pub time: i64,
    /// What failed.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

/// How a root is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootStatus {
    /// The format of the file.
    pub format: u32,
    /// The root.
    pub dir: String,
    /// What it is kept in step with.
    pub remote: String,
    /// What its process does.
    pub state: SyncState,
    /// When the last pass ended without an error, in seconds since 1970.
    pub synced: Option<i64>,
    /// The newest version that it made.
    pub version: Option<String>,
    /// Paths that both sides have in common.
    pub agreed: u64,
    /// Passes since the process began.
    pub passes: u64,
    /// Files that were sent since then.
    pub sent: u64,
    /// Files that were received since then.
    pub received: u64,
    /// Conflicts since then.
    pub conflicts: u64,
    /// Files that are being written.
    pub busy: u64,
    /// Removals that wait for the user: on the root.
    pub unconfirmed_root: u64,
    /// The same on the far side.
    pub unconfirmed_far: u64,
    /// Why events of the operating system begin no pass, if they do not.
    pub not_watching: Option<String>,
    /// Files of the pass that goes on: done, and all.
    pub files: (u64, u64),
    /// Bytes of it.
    pub bytes: (u64, u64),
    /// Seconds that it still takes, as far as can be told.
    pub seconds_left: Option<u64>,
    /// Paths at which nothing was done, the first of them.
    pub troubles: Vec<TroubleStatus>,
    /// The last passes that failed, the newest first.
    pub errors: Vec<ErrorStatus>,
}

impl RootStatus {
    /// Returns the status of a root of which nothing is known.
    #[must_use]
    pub fn new(dir: &Path, remote: &str) -> Self {
        Self {
            format: FORMAT,
            dir: dir.to_string_lossy().into_owned(),
            remote: remote.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn fail(&mut self, time: i64, error: &SyncError) {
        self.state = SyncState::Failed;
        let message = lfsfs_common::full_text(error);
        let is_same = self
            .errors
            .first()
            .is_some_and(|last| last.message == message);
        if is_same {
            let _ = self.errors.remove(0);
        }
        let advice = error.advice();
        let error = ErrorStatus {
            time,
            message,
            advice,
        };
        self.errors.insert(0, error);
        self.errors.truncate(KEPT_MAX);
    }

    pub(crate) fn set_troubles(&mut self, troubles: &[super::error::Trouble]) {
        let shown = |trouble: &super::error::Trouble| TroubleStatus {
            path: String::from_utf8_lossy(trouble.path.as_bytes()).into_owned(),
            reason: trouble.reason.clone(),
        };
        self.troubles = troubles.iter().take(KEPT_MAX).map(shown).collect();
    }

    pub(crate) fn write(&self, place: &Path) {
        let written = serde_json::to_vec(self).map_err(std::io::Error::from);
        let written = written.and_then(|mut bytes| {
            bytes.push(b'\n');
            let mut temp = TempFile::create_in(place).map_err(|error| error.source)?;
            std::io::Write::write_all(temp.file_mut(), &bytes)?;
            let to = place.join("status");
            // What it says is old after a power loss anyway.
            temp.persist_without_sync(&to)
                .map_err(|error| error.source)?;
            Ok(())
        });
        if let Err(error) = written {
            tracing::warn!(%error, place = %place.display(), "the status is not written");
        }
    }
}

/// What other processes ask and tell of a root.
#[derive(Debug)]
pub struct RootControl {
    kept: Kept,
    dir: PathBuf,
    remote: String,
}

impl RootControl {
    /// Finds the state of a root. Nothing is made.
    #[must_use]
    pub fn new(state: &Path, dir: &Path, remote: &str) -> Self {
        Self {
            kept: Kept::of(state, dir, remote),
            dir: dir.to_owned(),
            remote: remote.to_owned(),
        }
    }

    /// Returns how the root is, as its process told last.
    #[must_use]
    pub fn status(&self) -> RootStatus {
        let found = fs::read(self.kept.place().join("status")).ok();
        let found = found.and_then(|bytes| serde_json::from_slice::<RootStatus>(&bytes).ok());
        let found = found.filter(|status| status.format == FORMAT);
        let mut status = found.unwrap_or_else(|| RootStatus::new(&self.dir, &self.remote));
        if !self.kept.is_locked() {
            status.state = SyncState::Stopped;
        }
        status
    }

    /// Returns true if the root is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.kept.is_set(Flag::Paused)
    }

    /// Pauses the root. A pass that goes on comes to its end.
    pub fn pause(&self) -> Result<(), SyncError> {
        self.kept.set(Flag::Paused)
    }

    /// Ends the pause.
    pub fn resume(&self) -> Result<(), SyncError> {
        self.kept.clear(Flag::Paused)
    }

    /// Lets the next pass make the removals that wait.
    pub fn confirm(&self) -> Result<(), SyncError> {
        self.kept.set(Flag::Confirmed)
    }
}
