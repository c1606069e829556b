//! A plain directory as a side: the root, or a far side that is one.

mod change;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_common::random::random_bytes;
use lfsfs_types::{Name, ObjectPath, Timestamp};
use lfsfs_upload::describe_file;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::SyncError;
use super::item::{Figures, FileItem, Item};
use super::view::{
    Applied, Completed, Entry, Listed, Mark, Since, SyncProgress, TakeBytes, View, Wanted, Work,
};
use crate::filter::STATE_DIR;
use crate::local::{self, DirHandle, LocalStat, is_of_the_machine};

/// Where files are made before they come to their place, in [`STATE_DIR`].
const STAGING: &str = "staging";
/// A time so far in the future is that of a wrong clock.
const FUTURE_NANOS: i128 = 600 * 1_000_000_000;
/// How often a file that changes under the reader is read again.
const ATTEMPTS_MAX: u32 = 3;

/// When a file counts as written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// When it was not modified for so long, in nanoseconds.
    For(i128),
    /// When it holds still while it is read.
    WhileRead,
}

/// An open directory at one moment.
#[derive(Debug)]
pub(crate) struct PlainView {
    dir: PathBuf,
    root: DirHandle,
    staging: DirHandle,
    device: u64,
    identity: String,
    /// The moment, by the clock of the file system.
    began: Timestamp,
    quiet: Quiet,
    progress: Arc<SyncProgress>,
}

impl PlainView {
    /// Opens the directory and prepares its [`STATE_DIR`].
    pub(crate) fn open(
        dir: &Path,
        identity: String,
        quiet: Quiet,
        progress: Arc<SyncProgress>,
    ) -> Result<Self, SyncError> {
        let root = local::open_root(dir).map_err(|error| SyncError::NoRoot {
            dir: dir.to_owned(),
            source: error.into(),
        })?;
        let machine = |action| machine(action, dir.join(STATE_DIR));
        let staging = staging(&root).map_err(machine("use"))?;
        let began = clock(&staging).map_err(machine("write to"))?;
        Ok(Self {
            dir: dir.to_owned(),
            device: local::stat(&root).map_err(machine("look at"))?.device,
            root,
            staging,
            identity,
            began,
            quiet,
            progress,
        })
    }

    pub(crate) fn root(&self) -> &DirHandle {
        &self.root
    }

    pub(crate) const fn began(&self) -> Timestamp {
        self.began
    }

    fn parent(&self, path: &ObjectPath) -> Result<(DirHandle, Name), Errno> {
        let (dir, name) = path.split_last().ok_or(Errno::INVAL)?;
        Ok((self.directory(&dir)?, name))
    }

    fn directory(&self, path: &ObjectPath) -> Result<DirHandle, Errno> {
        local::open_below(&self.root, path, ResolveFlags::NO_XDEV)
    }

    fn entry(&self, parent: &DirHandle, name: &Name, stat: LocalStat) -> Result<Entry, Errno> {
        Ok(match stat.kind {
            FileType::RegularFile => Entry::File(stat),
            FileType::Directory if stat.device != self.device => {
                Entry::Unreadable("another file system is mounted here".to_owned())
            }
            FileType::Directory => Entry::Item(Item::Directory { mode: stat.mode }),
            FileType::Symlink => Entry::Item(Item::Symlink {
                target: local::read_link(parent, name)?,
            }),
            _ => Entry::Other,
        })
    }

    /// Turns the error of an entry into what is seen of it, or fails if it is the machine's.
    fn unreadable(&self, path: &ObjectPath, error: Errno) -> Result<String, SyncError> {
        if is_of_the_machine(error) {
            let path = self.dir.join(OsStr::from_bytes(path.as_bytes()));
            return Err(machine("read", path)(error));
        }
        Ok(format!(
            "it cannot be read: {}",
            std::io::Error::from(error)
        ))
    }

    fn is_quiet(&self, stat: &LocalStat) -> bool {
        let Quiet::For(nanos) = self.quiet else {
            return true;
        };
        is_old(nanoseconds(self.began) - nanoseconds(stat.mtime), nanos)
    }

    /// Reads a file to know its content. None if it changes meanwhile.
    fn hash(&self, path: &ObjectPath) -> Result<Option<(FileItem, LocalStat)>, Errno> {
        let (parent, name) = self.parent(path)?;
        for _ in 0..ATTEMPTS_MAX {
            let file = local::open_file(&parent, &name)?;
            let before = local::stat(&file)?;
            if before.kind != FileType::RegularFile {
                return Ok(None);
            }
            self.progress.hash();
            let content = describe_file(&file).map_err(errno)?;
            let after = local::stat(&file)?;
            if after.untouched_since(&before) && content.len == after.size {
                let file = FileItem {
                    mode: after.mode,
                    mtime: after.mtime,
                    size: after.size,
                    content: content.id,
                };
                return Ok(Some((file, after)));
            }
        }
        Ok(None)
    }

    fn figures(&self, stat: &LocalStat) -> Option<Figures> {
        Some(Figures::of(stat)).filter(|figures| figures.are_older_than(self.began))
    }
}

impl View for PlainView {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn has_root(&self) -> Result<bool, SyncError> {
        Ok(true)
    }

    fn mark(&self) -> Option<Mark> {
        None
    }

    fn since(&self, _: &Mark) -> Result<Since, SyncError> {
        Ok(Since::Everywhere)
    }

