//! Bytes of files: the log's where something was written, the base's or none elsewhere.

use bytes::{Bytes, BytesMut};
use lfsfs_overlay::{
    BaseObject, FileData, Inode, NewAttributes, Node, Operation, Piece, PieceSource, View,
};
use lfsfs_reader::{PlacedPiece, Wanted};
use lfsfs_remote::RemoteError;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind};

use crate::attr::{Attr, FileKind};
use crate::error::VfsError;
use crate::inode::Place;
use crate::stretch::Listed;
use crate::vfs::Vfs;
use crate::writable::WritableVfs;
use crate::writable::attributes::plan_privileges;
use crate::writable::plan::check_range;
use crate::writable::request::{Allocation, ModeEffect, Privileges, Sought, Written};

const ACTION: &str = "read what is below a changed file";

/// Whether a write changes the times of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteTimes {
    Now,
    Kept,
}

impl WritableVfs {
    /// Returns bytes of a file as of one moment: fewer than `size` only at its end. Blocks of the
    /// base are fetched where nothing was written.
    pub async fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, VfsError> {
        let (moment, found) = self.stand(ino).await?;
        if let Some(found) = found {
            return moment.base().read_found(&found, offset, size).await;
        }
        let (view, inode) = moment.upper(ino).ok_or(VfsError::Stale)?;
        read_changed(moment.base(), (view, inode), (offset, u64::from(size))).await
    }

