//! Bytes that several files have in common: each has extents of its own, and no byte is copied.

use std::sync::Arc;

use lfsfs_types::Kind;

use crate::error::ApplyError;
use crate::extent::{Extent, ExtentSource, Location, Piece, PieceSource, SharedContent};
use crate::inode::{Inode, Node};
use crate::operation::FileRange;
use crate::state::State;
use crate::state::content::Stamp;

impl State {
    /// Makes a range of a file that of another one, or of itself elsewhere.
    pub(super) fn share(
        &mut self,
        from: FileRange,
        (ino, at): (u64, u64),
        stamp: Stamp,
    ) -> Result<(), ApplyError> {
        let FileRange {
            ino: of,
            offset,
            len,
        } = from;
        self.check_file_range(ino, at, len)?;
        let source = self.known(of)?;
        let file = source.file().ok_or(ApplyError::NotFile { ino: of })?;
        let end = offset.checked_add(len).filter(|end| *end <= file.size());
        end.ok_or(ApplyError::OutOfRange { ino: of })?;
        let is_whole = (offset, at, len) == (0, 0, file.size());
        let uploaded = file.uploaded().filter(|_| is_whole);
        let pieces = file.pieces(offset, len).into_iter();
        let extents = pieces
            .map(|piece| self.extent_of(of, source, piece))
            .collect::<Result<Vec<_>, _>>()?;
        self.put_all(ino, at, extents, stamp)?;
        // What the remote has of the one it has of the other.
        if let Some(Node::File(file)) = self.inodes.get_mut(&ino).map(|inode| &mut inode.node)
            && file.uploaded().is_none()
            && file.size() == len
            && let Some(content) = uploaded
        {
            file.mark_uploaded(content);
        }
        Ok(())
    }

    /// Makes a range of a file that of a content of the base.
    pub(super) fn share_content(
        &mut self,
        content: &SharedContent,
        from: FileRange,
        at: u64,
        stamp: Stamp,
    ) -> Result<(), ApplyError> {
        let FileRange { ino, offset, len } = from;
        self.check_file_range(ino, at, len)?;
        let end = offset.checked_add(len).filter(|end| *end <= content.size);
        end.ok_or(ApplyError::OutOfRange { ino })?;
        let extent = Extent {
            len,
            source: ExtentSource::Content(Arc::new(content.clone()), offset),
            written: self.generation,
        };
        self.put_all(ino, at, vec![extent], stamp)
    }

    /// Puts bytes of the log in the place of those of a content that they are a copy of. Not a change: the
    /// generation stays.
    pub(super) fn own(
        &mut self,
        ino: u64,
        offset: u64,
        location: Location,
        len: u64,
    ) -> Result<(), ApplyError> {
        let file = self.known(ino)?.file().ok_or(ApplyError::NotFile { ino })?;
        let is_shared = |piece: &Piece| matches!(piece.source, PieceSource::Content(..));
        let piece = file.piece_at(offset).filter(is_shared);
        let fits = piece.is_some_and(|piece| len > 0 && len <= piece.len);
        let written = file.written_at(offset).filter(|_| fits);
        let extent = Extent {
            len,
            source: ExtentSource::Log(location),
            written: written.ok_or(ApplyError::OutOfRange { ino })?,
        };
        if let Some(Node::File(file)) = self.inodes.get_mut(&ino).map(|inode| &mut inode.node) {
            let uploaded = file.uploaded();
            file.put(offset, extent);
            if let Some(content) = uploaded {
                file.mark_uploaded(content);
            }
        }
        self.log_bytes += len;
        Ok(())
    }

    /// Points an extent at another place in the log that has the same bytes. Not a change: the generation
    /// stays.
    pub(super) fn repoint(
        &mut self,
        ino: u64,
        offset: u64,
        from: Location,
        to: Location,
    ) -> Result<(), ApplyError> {
        let file = self.known(ino)?.file().ok_or(ApplyError::NotFile { ino })?;
        let extent = file.extent_at(offset).cloned();
        let extent = extent.filter(|it| it.location() == Some(from) && to.holds(it.len));
        let len = extent.ok_or(ApplyError::OutOfRange { ino })?.len;
        self.move_extent(ino, offset, from, to, len)
    }

    /// Returns a piece of a file as an extent of any file.
    fn extent_of(&self, ino: u64, inode: &Inode, piece: Piece) -> Result<Extent, ApplyError> {
        let source = match piece.source {
            PieceSource::Zeros => ExtentSource::Zeros,
            PieceSource::Log(location) => ExtentSource::Log(location),
            PieceSource::Content(content, offset) => ExtentSource::Content(content, offset),
            PieceSource::Base => {
                let record = inode.base.as_ref().map(|it| &it.record.kind);
                let Some(&Kind::File { size, content }) = record else {
                    return Err(ApplyError::NotFile { ino });
                };
                let base = self.base;
                let content = SharedContent {
                    content,
                    size,
                    base,
                };
                ExtentSource::Content(Arc::new(content), piece.offset)
            }
        };
        Ok(Extent {
            len: piece.len,
            source,
            written: self.generation,
        })
    }

    fn put_all(
        &mut self,
        ino: u64,
        at: u64,
        extents: Vec<Extent>,
        stamp: Stamp,
    ) -> Result<(), ApplyError> {
        self.log_bytes += extents.iter().map(Extent::log_len).sum::<u64>();
        self.change_file(ino, stamp, |file| {
            let (mut at, mut dropped) = (at, 0);
            for extent in extents {
                let len = extent.len;
                dropped += file.put(at, extent);
                at += len;
            }
            if let Some(content) = file.whole_content() {
                file.mark_uploaded(content);
            }
            dropped
        })
    }
}
