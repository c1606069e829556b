//! Contents of changed files: what they are made of, and where their bytes are read from.

use lfsfs_overlay::{FileData, Inode, Node, PieceSource};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{Kind, path_text};
use lfsfs_upload::{ChangedFile, ContentBytes, ReadError, Stretch, StretchOrigin};

use super::error::CommitError;
use super::plan::Workshop;
use crate::changes::path_of;
use crate::error::VfsError;
use crate::overlay_file::{OverlayFile, pieces_below};

/// What a file is.
pub(super) struct FileKind {
    pub(super) kind: Kind,
    /// Its bytes, if they are few and may be new.
    pub(super) bytes: Option<ContentBytes>,
}

impl Workshop {
    /// Returns what a file is. Pieces of a large one are offered here.
    pub(super) fn file_kind(&self, ino: u64, inode: &Inode) -> Result<FileKind, CommitError> {
        self.kind_of(inode).map_err(|error| match error {
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

    fn kind_of(&self, inode: &Inode) -> Result<FileKind, CommitError> {
        let Node::File(file) = &inode.node else {
            return Err(VfsError::Invalid.into());
        };
        if let Some(kind) = unchanged(inode, file) {
            return Ok(FileKind { kind, bytes: None });
        }
        let size = file.size();
        // A small file is read as a whole: what it is made of, and the cuts of its base, say nothing.
        let (stretches, base) = if size > SMALL_CONTENT_LEN_MAX {
            let base = match &inode.base {
                Some(base) => self.runtime.block_on(pieces_below(&self.base, base))?,
                None => Vec::new(),
            };
            (stretches(file), base)
        } else {
            (Vec::new(), Vec::new())
        };
        let changed = ChangedFile {
            size,
            stretches: &stretches,
            base: &base,
        };
        let source = changed.source(|offset, len| self.read(inode, offset, len));
        let read = self.contents.read(source)?;
        let content = read.id;
        Ok(FileKind {
            kind: Kind::File { size, content },
            bytes: read.bytes,
        })
    }

    /// Returns all bytes of a range of a file.
    fn read(&self, inode: &Inode, offset: u64, len: u64) -> Result<Vec<u8>, VfsError> {
        let file = OverlayFile {
            base: &self.base,
            view: self.sealed.view(),
            inode,
        };
        let bytes = self.runtime.block_on(file.read(offset, len))?;
        if bytes.len() as u64 == len {
            Ok(bytes.into())
        } else {
            Err(VfsError::internal("a sealed file is shorter than it was"))
        }
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

/// Returns what a file is made of.
fn stretches(file: &FileData) -> Vec<Stretch> {
    let pieces = file.pieces(0, file.size()).into_iter();
    let stretches = pieces.map(|piece| Stretch {
        offset: piece.offset,
        len: piece.len,
        origin: match piece.source {
            PieceSource::Base => StretchOrigin::Base,
            PieceSource::Zeros => StretchOrigin::Zeros,
            PieceSource::Log(_) => StretchOrigin::Written,
        },
    });
    stretches.collect()
}

/// Returns what a file is in the base, if its content is that still.
fn unchanged(inode: &Inode, file: &FileData) -> Option<Kind> {
    let kind = &inode.base.as_ref()?.record.kind;
    match kind {
        Kind::File { size, .. } if *size == file.size() && file.is_base() => Some(kind.clone()),
        _ => None,
    }
}
