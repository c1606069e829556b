//! How much files of a version take without their holes, where that is known without asking a server.
//!
//! A record does not say it. What a content is cut into does, and that is in memory once a program has read
//! the file, looked for its holes, or read one of its neighbours.

use lfsfs_overlay::{BaseObject, Inode, PieceSource};
use lfsfs_types::{Kind, Record};

use crate::attr::{Attr, blocks_of_data, may_have_holes};
use crate::base::{BaseVersion, Found};
use crate::inode::Place;
use crate::stretch::Listed;

/// Puts the blocks of a file of the base in the place of an estimate, if they are known.
pub(crate) fn of_base(base: &BaseVersion, attr: Attr, object: &BaseObject) -> Attr {
    let listed = || listed_in_memory(base, object);
    of_record(base, attr, &object.record, listed)
}

/// As [`of_base`], of a record that was found by its number.
pub(crate) fn of_found(base: &BaseVersion, attr: Attr, found: &Found) -> Attr {
    of_record(base, attr, &found.record, || found.listed())
}

fn of_record(
    base: &BaseVersion,
    attr: Attr,
    record: &Record,
    listed: impl FnOnce() -> Option<Listed>,
) -> Attr {
    match record.kind {
        Kind::File { size, content } if may_have_holes(size) => {
            let zeros = base.zeros_in_memory(content, 0..size, listed().as_ref());
            with_holes(attr, size, zeros)
        }
        _ => attr,
    }
}

/// Puts the blocks of a file of the overlay in the place of an estimate, if those below are known.
pub(crate) fn of_inode(base: &BaseVersion, attr: Attr, inode: &Inode) -> Attr {
    let (Some(file), Some(below)) = (inode.file(), inode.base.as_deref()) else {
        return attr;
    };
    let Kind::File { content, .. } = below.record.kind else {
        return attr;
    };
    if !may_have_holes(file.base_len()) {
        return attr;
    }
    let listed = listed_in_memory(base, below);
    let pieces = file.pieces(0, file.size()).into_iter();
    let zeros = pieces
        .filter(|piece| piece.source == PieceSource::Base)
        .map(|it| base.zeros_in_memory(content, it.offset..it.offset + it.len, listed.as_ref()))
        .sum();
    with_holes(attr, file.data_len(), zeros)
}

fn with_holes(attr: Attr, data_len: u64, zeros: Option<u64>) -> Attr {
    let blocks = zeros.map(|zeros| blocks_of_data(data_len.saturating_sub(zeros), attr.size));
    Attr {
        blocks: blocks.unwrap_or(attr.blocks),
        ..attr
    }
}

/// Returns where the base lists an object, if that is in memory.
fn listed_in_memory(base: &BaseVersion, object: &BaseObject) -> Option<Listed> {
    let listing = base.listing_in_memory(object.directory)?;
    let index = listing.find(object.name.as_ref()?.as_bytes())?;
    let dir = object.directory;
    let place = Place { dir, index };
    Some(Listed { place, listing })
}
