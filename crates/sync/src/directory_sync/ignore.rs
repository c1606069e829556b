//! Which new paths are not synced.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::{Name, ObjectPath};
use lfsfs_upload::{
    IGNORE_FILE, IGNORE_FILE_LEN_MAX, IgnoreFile, IgnorePatternError, IgnoreScope, IgnoreWarning,
};
use rustix::fs::{FileType, ResolveFlags};

use crate::local::{self, DirHandle};

/// The patterns of the settings, and files of the root.
#[derive(Debug)]
pub(crate) struct Ignore {
    root: DirHandle,
    settings: IgnoreScope,
    /// What is ignored in each directory that was asked for.
    scopes: Mutex<HashMap<ObjectPath, IgnoreScope>>,
    warnings: Mutex<Vec<IgnoreWarning>>,
}

impl Ignore {
    pub(crate) fn new(root: DirHandle, patterns: &[String]) -> Result<Self, IgnorePatternError> {
        Ok(Self {
            root,
            settings: IgnoreScope::of_project(patterns, &ObjectPath::ROOT)?,
            scopes: Mutex::default(),
            warnings: Mutex::default(),
        })
    }

    /// Returns true if a path is ignored that was never agreed.
    pub(crate) fn ignores(&self, path: &ObjectPath, is_directory: bool) -> bool {
        let Some((dir, _)) = path.split_last() else {
            return false;
        };
        self.scope(&dir).ignores(path, is_directory)
    }

    /// Returns what in files of the root says nothing.
    pub(crate) fn warnings(&self) -> Vec<IgnoreWarning> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn scope(&self, dir: &ObjectPath) -> IgnoreScope {
        let known = self
            .scopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(dir)
            .cloned();
        if let Some(known) = known {
            return known;
        }
        let bytes = self.read(dir);
        let file = match &bytes {
            None => IgnoreFile::None,
            Some(Err(_)) => IgnoreFile::Unreadable,
            Some(Ok(bytes)) if bytes.len() as u64 > IGNORE_FILE_LEN_MAX => IgnoreFile::TooLong,
            Some(Ok(bytes)) => IgnoreFile::Bytes(bytes),
        };
        let (scope, warnings) = match dir.split_last() {
            None => self.settings.clone().with_file(dir, file),
            Some((parent, _)) => self.scope(&parent).enter(dir, file),
        };
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(warnings);
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.insert(dir.clone(), scope.clone());
        scope
    }

    fn read(&self, dir: &ObjectPath) -> Option<std::io::Result<Vec<u8>>> {
        let name = Name::new(IGNORE_FILE.as_bytes()).ok()?;
        let handle = local::open_below(&self.root, dir, ResolveFlags::NO_XDEV).ok()?;
        let stat = local::stat_entry(&handle, &name).ok()??;
        if stat.kind != FileType::RegularFile {
            return None;
        }
        let mut bytes = Vec::new();
        let read = local::open_file(&handle, &name).map_err(std::io::Error::from);
        let read = read.and_then(|file| file.take(IGNORE_FILE_LEN_MAX + 1).read_to_end(&mut bytes));
        Some(read.map(|_| bytes))
    }
}
