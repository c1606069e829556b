//! The directory that a version is written into.
//!
//! Everything is reached from its open root, and no way leads out of it: no link is followed and no
//! other file system entered, whoever else works in the directory meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use lfsfs_types::{Name, ObjectPath};
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::ExportError;
use crate::attributes::handle_path;
use crate::local::{self, DirHandle};

/// The mode of a directory until all is in it: nobody else looks in, nobody else puts things in.
const MODE_UNFINISHED: Mode = Mode::RWXU;

/// An open directory and what is below it.
#[derive(Debug)]
pub(crate) struct Target {
    root: DirHandle,
}

impl Target {
    pub(crate) fn open(dir: &Path) -> Result<Self, ExportError> {
        let root = local::open_root(dir).map_err(|error| ExportError::Directory {
            dir: dir.to_owned(),
            source: error.into(),
        })?;
        Ok(Self { root })
    }

    /// Opens a directory below the root.
    pub(crate) fn dir(&self, path: &ObjectPath) -> Result<DirHandle, ExportError> {
        if path.is_root() {
            return Ok(Arc::clone(&self.root));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let open = || fs::openat2(&self.root, path.as_bytes(), flags, Mode::empty(), resolve);
        let opened = loop {
            match open() {
                // Something was renamed while the way was looked for.
                Err(Errno::AGAIN) => {}
                opened => break opened,
            }
        };
        opened.map(Arc::new).map_err(failed("open", path))
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

    /// Removes an entry with all that is below it.
    pub(crate) fn remove(
        &self,
        parent: &DirHandle,
        path: &ObjectPath,
        name: &Name,
        is_directory: bool,
    ) -> Result<(), ExportError> {
        let place = handle_path(parent, Some(name));
        let removed = if is_directory {
            // Follows no link on its way down.
            std::fs::remove_dir_all(place)
        } else {
            std::fs::remove_file(place)
        };
        removed.map_err(failed("remove", path))
    }
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
