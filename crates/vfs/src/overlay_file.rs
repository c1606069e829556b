//! Bytes of a file of the overlay: the log's where something was written, the base's or none elsewhere.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use lfsfs_overlay::{BaseObject, FileData, Inode, Node, Piece, PieceSource, SharedContent, View};
use lfsfs_reader::Wanted;
use lfsfs_remote::RemoteError;
use lfsfs_types::content::PlacedPiece;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind};

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::inode::Place;
use crate::stretch::Listed;

const ACTION: &str = "read what is below a changed file";

/// A file of the overlay, with what its bytes are read from.
#[derive(Clone, Copy)]
pub(crate) struct OverlayFile<'a> {
    /// The base of the view.
    pub(crate) base: &'a BaseVersion,
    /// Where the log is read.
    pub(crate) view: &'a View,
    /// The file.
    pub(crate) inode: &'a Inode,
}

impl OverlayFile<'_> {
    /// Returns bytes of the file: fewer than `len` only at its end.
    pub(crate) async fn read(&self, offset: u64, len: u64) -> Result<Bytes, VfsError> {
        let pieces = file_of(self.inode)?.pieces(offset, len);
        let mut joined = BytesMut::new();
        for (index, piece) in pieces.iter().enumerate() {
            let bytes = self.read_piece(piece).await?;
            if pieces.len() == 1 {
                return Ok(bytes);
            }
            if index == 0 {
                joined.reserve(pieces.iter().map(len_of).sum());
            }
            joined.extend_from_slice(&bytes);
        }
        Ok(joined.freeze())
    }

    async fn read_piece(&self, piece: &Piece) -> Result<Bytes, VfsError> {
        match &piece.source {
            PieceSource::Zeros => Ok(vec![0; len_of(piece)].into()),
            PieceSource::Log(location) => Ok(self.view.read(*location, len_of(piece))?.into()),
            PieceSource::Content(shared, offset) => {
                read_shared(self.base, shared, *offset..offset + piece.len).await
            }
            PieceSource::Base => {
                let below = self.inode.base.as_deref().ok_or_else(not_below)?;
                let Kind::File { content, size } = below.record.kind else {
                    return Err(not_below());
                };
                let range = BelowRange {
                    content,
                    size,
                    offset: piece.offset,
                    len: piece.len,
                };
                read_below(self.base, below, range).await
            }
        }
    }
}

/// Returns what the content of a file of the base is cut into; nothing if that is small.
pub(crate) async fn pieces_below(
    vfs: &BaseVersion,
    base: &BaseObject,
) -> Result<Vec<PlacedPiece>, VfsError> {
    let Kind::File { content, size } = base.record.kind else {
        return Ok(Vec::new());
    };
    if size <= SMALL_CONTENT_LEN_MAX {
        return Ok(Vec::new());
    }
    let listed = listed(vfs, base, content).await?;
    match Wanted::new(content, size, 0..size) {
        Some(whole) => vfs.pieces(&whole, listed.as_ref()).await,
        None => Ok(Vec::new()),
    }
}

/// Returns what a content is cut into that files of the overlay have a part of; nothing if it is small.
pub(crate) async fn pieces_shared(
    vfs: &BaseVersion,
    shared: &SharedContent,
) -> Result<Vec<PlacedPiece>, VfsError> {
    match Wanted::new(shared.content, shared.size, 0..shared.size) {
        Some(whole) if shared.size > SMALL_CONTENT_LEN_MAX => vfs.pieces(&whole, None).await,
        _ => Ok(Vec::new()),
    }
}

/// A range of a content of the base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BelowRange {
    pub(crate) content: ContentId,
    /// Length of the whole content, in bytes.
    pub(crate) size: u64,
    /// Where the range begins.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) len: u64,
}

/// Reads all of a range of a content that an object has in the base, or had in an earlier one.
pub(crate) async fn read_below(
    vfs: &BaseVersion,
    base: &BaseObject,
    range: BelowRange,
) -> Result<Bytes, VfsError> {
    let BelowRange {
        content,
        size,
        offset,
        len,
    } = range;
    let listed = listed(vfs, base, content).await?;
    let wanted = Wanted::new(content, size, offset..offset.saturating_add(len));
    let bytes = vfs.read_content(wanted, listed.as_ref()).await?;
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err(not_below())
    }
}

/// Reads all of a range of a content that files of the overlay have a part of.
pub(crate) async fn read_shared(
    vfs: &BaseVersion,
    shared: &SharedContent,
    range: Range<u64>,
) -> Result<Bytes, VfsError> {
    let len = range.end - range.start;
    let wanted = Wanted::new(shared.content, shared.size, range);
    let bytes = vfs.read_content(wanted, None).await?;
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err(not_below())
    }
}

/// Returns where the base lists an object with this content; `None` for the root, and where the base
/// is a later one that has something else there.
pub(crate) async fn listed(
    vfs: &BaseVersion,
    base: &BaseObject,
    content: ContentId,
) -> Result<Option<Listed>, VfsError> {
    let Some(name) = &base.name else {
        return Ok(None);
    };
    let listing = match vfs.listing(base.directory).await {
        Ok(listing) => listing,
        Err(VfsError::Stale) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(index) = listing.find(name.as_bytes()) else {
        return Ok(None);
    };
    let record = listing.entry_record(index)?;
    let place = Place {
        dir: base.directory,
        index,
    };
    let is_it = record.contents().any(|it| it == content);
    Ok(is_it.then_some(Listed { place, listing }))
}

/// Returns the data of a regular file.
pub(crate) fn file_of(inode: &Inode) -> Result<&FileData, VfsError> {
    match &inode.node {
        Node::File(file) => Ok(file),
        Node::Directory(_) => Err(VfsError::IsDirectory),
        _ => Err(VfsError::Invalid),
    }
}

/// Returns the error for an overlay that names what its base does not have.
pub(crate) fn not_below() -> VfsError {
    VfsError::io(ACTION)(RemoteError::Corrupt(
        "the base does not have what the overlay says".to_owned(),
    ))
}

/// A piece is never longer than what was asked for, which has 32 bits.
fn len_of(piece: &Piece) -> usize {
    usize::try_from(piece.len).unwrap_or(usize::MAX)
}