    fn list(&self, dir: &ObjectPath) -> Result<Listed, SyncError> {
        let found = self
            .directory(dir)
            .and_then(|handle| Ok((local::read_dir(&handle)?, handle)));
        let (found, handle) = match found {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !dir.is_root() => {
                return Ok(Listed::Gone);
            }
            Err(error) => return Ok(Listed::Unreadable(self.unreadable(dir, error)?)),
        };
        let mut entries = Vec::with_capacity(found.len());
        for (name, stat) in found {
            if dir.is_root() && name.as_bytes() == STATE_DIR.as_bytes() {
                continue;
            }
            let entry = match stat.and_then(|stat| self.entry(&handle, &name, stat)) {
                Ok(entry) => entry,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    let path = dir.join(&name).unwrap_or_else(|_| dir.clone());
                    Entry::Unreadable(self.unreadable(&path, error)?)
                }
            };
            entries.push((name, entry));
        }
        Ok(Listed::Entries(entries))
    }

    fn look(&self, path: &ObjectPath) -> Result<Option<Entry>, SyncError> {
        let found = self.parent(path).and_then(|(parent, name)| {
            let stat = local::stat_entry(&parent, &name)?;
            stat.map(|stat| self.entry(&parent, &name, stat))
                .transpose()
        });
        match found {
            Ok(found) => Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Ok(Some(Entry::Unreadable(self.unreadable(path, error)?))),
        }
    }

    fn complete(
        &self,
        path: &ObjectPath,
        stat: &LocalStat,
        agreed: Option<&FileItem>,
    ) -> Result<Completed, SyncError> {
        self.progress.go_on()?;
        // A file that came from a machine whose clock is ahead is not being written.
        let is_as_agreed = agreed.is_some_and(|it| (it.mtime, it.size) == (stat.mtime, stat.size));
        if !is_as_agreed && !self.is_quiet(stat) {
            return Ok(Completed::Busy);
        }
        Ok(match self.hash(path) {
            Ok(Some((file, stat))) => Completed::File(file, self.figures(&stat)),
            Ok(None) => Completed::Busy,
            Err(Errno::NOENT) => Completed::Gone,
            Err(error) => Completed::Unreadable(self.unreadable(path, error)?),
        })
    }

    fn open(&self, path: &ObjectPath) -> Result<Option<File>, SyncError> {
        let opened = self.parent(path);
        let opened = opened.and_then(|(parent, name)| local::open_file(&parent, &name));
        let place = self.dir.join(OsStr::from_bytes(path.as_bytes()));
        opened.map(Some).map_err(machine("open", place))
    }

    fn download(&self, wanted: &[Wanted], take: &mut TakeBytes<'_>) -> Result<(), SyncError> {
        for (at, wanted) in wanted.iter().enumerate() {
            let place = self.dir.join(OsStr::from_bytes(wanted.path.as_bytes()));
            let failed = |error: std::io::Error| SyncError::Machine {
                action: "read",
                path: place.clone(),
                source: error,
            };
            let Some(file) = self.open(&wanted.path)? else {
                continue;
            };
            change::each_part(&file, |offset, bytes| {
                self.progress.go_on()?;
                take(at, offset, bytes)
            })
            .map_err(failed)??;
        }
        Ok(())
    }

    fn apply(&self, work: &Work<'_>) -> Result<Applied, SyncError> {
        change::apply(self, work)
    }

    fn sync(&self) -> Result<(), SyncError> {
        fs::syncfs(&self.root).map_err(machine("sync", self.dir.clone()))
    }
}

pub(crate) fn machine(action: &'static str, path: PathBuf) -> impl FnOnce(Errno) -> SyncError {
    move |error| SyncError::Machine {
        action,
        path,
        source: error.into(),
    }
}

pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Returns true if a file that was modified so many nanoseconds before the pass began was not modified for long enough. One
/// that is written while the pass looks has a time behind its beginning; a time far in the future says nothing.
const fn is_old(age: i128, debounce: i128) -> bool {
    age >= debounce || age < -FUTURE_NANOS
}

const fn nanoseconds(time: Timestamp) -> i128 {
    time.secs as i128 * 1_000_000_000 + time.nanos as i128
}

/// Opens where files are made, and takes away what a killed process left there.
fn staging(root: &DirHandle) -> Result<DirHandle, Errno> {
    let make = |parent: &DirHandle, name: &str| {
        match fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(parent, name, flags, Mode::empty()).map(Arc::new)
    };
    let state = make(root, STATE_DIR)?;
    make(&state, STAGING)
}

/// Empties the staging directory. No other process may use it.
pub(crate) fn sweep(view: &PlainView) {
    for (name, _) in local::read_dir(&view.staging).unwrap_or_default() {
        if let Err(error) = fs::unlinkat(&view.staging, name.as_bytes(), AtFlags::empty()) {
            tracing::warn!(%error, "cannot remove what a sync left in its staging directory");
        }
    }
}

/// Returns the time that the file system gives to a file now.
fn clock(staging: &DirHandle) -> Result<Timestamp, Errno> {
    let name = unused_name()?;
    let made = make_file(staging, &name)?;
    let stat = local::stat(made.as_fd());
    fs::unlinkat(staging, name.as_bytes(), AtFlags::empty())?;
    Ok(stat?.mtime)
}

fn make_file(dir: &DirHandle, name: &Name) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    fs::openat(dir, name.as_bytes(), flags, mode).map(File::from)
}

fn unused_name() -> Result<Name, Errno> {
    let random = random_bytes().map_err(errno)?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Name::new(hex.as_bytes()).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_while_a_pass_looks_is_not_quiet() {
        let second = 1_000_000_000;
        assert!(is_old(2 * second, second) && is_old(second, second));
        assert!(!is_old(second / 2, second) && !is_old(0, second));
        assert!(!is_old(-second, second), "written since the pass began");
        assert!(
            is_old(-3600 * second, second),
            "a clock that is an hour ahead"
        );
    }
}
