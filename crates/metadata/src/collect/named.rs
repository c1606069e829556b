//! The contents that objects name, with the pieces of the large ones.

use std::collections::HashSet;

use lfsfs_meta_store::{KeyRange, Snapshot};
use lfsfs_types::content::Piece;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::pack::PackKind;
use lfsfs_types::{ContentId, Record};

use crate::content::ContentBody;
use crate::error::{MetadataError, Result};
use crate::keys::table;
use crate::metadata::Metadata;
use crate::pack_row::{PackRow, read_listing};
use crate::rows::{ObjectRow, RowValue as _};

/// Bytes of rows of one page of objects.
const PAGE_BYTES: usize = 1 << 20;
/// Large contents of which the pieces are looked up together.
const LARGE_AT_ONCE: usize = 500;

/// Listings of packs that are remembered, so that each is told once.
const LISTINGS_MAX: usize = 1 << 14;

/// Tells what objects name: a content as often as it is named, if not in packs that are the same.
pub(crate) struct NamedContents<'a> {
    metadata: &'a Metadata,
    tell: &'a mut dyn FnMut(ContentId),
    /// Contents that have pieces, which were not told yet.
    large: Vec<ContentId>,
    /// Of packs that were told.
    listings: HashSet<ContentId>,
}

impl<'a> NamedContents<'a> {
    pub(crate) fn new(metadata: &'a Metadata, tell: &'a mut dyn FnMut(ContentId)) -> Self {
        Self {
            metadata,
            tell,
            large: Vec::new(),
            listings: HashSet::new(),
        }
    }

    /// Tells what the objects name whose keys begin so behind the table.
    pub(crate) fn objects(&mut self, rows: &dyn Snapshot, beginning: &[u8]) -> Result<()> {
        for table in [table::LIVE, table::CLOSED, table::PACK] {
            let prefix = [&[table], beginning].concat();
            let mut range = Some(KeyRange::prefix(&prefix));
            while let Some(rest) = range.take().filter(|_| !self.metadata.stops()) {
                let page = rows.page(rest.clone(), PAGE_BYTES)?;
                for (key, value) in &page.rows {
                    match table {
                        table::PACK => self.pack(key, value)?,
                        _ => self.object(&ObjectRow::decode(key, value)?.record)?,
                    }
                }
                let last = page.rows.last().filter(|_| page.more);
                range = last.map(|(key, _)| rest.beyond(key, false));
            }
        }
        Ok(())
    }

    /// Tells what the listing of a pack names, once for many packs.
    fn pack(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let listing = PackRow::decode(key, value)?.listing;
        if !self.listings.insert(listing) {
            return Ok(());
        }
        if self.listings.len() > LISTINGS_MAX {
            self.listings = HashSet::from([listing]);
        }
        // It stays as long as a row of a pack names it.
        let listing = read_listing(self.metadata.store(), listing, key)?.listing(key)?;
        for entry in listing.entries() {
            let PackKind::File { size, content } = entry.kind else {
                continue;
            };
            (self.tell)(content);
            if size > SMALL_CONTENT_LEN_MAX {
                self.large.push(content);
            }
        }
        if self.large.len() >= LARGE_AT_ONCE {
            self.pieces()?;
        }
        Ok(())
    }

    /// Tells the pieces that were not told yet.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.pieces()
    }

    fn object(&mut self, record: &Record) -> Result<()> {
        for named in record.named_contents() {
            (self.tell)(named.content);
            let is_small = named.len.is_some_and(|len| len <= SMALL_CONTENT_LEN_MAX);
            if !is_small {
                self.large.push(named.content);
            }
        }
        if self.large.len() >= LARGE_AT_ONCE {
            self.pieces()?;
        }
        Ok(())
    }

    fn pieces(&mut self) -> Result<()> {
        while !self.large.is_empty() {
            let large = std::mem::take(&mut self.large);
            let mut lists = Vec::new();
            self.metadata.for_content_rows(&large, |contents, rows| {
                for (content, row) in contents.iter().zip(rows) {
                    match row.map(|(_, row)| row.body) {
                        None | Some(ContentBody::Place { .. }) => {}
                        Some(ContentBody::Pieces(list)) => tell_pieces(self.tell, list.pieces()),
                        Some(ContentBody::List { list, .. }) => lists.push((*content, list)),
                    }
                }
                Ok(())
            })?;
            for (content, list) in lists {
                let tell = &mut *self.tell;
                tell(list);
                let found = self.metadata.for_pages_of(content, |pieces| {
                    tell_pieces(tell, pieces);
                    Ok(())
                })?;
                if !found {
                    return Err(MetadataError::UnknownPieces { content });
                }
                // A long list has pieces itself.
                self.large.push(list);
            }
        }
        Ok(())
    }
}

fn tell_pieces(tell: &mut dyn FnMut(ContentId), pieces: &[Piece]) {
    pieces.iter().for_each(|piece| tell(piece.hash));
}
