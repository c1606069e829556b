//! What changed files are: what the upload queue has found out, what the base has, or what is read now.

use std::collections::HashSet;

use lfsfs_overlay::{FileData, Inode, Node};
use lfsfs_types::{ContentId, Kind, path_text};
use lfsfs_upload::{ContentBytes, ReadError};

use super::error::CommitError;
use super::plan::Workshop;
use crate::changes::path_of;
use crate::error::VfsError;
use crate::file_contents::FileContents;

/// What a file is.
pub(super) struct FileKind {
    pub(super) kind: Kind,
    /// Its bytes, if they are few and may be new.
    pub(super) bytes: Option<ContentBytes>,
}

impl Workshop {
    /// Returns those of the contents that were uploaded before which the server does not have any more.
    pub(super) fn lost<'a>(
        &self,
        inodes: impl Iterator<Item = &'a Inode>,
    ) -> Result<HashSet<ContentId>, CommitError> {
        let uploaded = inodes.filter_map(|inode| inode.file()?.uploaded());
        let uploaded: Vec<ContentId> = uploaded.collect();
        Ok(self.contents.missing(&uploaded)?)
    }

    /// Returns what a file is. Pieces of a large one that is read are offered here.
    pub(super) fn file_kind(
        &self,
        ino: u64,
        inode: &Inode,
        lost: &HashSet<ContentId>,
    ) -> Result<FileKind, CommitError> {
        self.kind_of(inode, lost).map_err(|error| match error {
            CommitError::Vfs(source) => CommitError::of_file(self.path_text(ino), source),
            error => error,
        })
    }

    /// Returns where the mount has a file, for people.
    fn path_text(&self, ino: u64) -> String {
        let path = path_of(&self.base, self.sealed.view().state(), ino);
        match self.runtime.block_on(path) {
            Ok(path) => path_text(std::iter::once(path.as_bytes())),
            // The reason that is told then is still why the file cannot be read.
            Err(_) => format!("inode {ino}"),
        }
    }

    fn kind_of(&self, inode: &Inode, lost: &HashSet<ContentId>) -> Result<FileKind, CommitError> {
        let Node::File(file) = &inode.node else {
            return Err(VfsError::Invalid.into());
        };
        if let Some(kind) = uploaded(file, lost) {
            self.progress.known(file.size());
            return Ok(FileKind { kind, bytes: None });
        }
        if let Some(kind) = unchanged(inode, file) {
            return Ok(FileKind { kind, bytes: None });
        }
        let contents = FileContents {
            base: &self.base,
            view: self.sealed.view(),
            contents: &self.contents,
            runtime: &self.runtime,
        };
        let read = contents.read(inode)?;
        let (size, content) = (file.size(), read.id);
        Ok(FileKind {
            kind: Kind::File { size, content },
            bytes: read.bytes,
        })
    }
}

impl From<ReadError<VfsError>> for CommitError {
    fn from(error: ReadError<VfsError>) -> Self {
        match error {
            ReadError::Source(error) => error.into(),
            ReadError::Pieces(_) => VfsError::FileTooLarge.into(),
            ReadError::Upload(error) => error.into(),
        }
    }
}

/// Returns what a file is, if the server has its bytes since the upload queue sent them.
fn uploaded(file: &FileData, lost: &HashSet<ContentId>) -> Option<Kind> {
    let content = file.uploaded().filter(|content| !lost.contains(content))?;
    let size = file.size();
    Some(Kind::File { size, content })
}

/// Returns what a file is in the base, if its content is that still.
fn unchanged(inode: &Inode, file: &FileData) -> Option<Kind> {
    let kind = &inode.base.as_ref()?.record.kind;
    match kind {
        Kind::File { size, .. } if *size == file.size() && file.is_base() => Some(kind.clone()),
        _ => None,
    }
}
