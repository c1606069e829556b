//! Which directory a root is, and what this machine keeps of it: docs/sync.md describes the files.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::{
    create_private_dir_durable, remove_file_durably, write_file_atomically,
};
use lfsfs_common::flock::{FileLock, LockMode};
use lfsfs_common::random::random_bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::SyncError;
use crate::filter::STATE_DIR;

/// The format of both files.
const FORMAT: u32 = 1;
/// The file in [`STATE_DIR`] of a root.
const ID_FILE: &str = "sync";
/// Bytes of the digest that names the state of a root.
const KEY_LEN: usize = 16;
/// A file of these is a line.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// What this machine keeps of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    dir: PathBuf,
    remote: String,
    place: PathBuf,
}

/// A root that no other process syncs.
#[derive(Debug)]
pub(crate) struct LockedRoot {
    pub(crate) kept: Kept,
    _lock: FileLock,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonId {
    format: u32,
    root: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonKept {
    format: u32,
    dir: String,
    remote: String,
    root: String,
    far: String,
}

/// Files of the state that say what the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Paused,
    Confirmed,
}

impl Kept {
    /// Returns where the state of a root lies. Nothing is made.
    pub(crate) fn of(state: &Path, dir: &Path, remote: &str) -> Self {
        let mut sum = Sha256::new();
        sum.update(dir.as_os_str().as_bytes());
        sum.update([0]);
        sum.update(remote.as_bytes());
        let key = hex(&sum.finalize()[..KEY_LEN]);
        Self {
            dir: dir.to_owned(),
            remote: remote.to_owned(),
            place: state.join("sync").join(key),
        }
    }

    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Makes the directory and takes the lock.
    pub(crate) fn lock(self) -> Result<LockedRoot, SyncError> {
        create_private_dir_durable(&self.place)?;
        let lock = FileLock::try_acquire(&self.place.join("lock"), LockMode::Exclusive)?;
        let busy = || SyncError::Busy {
            dir: self.dir.clone(),
        };
        let lock = lock.ok_or_else(busy)?;
        Ok(LockedRoot {
            kept: self,
            _lock: lock,
        })
    }

    /// Returns true if a process syncs the root now.
    pub(crate) fn is_locked(&self) -> bool {
        let lock = self.place.join("lock");
        lock.exists() && matches!(FileLock::try_acquire(&lock, LockMode::Exclusive), Ok(None))
    }

    pub(crate) fn is_set(&self, flag: Flag) -> bool {
        self.place.join(flag.file()).exists()
    }

    pub(crate) fn set(&self, flag: Flag) -> Result<(), SyncError> {
        create_private_dir_durable(&self.place)?;
        Ok(write_file_atomically(&self.place.join(flag.file()), b"")?)
    }

    pub(crate) fn clear(&self, flag: Flag) -> Result<(), SyncError> {
        match remove_file_durably(&self.place.join(flag.file())) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Flag {
    const fn file(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Confirmed => "confirmed",
        }
    }
}

impl LockedRoot {
    /// Checks that root and far side are what they were. The first pass gives the root its id.
    ///
    /// `has_far_root` tells whether the far side has the directory; `is_begun` whether anything was agreed.
    pub(crate) fn check(
        &self,
        far: &str,
        has_far_root: bool,
        is_begun: bool,
    ) -> Result<(), SyncError> {
        let file = self.kept.place.join("root");
        let kept: Option<JsonKept> = read(&file)?;
        let id = self.id()?;
        let Some(kept) = kept else {
            return self.begin(id, far);
        };
        if id.as_deref() != Some(&*kept.root) {
            return Err(SyncError::OtherRoot {
                dir: self.kept.dir.clone(),
                state: self.kept.place.clone(),
            });
        }
        let other = |problem| SyncError::OtherFar {
            dir: self.kept.dir.clone(),
            remote: self.kept.remote.clone(),
            problem,
            state: self.kept.place.clone(),
        };
        if kept.far != far {
            return Err(other("it is another project or directory of that name"));
        }
        if is_begun && !has_far_root {
            return Err(other("the directory is not there any more"));
        }
        Ok(())
    }

    /// Fails where the directory of an earlier pass is not there. Makes nothing.
    pub(crate) fn check_root(&self) -> Result<(), SyncError> {
        let kept: Option<JsonKept> = read(&self.kept.place.join("root"))?;
        match kept {
            Some(kept) if self.id()?.as_deref() != Some(&*kept.root) => Err(SyncError::OtherRoot {
                dir: self.kept.dir.clone(),
                state: self.kept.place.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn id(&self) -> Result<Option<String>, SyncError> {
        read_id(&self.kept.dir)
    }

    fn begin(&self, id: Option<String>, far: &str) -> Result<(), SyncError> {
        let root = match id {
            Some(id) => id,
            None => write_id(&self.kept.dir)?,
        };
        let kept = JsonKept {
            format: FORMAT,
            dir: self.kept.dir.to_string_lossy().into_owned(),
            remote: self.kept.remote.clone(),
            root,
            far: far.to_owned(),
        };
        write(&self.kept.place.join("root"), &kept)
    }
}

/// Returns the id of a directory, if it has one.
pub(crate) fn read_id(dir: &Path) -> Result<Option<String>, SyncError> {
    let id: Option<JsonId> = read(&dir.join(STATE_DIR).join(ID_FILE))?;
    Ok(id.map(|id| id.root))
}

/// Gives a directory an id.
pub(crate) fn write_id(dir: &Path) -> Result<String, SyncError> {
    let place = dir.join(STATE_DIR);
    create_private_dir_durable(&place)?;
    let drawn = random_bytes().map_err(PathError::wrap("draw an id for", dir))?;
    let root = hex(&drawn);
    let id = JsonId {
        format: FORMAT,
        root: root.clone(),
    };
    write(&place.join(ID_FILE), &id)?;
    Ok(root)
}

fn read<T: for<'de> Deserialize<'de> + HasFormat>(path: &Path) -> Result<Option<T>, SyncError> {
    let damaged = |problem: String| SyncError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let bytes = match fs::symlink_metadata(path) {
        Ok(found) if found.len() > FILE_LEN_MAX => {
            return Err(damaged("it is too long".to_owned()));
        }
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PathError::new("read", path, error).into()),
    };
    let read: T = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match read.format() {
        FORMAT => Ok(Some(read)),
        format => Err(damaged(format!("format {format} is not known"))),
    }
}

trait HasFormat {
    fn format(&self) -> u32;
}

impl HasFormat for JsonId {
    fn format(&self) -> u32 {
        self.format
    }
}

impl HasFormat for JsonKept {
    fn format(&self) -> u32 {
        self.format
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), SyncError> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|_| SyncError::Stopped("an id is no JSON"))?;
    bytes.push(b'\n');
    Ok(write_file_atomically(path, &bytes)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
