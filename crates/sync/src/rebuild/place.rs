//! The directory that is rebuilt, with its `.lfsfs`: the state, the lock, and entries on their way.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use lfsfs_common::durable::{is_temp_file_name, sync_dir, write_file_atomically};
use lfsfs_types::{Name, Timestamp};
use rustix::fs::{
    FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, futimens, mkdirat,
    openat, syncfs,
};
use rustix::io::Errno;

use super::RebuildError;
use super::sent::Sent;
use super::state::State;
use crate::attributes::handle_path;
use crate::export::remove::remove_below;
use crate::filter::STATE_DIR;
use crate::local::{self, DirHandle};
use crate::summary::{Known, Summary};

const STATE: &str = "state";
const LOCK: &str = "lock";
const STAGING: &str = "staging";
const SENT: &str = "sent";
const SUMMARY: &str = "summary";

/// What a directory remembers, if anything, or what is wrong with that.
pub(crate) type Remembered<T> = Result<Result<Option<T>, String>, RebuildError>;

/// A directory in which no other process rebuilds.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    root: DirHandle,
    own: DirHandle,
    lock: OwnedFd,
}

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or a directory without a `.lfsfs`.
    Bare {
        root: Option<DirHandle>,
        is_empty: bool,
    },
    /// A directory with one.
    Own { place: Place, is_empty: bool },
}

impl Found {
    /// Looks at a path and changes nothing.
    pub(crate) fn look(dir: &Path) -> Result<Self, RebuildError> {
        let root = match local::open_root(dir) {
            Ok(root) => root,
            Err(Errno::NOENT) => {
                return Ok(Self::Bare {
                    root: None,
                    is_empty: true,
                });
            }
            Err(error) => return Err(failed("use", dir)(error)),
        };
        let entries = local::read_dir(&root).map_err(failed("read", dir))?;
        let is_own = |name: &Name| name.as_bytes() == STATE_DIR.as_bytes();
        let is_empty = entries.iter().all(|(name, _)| is_own(name));
        if !entries.iter().any(|(name, _)| is_own(name)) {
            return Ok(Self::Bare {
                root: Some(root),
                is_empty,
            });
        }
        let place = Place::open(dir, root)?;
        Ok(Self::Own { place, is_empty })
    }
}

impl Place {
    /// Makes what is missing of the directory and its `.lfsfs`.
    pub(crate) fn create(dir: &Path, root: Option<DirHandle>) -> Result<Self, RebuildError> {
        let root = match root {
            Some(root) => root,
            None => {
                fs::create_dir(dir).map_err(failed("make", dir))?;
                local::open_root(dir).map_err(failed("use", dir))?
            }
        };
        make_private(&root, STATE_DIR).map_err(failed("make", &dir.join(STATE_DIR)))?;
        Self::open(dir, root)
    }

