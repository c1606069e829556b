//! The files of a directory that say which new paths stay out of a version.

use std::io::Read as _;

use lfsfs_types::{Name, ObjectPath};
use lfsfs_upload::{
    IGNORE_FILE, IGNORE_FILE_LEN_MAX, IgnoreFile, IgnoreScope, IgnoreWarning, IgnoredPaths,
};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::local::{self, DirHandle, LocalStat};

/// Most warnings that are kept.
const WARNINGS_MAX: usize = 100;

/// What a walk ignores in one directory; nothing at all without a scope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignored {
    scope: Option<IgnoreScope>,
}

impl Ignored {
    /// Returns what is ignored above the root of a walk, which is the directory `at` of a project.
    pub(crate) fn of_project(paths: IgnoredPaths, patterns: &[String], at: &ObjectPath) -> Self {
        if paths == IgnoredPaths::Taken {
            return Self::default();
        }
        let (scope, wrong) = IgnoreScope::of_settings(patterns, at);
        if let Some(error) = wrong {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the project has a pattern that is not used");
        }
        Self { scope: Some(scope) }
    }

    /// Returns true if a path directly in this directory is ignored. `is_new` tells that the version does not have
    /// it.
    pub(crate) fn leaves_out(&self, path: &ObjectPath, kind: FileType, is_new: bool) -> bool {
        let scope = self.scope.as_ref().filter(|_| is_new);
        scope.is_some_and(|scope| scope.ignores(path, kind == FileType::Directory))
    }

    /// Returns what is ignored in the root.
    pub(crate) fn in_root(
        self,
        handle: &DirHandle,
        entries: &[(Name, Result<LocalStat, Errno>)],
    ) -> (Self, Vec<IgnoreWarning>) {
        let Some(scope) = self.scope else {
            return (self, Vec::new());
        };
        let bytes = read(handle, entries);
        let (scope, warnings) = scope.with_file(&ObjectPath::ROOT, bytes.as_file());
        (Self { scope: Some(scope) }, warnings)
    }

    /// Returns what is ignored in a directory directly in this one.
    pub(crate) fn enter(
        &self,
        path: &ObjectPath,
        handle: &DirHandle,
        entries: &[(Name, Result<LocalStat, Errno>)],
    ) -> (Self, Vec<IgnoreWarning>) {
        let Some(scope) = &self.scope else {
            return (Self::default(), Vec::new());
        };
        let bytes = if scope.reads_file_in(path) {
            read(handle, entries)
        } else {
            FileRead::None
        };
        let (scope, warnings) = scope.enter(path, bytes.as_file());
        (Self { scope: Some(scope) }, warnings)
    }
}

/// Keeps the first warnings of many.
pub(crate) fn keep_warnings(kept: &mut Vec<IgnoreWarning>, more: Vec<IgnoreWarning>) {
    let room = WARNINGS_MAX.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

/// What was read of a file.
enum FileRead {
    None,
    Bytes(Vec<u8>),
    TooLong,
    Unreadable,
}

impl FileRead {
    fn as_file(&self) -> IgnoreFile<'_> {
        match self {
            Self::None => IgnoreFile::None,
            Self::Bytes(bytes) => IgnoreFile::Bytes(bytes),
            Self::TooLong => IgnoreFile::TooLong,
            Self::Unreadable => IgnoreFile::Unreadable,
        }
    }
}

/// Reads the file of a directory whose entries are in the order of their names.
fn read(handle: &DirHandle, entries: &[(Name, Result<LocalStat, Errno>)]) -> FileRead {
    let found = entries.binary_search_by(|(name, _)| name.as_bytes().cmp(IGNORE_FILE.as_bytes()));
    let Some((name, Ok(stat))) = found.ok().map(|at| &entries[at]) else {
        return FileRead::None;
    };
    if stat.kind != FileType::RegularFile {
        return FileRead::None;
    }
    let mut bytes = Vec::new();
    let read = local::open_file(handle, name)
        .map_err(std::io::Error::from)
        .and_then(|file| file.take(IGNORE_FILE_LEN_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(_) => FileRead::Unreadable,
        Ok(len) if len as u64 > IGNORE_FILE_LEN_MAX => FileRead::TooLong,
        Ok(_) => FileRead::Bytes(bytes),
    }
}