    /// Writes into a file.
    pub async fn write(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<Written, VfsError> {
        let write = (offset, data, privileges);
        self.write_with(ino, write, WriteTimes::Now).await
    }

    /// As [`write`](Self::write), of bytes that a kernel gathered which keeps the times of the file
    /// itself: it sets them when they are others than those that it was told.
    pub async fn write_gathered(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<Written, VfsError> {
        let write = (offset, data, privileges);
        self.write_with(ino, write, WriteTimes::Kept).await
    }

    async fn write_with(
        &self,
        ino: u64,
        (offset, data, privileges): (u64, &[u8], Privileges),
        times: WriteTimes,
    ) -> Result<Written, VfsError> {
        let len = u32::try_from(data.len()).map_err(|_| VfsError::Invalid)?;
        self.change(|plan| {
            let object = plan.scene.object(ino)?;
            object.expect_file()?;
            check_range(offset, u64::from(len))?;
            if data.is_empty() {
                let mode = ModeEffect::Kept;
                return Ok(Written { len, mode });
            }
            plan.adopt(&object);
            let mode = plan_privileges(plan, &object, privileges);
            let attr = object.attr();
            let time = match times {
                WriteTimes::Now => plan.time,
                WriteTimes::Kept => attr.ctime,
            };
            let write = Operation::Write {
                ino,
                offset,
                time,
                mode,
            };
            plan.push_data(write, data);
            if times == WriteTimes::Kept && attr.mtime != time {
                let attributes = NewAttributes {
                    mtime: Some(attr.mtime),
                    ..NewAttributes::default()
                };
                plan.push(Operation::SetAttributes {
                    ino,
                    attributes,
                    time,
                });
            }
            let mode = ModeEffect::of(mode);
            Ok(Written { len, mode })
        })
        .await
    }

    /// Returns true if the mount made holes in a file.
    #[must_use]
    pub fn has_holes(&self, ino: u64) -> bool {
        let moment = self.moment();
        let file = moment.upper(ino).and_then(|it| it.1.file());
        file.is_some_and(|file| file.data_len() < file.size())
    }

    /// Returns where the next data or hole is, at or behind `offset`. A file of the version is one run
    /// of data.
    pub async fn seek(&self, ino: u64, offset: u64, sought: Sought) -> Result<u64, VfsError> {
        let (moment, found) = self.stand(ino).await?;
        if let Some(found) = found {
            let attr = Attr::of(ino, &found.record);
            expect_file(attr.kind)?;
            return match sought {
                _ if offset >= attr.size => Err(VfsError::NoSuchOffset),
                Sought::Data => Ok(offset),
                Sought::Hole => Ok(attr.size),
            };
        }
        let file = file_of(moment.upper(ino).ok_or(VfsError::Stale)?.1)?;
        let found = match sought {
            Sought::Data => file.next_data(offset),
            Sought::Hole => file.next_hole(offset),
        };
        found.ok_or(VfsError::NoSuchOffset)
    }

    /// Lengthens a file or makes a range of it zeros. Nothing is reserved.
    pub async fn fallocate(
        &self,
        ino: u64,
        offset: u64,
        len: u64,
        allocation: Allocation,
        privileges: Privileges,
    ) -> Result<ModeEffect, VfsError> {
        self.change(|plan| {
            let object = plan.scene.object(ino)?;
            object.expect_file()?;
            let end = check_range(offset, len)?;
            if len == 0 {
                return Err(VfsError::Invalid.into());
            }
            let before = object.attr().size;
            let (zeros, size) = match allocation {
                Allocation::Extend => (0, before.max(end)),
                Allocation::KeepSize => (0, before),
                Allocation::PunchHole | Allocation::ZeroRangeKeepSize => (len, before),
                Allocation::ZeroRange => (len, before.max(end)),
            };
            plan.adopt(&object);
            let mode = plan_privileges(plan, &object, privileges);
            plan.push(Operation::Fallocate {
                ino,
                offset,
                len: zeros,
                size,
                time: plan.time,
                mode,
            });
            Ok(ModeEffect::of(mode))
        })
        .await
    }
}

/// Reads bytes of a file of the overlay: fewer than `len` only at its end.
pub(crate) async fn read_changed(
    vfs: &Vfs,
    (view, inode): (&View, &Inode),
    (offset, len): (u64, u64),
) -> Result<Bytes, VfsError> {
    let pieces = file_of(inode)?.pieces(offset, len);
    let mut joined = BytesMut::new();
    for (index, piece) in pieces.iter().enumerate() {
        let bytes = read_piece(vfs, (view, inode), piece).await?;
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

/// Returns what the content of a file of the base is cut into; nothing if that is small.
pub(crate) async fn pieces_below(
    vfs: &Vfs,
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

async fn read_piece(
    vfs: &Vfs,
    (view, inode): (&View, &Inode),
    piece: &Piece,
) -> Result<Bytes, VfsError> {
    match piece.source {
        PieceSource::Zeros => Ok(vec![0; len_of(piece)].into()),
        PieceSource::Log(location) => Ok(view.read(location, len_of(piece))?.into()),
        PieceSource::Base => {
            let base = inode.base.as_deref().ok_or_else(not_below)?;
            let Kind::File { content, size } = base.record.kind else {
                return Err(not_below());
            };
            read_below(vfs, base, (content, size), (piece.offset, piece.len)).await
        }
    }
}

/// Reads all of a range of a content that an object has in the base, or had in an earlier one.
pub(super) async fn read_below(
    vfs: &Vfs,
    base: &BaseObject,
    (content, size): (ContentId, u64),
    (offset, len): (u64, u64),
) -> Result<Bytes, VfsError> {
    let listed = listed(vfs, base, content).await?;
    let wanted = Wanted::new(content, size, offset..offset.saturating_add(len));
    let bytes = vfs.read_content(wanted, listed.as_ref()).await?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(not_below()),
    }
}

/// Returns where the base lists an object with this content; `None` for the root, and where the base
/// is a later one that has something else there.
async fn listed(
    vfs: &Vfs,
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
    let record = listing.record(index).map_err(VfsError::damaged_record)?;
    let place = Place {
        dir: base.directory,
        index,
    };
    let is_it = record.contents().any(|it| it == content);
    Ok(is_it.then_some(Listed { place, listing }))
}

fn file_of(inode: &Inode) -> Result<&FileData, VfsError> {
    match &inode.node {
        Node::File(file) => Ok(file),
        Node::Directory(_) => Err(VfsError::IsDirectory),
        _ => Err(VfsError::Invalid),
    }
}

fn expect_file(kind: FileKind) -> Result<(), VfsError> {
    match kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(VfsError::IsDirectory),
        _ => Err(VfsError::Invalid),
    }
}

fn not_below() -> VfsError {
    VfsError::io(ACTION)(RemoteError::Corrupt(
        "the base does not have what the overlay says".to_owned(),
    ))
}

/// A piece is never longer than what was asked for, which has 32 bits.
fn len_of(piece: &Piece) -> usize {
    usize::try_from(piece.len).unwrap_or(usize::MAX)
}