    /// Opens the `.lfsfs` and takes its lock.
    fn open(dir: &Path, root: DirHandle) -> Result<Self, RebuildError> {
        let at = dir.join(STATE_DIR);
        let own = open_dir(&root, STATE_DIR).map_err(failed("use", &at))?;
        let lock = open_lock(&own).map_err(failed("open", &at.join(LOCK)))?;
        let dir = dir.to_owned();
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                dir,
                root,
                own,
                lock,
            }),
            Err(Errno::WOULDBLOCK) => Err(RebuildError::Busy { dir }),
            Err(error) => Err(failed("lock", &at.join(LOCK))(error)),
        }
    }

    /// Returns the directory.
    pub(crate) const fn root(&self) -> &DirHandle {
        &self.root
    }

    /// Returns what the directory remembers, if anything, or what is wrong with that.
    pub(crate) fn read(&self) -> Remembered<State> {
        let found = self.read_with_sent()?;
        Ok(found.map(|found| {
            found.map(|(state, sent)| State {
                standing: match sent {
                    Some(sent) => sent.standing(state.standing),
                    None => state.standing,
                },
                ..state
            })
        }))
    }

    /// Returns what the directory remembers, and apart from it what an update noted.
    pub(crate) fn read_with_sent(&self) -> Remembered<(State, Option<Sent>)> {
        let Some(state) = self.bytes(STATE)? else {
            return Ok(Ok(None));
        };
        let sent = self.bytes(SENT)?;
        let both = || {
            let sent = sent.as_deref().map(Sent::decode).transpose()?;
            Ok(Some((State::decode(&state)?, sent)))
        };
        Ok(both())
    }

    /// Replaces what the directory remembers. It is durable on return.
    pub(crate) fn write(&self, state: &State) -> Result<(), RebuildError> {
        self.write_json(STATE, state.encode())
    }

    /// Replaces what an update noted. It is durable on return.
    pub(crate) fn write_sent(&self, sent: &Sent) -> Result<(), RebuildError> {
        self.write_json(SENT, sent.encode())
    }

    fn write_json(
        &self,
        name: &str,
        bytes: Result<Vec<u8>, serde_json::Error>,
    ) -> Result<(), RebuildError> {
        let bytes = bytes.map_err(|error| self.failed("write")(io::Error::from(error)))?;
        write_file_atomically(&path_in(&self.own, name)?, &bytes)
            .map_err(|error| self.failed("write")(error.source))?;
        // The name of the state's own directory has to last, too.
        sync_dir(&handle_path(&self.root, None)).map_err(|error| self.failed("write")(error.source))
    }

    /// Returns what is known of the files. Without a summary, or with one that is damaged, that is nothing.
    pub(crate) fn known(&self) -> Result<Known, RebuildError> {
        let bytes = self.bytes(SUMMARY)?;
        let summary = bytes.and_then(|bytes| Summary::decode(&bytes));
        Ok(Known::new(summary.unwrap_or_default(), self.now()?))
    }

    /// Replaces the summary, after what it tells of is durable.
    pub(crate) fn write_summary(&self, summary: &Summary) -> Result<(), RebuildError> {
        self.sync()?;
        write_file_atomically(&path_in(&self.own, SUMMARY)?, &summary.encode())
            .map_err(|error| self.failed("write")(error.source))
    }

    /// Returns the time that the file system gives to a file which is changed now.
    fn now(&self) -> Result<Timestamp, RebuildError> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        futimens(&self.lock, &times).map_err(self.failed("use"))?;
        let stat = local::stat(&self.lock).map_err(self.failed("use"))?;
        Ok(stat.ctime)
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, RebuildError> {
        match fs::read(path_in(&self.own, name)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// Makes all that was written to the directory durable.
    pub(crate) fn sync(&self) -> Result<(), RebuildError> {
        syncfs(&self.root).map_err(failed("sync", &self.dir))
    }

    /// Removes what a process that was killed left, and returns the directory and an empty one in which
    /// entries are made.
    pub(crate) fn staged(&self) -> Result<(DirHandle, DirHandle), RebuildError> {
        let at = self.dir.join(STATE_DIR).join(STAGING);
        make_private(&self.own, STAGING).map_err(failed("make", &at))?;
        let staging = open_dir(&self.own, STAGING).map_err(failed("use", &at))?;
        remove_below(&staging).map_err(failed("empty", &at))?;
        self.sweep()?;
        Ok((DirHandle::clone(&self.root), staging))
    }

    fn sweep(&self) -> Result<(), RebuildError> {
        let own = handle_path(&self.own, None);
        for entry in fs::read_dir(own).map_err(self.failed("read"))? {
            let entry = entry.map_err(self.failed("read"))?;
            if is_temp_file_name(&entry.file_name()) {
                fs::remove_file(entry.path()).map_err(self.failed("empty"))?;
            }
        }
        Ok(())
    }

    fn failed<E: Into<io::Error>>(&self, action: &'static str) -> impl FnOnce(E) -> RebuildError {
        failed(action, &self.dir.join(STATE_DIR))
    }
}

fn failed<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> RebuildError + use<E> {
    let path = path.to_owned();
    move |source| RebuildError::Place {
        action,
        path,
        source: source.into(),
    }
}

fn make_private(parent: &DirHandle, name: &str) -> Result<(), Errno> {
    match mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Opens the file that is locked. A link is not followed: nothing is made outside of the directory.
fn open_lock(own: &DirHandle) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(own, LOCK, flags, Mode::RUSR | Mode::WUSR)
}

/// Opens a directory that is no link.
fn open_dir(parent: &DirHandle, name: &str) -> Result<DirHandle, Errno> {
    local::open_dir(parent, &fixed_name(name).map_err(|_| Errno::INVAL)?)
}

/// Returns a short path to a file of ours.
fn path_in(own: &DirHandle, name: &str) -> Result<PathBuf, RebuildError> {
    Ok(handle_path(own, Some(&fixed_name(name)?)))
}

fn fixed_name(name: &str) -> Result<Name, RebuildError> {
    Name::new(name.as_bytes()).map_err(|_| RebuildError::Stopped("a name is none"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lfsfs_types::{ClusterId, ObjectPath, ProjectId, VersionId, VersionNumber};

    use super::super::state::{KnownVersion, Part, Standing};
    use super::*;

    fn state() -> State {
        let ids = (ClusterId([1; 16]), ProjectId([2; 16]));
        State {
            part: Part::new(ids, ObjectPath::ROOT, Vec::new(), Vec::new()),
            standing: Standing::At(KnownVersion {
                number: VersionNumber(1),
                id: VersionId([3; 16]),
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_and_locked() {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = scratch.path().join("new");
        let bare = Found::look(&dir).expect("nothing");
        assert!(matches!(
            bare,
            Found::Bare {
                root: None,
                is_empty: true
            }
        ));
        assert!(!dir.exists());
        let place = Place::create(&dir, None).expect("a directory");
        assert_eq!(place.read().expect("no file"), Ok(None));
        place.write(&state()).expect("a file");
        assert!(matches!(Found::look(&dir), Err(RebuildError::Busy { .. })));
        drop(place);
        let Ok(Found::Own {
            place,
            is_empty: true,
        }) = Found::look(&dir)
        else {
            unreachable!("a directory with its state");
        };
        assert_eq!(place.read().expect("a file"), Ok(Some(state())));
        fs::write(dir.join(".lfsfs/state"), "{").expect("a file");
        assert!(place.read().expect("a file").is_err());
    }

    #[test]
    fn staging_is_emptied_and_a_link_is_not_followed() {
        let scratch = tempfile::tempdir().expect("a directory");
        let at = |name: &str| scratch.path().join(name);
        let place = Place::create(&at("dir"), None).expect("a directory");
        fs::create_dir_all(at("dir/.lfsfs/staging/left")).expect("a directory");
        fs::write(at("dir/.lfsfs/.tmp-left"), "").expect("a file");
        let (_, staging) = place.staged().expect("staging");
        assert!(local::read_dir(&staging).expect("entries").is_empty());
        assert!(!at("dir/.lfsfs/.tmp-left").exists());
        fs::create_dir_all(at("other/kept")).expect("directories");
        fs::create_dir(at("linked")).expect("a directory");
        symlink(at("other"), at("linked/.lfsfs")).expect("a link");
        assert!(matches!(
            Found::look(&at("linked")),
            Err(RebuildError::Place { .. })
        ));
        fs::remove_dir_all(at("dir/.lfsfs/staging")).expect("a directory");
        symlink(at("other"), at("dir/.lfsfs/staging")).expect("a link");
        assert!(place.staged().is_err() && at("other/kept").exists());
    }
}
