//! Contents of changed files: read from the seal, hashed, and what may be new of them offered.

use lfsfs_overlay::{FileData, Inode, Node};
use lfsfs_types::content::{Content, PieceList, small_content_id};
use lfsfs_types::limits::{PIECES_MAX, SMALL_CONTENT_LEN_MAX};
use lfsfs_types::{ContentId, Kind, path_text};

use super::error::CommitError;
use super::plan::Workshop;
use super::recut::{Cut, Recut};
use crate::changed_file::{ChangedFile, pieces_below};
use crate::changes::path_of;
use crate::error::VfsError;

/// Bytes of one file that are offered at once.
const OFFER_LEN: u64 = 8 * 1024 * 1024;

impl Workshop {
    /// Returns what a file is, and its bytes if they are few and may be new. Pieces of a large one
    /// are offered here.
    pub(super) fn file_kind(
        &self,
        ino: u64,
        inode: &Inode,
    ) -> Result<(Kind, Option<Vec<u8>>), CommitError> {
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

    fn kind_of(&self, inode: &Inode) -> Result<(Kind, Option<Vec<u8>>), CommitError> {
        let Node::File(file) = &inode.node else {
            return Err(VfsError::Invalid.into());
        };
        if let Some(kind) = unchanged(inode, file) {
            return Ok((kind, None));
        }
        let size = file.size();
        if size > SMALL_CONTENT_LEN_MAX {
            let content = self.cut(inode, file)?;
            return Ok((Kind::File { size, content }, None));
        }
        let bytes = self.read(inode, 0, size)?;
        self.progress.read(size);
        let content = small_content_id(&bytes);
        Ok((Kind::File { size, content }, Some(bytes)))
    }

    /// Cuts a large file where it changed.
    fn cut(&self, inode: &Inode, file: &FileData) -> Result<ContentId, CommitError> {
        let size = file.size();
        let runs = file.pieces(0, size);
        let old = match &inode.base {
            Some(base) => self.runtime.block_on(pieces_below(&self.base, base))?,
            None => Vec::new(),
        };
        let mut recut = Recut::new(size, &runs, &old);
        let (mut pieces, mut offer, mut offer_len) = (Vec::new(), Vec::new(), 0);
        let read = |offset, len| self.read(inode, offset, len);
        while let Some(cut) = recut.next(read)? {
            if pieces.len() == PIECES_MAX {
                return Err(VfsError::FileTooLarge.into());
            }
            match cut {
                Cut::Known(piece) => pieces.push(piece),
                Cut::Read(piece, bytes) => {
                    self.progress.read(u64::from(piece.len));
                    pieces.push(piece);
                    offer_len += u64::from(piece.len);
                    offer.push((piece.hash, bytes));
                }
            }
            if offer_len >= OFFER_LEN {
                self.contents.offer(&std::mem::take(&mut offer))?;
                offer_len = 0;
            }
        }
        self.contents.offer(&offer)?;
        let list = PieceList::new(pieces).map_err(|_| VfsError::FileTooLarge)?;
        let content = Content::large(list);
        if let Some(list) = &content.pieces {
            self.contents.register(content.id, list);
        }
        Ok(content.id)
    }

    /// Returns all bytes of a range of a file.
    fn read(&self, inode: &Inode, offset: u64, len: u64) -> Result<Vec<u8>, VfsError> {
        let file = ChangedFile {
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

/// Returns what a file is in the base, if its content is that still.
fn unchanged(inode: &Inode, file: &FileData) -> Option<Kind> {
    let kind = &inode.base.as_ref()?.record.kind;
    match kind {
        Kind::File { size, .. } if *size == file.size() && file.is_base() => Some(kind.clone()),
        _ => None,
    }
}
