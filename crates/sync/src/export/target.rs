//! The directory that a version is written into.
//!
//! Everything is reached from its open root, and no way leads out of it: no link is followed and no
//! other file system entered, whatever other programs do in the directory meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lfsfs_common::random::random_bytes;
use lfsfs_types::{Name, ObjectPath};
use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::apply::hands_down_xattrs;
use super::error::ExportError;
use super::remove::{remove_below, remove_directory};
use crate::attributes::handle_path;
use crate::local::{self, DirHandle, LocalStat};

/// The mode of a directory until all is in it: other users can neither look into it nor put
/// things there.
const MODE_UNFINISHED: Mode = Mode::RWXU;

/// How the mark begins that is in a directory until its export has come to the end.
const MARK: &str = ".lfsfs-export-unfinished-";

/// An open directory in which entries are made.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) handle: DirHandle,
    /// Whether they may get extended attributes of it.
    pub(crate) hands_down_xattrs: bool,
}

impl Parent {
    fn new(handle: DirHandle) -> Self {
        Self {
            hands_down_xattrs: hands_down_xattrs(&handle),
            handle,
        }
    }
}

/// An open directory and what is below it.
#[derive(Debug)]
pub(crate) struct Target {
    root: DirHandle,
    mark: Option<String>,
    /// Where entries are made before they are moved to their place; beside it if there is none.
    staging: Option<Parent>,
}

impl Target {
    pub(crate) fn open(dir: &Path) -> Result<Self, ExportError> {
        let root = local::open_root(dir).map_err(|error| ExportError::Directory {
            dir: dir.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            root,
            mark: None,
            staging: None,
        })
    }

    /// Takes an open directory, and one on the same file system in which entries are made.
    pub(crate) fn with_staging(root: DirHandle, staging: DirHandle) -> Self {
        Self {
            root,
            mark: None,
            staging: Some(Parent::new(staging)),
        }
    }

    /// Returns where an entry of a directory is made before it is moved there.
    pub(crate) fn staging<'t>(&'t self, parent: &'t Parent) -> &'t Parent {
        self.staging.as_ref().unwrap_or(parent)
    }

    /// Opens a directory and marks it as unfinished, so that a process that is killed leaves nothing
    /// that looks whole.
    pub(crate) fn open_marked(dir: &Path) -> Result<Self, ExportError> {
        let target = Self::open(dir)?;
        let failed = |source| ExportError::Directory {
            dir: dir.to_owned(),
            source,
        };
        // Random, so that it is no name of the version.
        let random = random_bytes().map_err(failed)?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mark = format!("{MARK}{hex}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        fs::openat(&target.root, &mark, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            mark: Some(mark),
            ..target
        })
    }

    /// Takes the mark away, where there is one.
    pub(crate) fn unmark(&self) -> Result<(), ExportError> {
        let Some(mark) = &self.mark else {
            return Ok(());
        };
        fs::unlinkat(&self.root, mark, AtFlags::empty())
            .map_err(failed("remove the mark of", &ObjectPath::ROOT))
    }

    /// Removes everything that is below the root.
    pub(crate) fn clear(&self) -> io::Result<()> {
        Ok(remove_below(&self.root)?)
    }

    /// Opens a directory below the root.
    pub(crate) fn dir(&self, path: &ObjectPath) -> Result<DirHandle, ExportError> {
        local::open_below(&self.root, path, ResolveFlags::NO_XDEV).map_err(failed("open", path))
    }

    /// Opens a directory in which entries are to be made.
    pub(crate) fn parent(&self, path: &ObjectPath) -> Result<Parent, ExportError> {
        Ok(Parent::new(self.dir(path)?))
    }

    /// Makes a directory that is to be filled.
    pub(crate) fn make_dir(
        &self,
        parent: &DirHandle,
        path: &ObjectPath,
        name: &Name,
    ) -> Result<(), ExportError> {
        fs::mkdirat(parent, name.as_bytes(), MODE_UNFINISHED)
            .map_err(failed("make the directory", path))
    }

    /// Gives this process the right to change a directory, where it lacks that and the directory is its own.
    /// Returns true if the mode has to be set again.
    pub(crate) fn make_usable(
        &self,
        parent: &DirHandle,
        name: &Name,
        stat: &LocalStat,
    ) -> Result<bool, Errno> {
        if self.is_usable(stat) {
            return Ok(false);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::openat(parent, name.as_bytes(), flags, Mode::empty())?.into();
        open_up(&dir, stat)?;
        Ok(true)
    }

    /// As [`make_usable`](Self::make_usable), for the root.
    pub(crate) fn make_root_usable(&self) -> Result<bool, Errno> {
        let stat = local::stat(&self.root)?;
        let is_usable = self.is_usable(&stat);
        if !is_usable {
            open_up(&self.root, &stat)?;
        }
        Ok(!is_usable)
    }

    fn is_usable(&self, stat: &LocalStat) -> bool {
        let has_rights = Mode::from_raw_mode(stat.mode).contains(Mode::RWXU);
        // Only a rebuild has staging. A restore leaves a work tree's modes alone.
        self.staging.is_none() || has_rights || rustix::process::geteuid().is_root()
    }

    /// Removes an entry with all that is below it.
    pub(crate) fn remove(
        &self,
        parent: &DirHandle,
        path: &ObjectPath,
        name: &Name,
        is_directory: bool,
    ) -> Result<(), ExportError> {
        let removed = if is_directory {
            remove_directory(parent, name)
        } else {
            fs::unlinkat(parent, name.as_bytes(), AtFlags::empty())
        };
        removed.map_err(failed("remove", path))
    }
}

fn open_up(dir: &DirHandle, stat: &LocalStat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.mode) | Mode::RWXU;
    fs::chmodat(fs::CWD, handle_path(dir, None), mode, AtFlags::empty())
}

/// Returns true if a directory has the mark of an export that was not finished.
pub(crate) fn is_marked(entries: std::fs::ReadDir) -> bool {
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.as_bytes().starts_with(MARK.as_bytes())
    })
}

/// Says what failed with which entry.
pub(crate) fn failed<E: Into<io::Error>>(
    action: &'static str,
    path: &ObjectPath,
) -> impl FnOnce(E) -> ExportError {
    let path = OsStr::from_bytes(path.as_bytes()).into();
    move |error| ExportError::Entry {
        action,
        path,
        source: error.into(),
    }
}
