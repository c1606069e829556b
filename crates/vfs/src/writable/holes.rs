//! Holes of files: what nothing was written to here, and zeros of the version as far as its cutting tells.

use std::ops::Range;

use lfsfs_overlay::{FileData, PieceSource};
use lfsfs_reader::Wanted;
use lfsfs_types::{ContentId, Kind, Record};

use crate::attr::{Attr, FileKind, may_have_holes};
use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::overlay_file::{file_of, listed, not_below};
use crate::stack::Resolved;
use crate::stretch::Listed;
use crate::writable::Vfs;
use crate::writable::request::Sought;

/// A file at one moment.
struct Layers<'a> {
    size: u64,
    /// What the overlay has of it.
    upper: Option<&'a FileData>,
    below: Option<Below<'a>>,
}

/// What the base has of a file.
struct Below<'a> {
    base: &'a BaseVersion,
    content: ContentId,
    size: u64,
    listed: Option<Listed>,
}

/// Bytes from some offset on that are all data, or all a hole.
struct Run {
    is_hole: bool,
    end: u64,
}

impl Vfs {
    /// Returns where the next data or hole is, at or behind `offset`. Of a large file of the version a
    /// server may be asked what it is cut into.
    pub async fn seek(&self, ino: u64, offset: u64, sought: Sought) -> Result<u64, VfsError> {
        match self.stack.resolve(ino).await? {
            Resolved::Base(view, found) => {
                let attr = Attr::of(ino, &found.record);
                expect_file(attr.kind)?;
                let layers = Layers {
                    size: attr.size,
                    upper: None,
                    below: Below::of(view.base(), &found.record, || found.listed()),
                };
                layers.seek(offset, sought).await
            }
            Resolved::Upper(upper) => {
                let inode = upper.get()?.1;
                let file = file_of(inode)?;
                let layers = Layers {
                    size: file.size(),
                    upper: Some(file),
                    below: match inode
                        .base
                        .as_deref()
                        .filter(|_| may_have_holes(file.base_len()))
                    {
                        Some(object) => {
                            let Kind::File { content, .. } = object.record.kind else {
                                return Err(not_below());
                            };
                            let listed = listed(upper.base(), object, content).await?;
                            Below::of(upper.base(), &object.record, || listed)
                        }
                        None => None,
                    },
                };
                layers.seek(offset, sought).await
            }
        }
    }

    /// Returns true if a file has a hole that [`seek`](Self::seek) tells.
    pub async fn has_holes(&self, ino: u64) -> Result<bool, VfsError> {
        match self.seek(ino, 0, Sought::Hole).await {
            Ok(hole) => Ok(hole < self.getattr(ino).await?.size),
            Err(VfsError::NoSuchOffset) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Layers<'_> {
    async fn seek(&self, offset: u64, sought: Sought) -> Result<u64, VfsError> {
        let mut at = offset;
        while at < self.size {
            let run = self.run(at).await?;
            if run.is_hole == (sought == Sought::Hole) {
                return Ok(at);
            }
            at = run.end;
        }
        match sought {
            Sought::Hole if offset < self.size => Ok(self.size),
            _ => Err(VfsError::NoSuchOffset),
        }
    }

    async fn run(&self, at: u64) -> Result<Run, VfsError> {
        let piece = self.upper.and_then(|file| file.piece_at(at));
        let end = piece.as_ref().map_or(self.size, |piece| at + piece.len);
        let is_hole = match piece.map_or(PieceSource::Base, |piece| piece.source) {
            PieceSource::Zeros => true,
            PieceSource::Log(_) | PieceSource::Content(..) => false,
            PieceSource::Base => return self.run_below(at..end).await,
        };
        Ok(Run { is_hole, end })
    }

    /// Returns how a range begins in which the base shows through.
    async fn run_below(&self, range: Range<u64>) -> Result<Run, VfsError> {
        let zeros = match &self.below {
            Some(below) => below.zeros(range.start).await?,
            None => range.end..range.end,
        };
        let is_hole = zeros.start <= range.start && range.start < zeros.end;
        let end = if is_hole { zeros.end } else { zeros.start };
        let end = end.min(range.end);
        Ok(Run { is_hole, end })
    }
}

impl<'a> Below<'a> {
    /// Returns what the base has of a file, if that may have holes.
    fn of(
        base: &'a BaseVersion,
        record: &Record,
        listed: impl FnOnce() -> Option<Listed>,
    ) -> Option<Self> {
        match record.kind {
            Kind::File { size, content } if may_have_holes(size) => Some(Self {
                base,
                content,
                size,
                listed: listed(),
            }),
            _ => None,
        }
    }

    /// Returns the first zeros that end behind an offset.
    async fn zeros(&self, offset: u64) -> Result<Range<u64>, VfsError> {
        match Wanted::new(self.content, self.size, 0..self.size) {
            Some(whole) => self.base.zeros(&whole, offset, self.listed.as_ref()).await,
            None => Ok(self.size..self.size),
        }
    }
}

fn expect_file(kind: FileKind) -> Result<(), VfsError> {
    match kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(VfsError::IsDirectory),
        _ => Err(VfsError::Invalid),
    }
}
