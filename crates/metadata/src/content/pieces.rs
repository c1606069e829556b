//! Large contents: of which pieces they are made.
//!
//! The row of a content has its pieces, or names the content that is their list. In the second case the pieces are in
//! pages beside it too, for the collection of garbage, which has no bytes at hand.

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::ContentId;
use lfsfs_types::content::{Content, Piece, PieceList};
use lfsfs_types::limits::PIECES_INLINE_MAX;

use super::row::PiecesRow;
use super::{ContentBody, ContentRow, ROWS_PER_READ};
use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::RowValue as _;

impl Metadata {
    /// Notes of which pieces a large content is made.
    ///
    /// The list must have that id, and every piece must be stored with its length. A list of more
    /// than [`PIECES_INLINE_MAX`] pieces must be stored itself, as the content of its encoding.
    pub fn put_pieces(&self, content: ContentId, list: &PieceList) -> Result<()> {
        let refused = |problem| MetadataError::InvalidPieces { content, problem };
        if list.content_id() != content {
            return Err(refused("the list has another id"));
        }
        self.check_pieces(content, list)?;
        let mut batch = Batch::new();
        let body = if list.pieces().len() <= PIECES_INLINE_MAX {
            ContentBody::Pieces(list.clone())
        } else {
            let stored = Content::of_bytes(&list.encode()).id;
            self.refuse_missing(self.missing(&[stored])?)?;
            // A collection that takes the pages away begins with the last one.
            batch.require_present(self.put_pages(content, list)?);
            ContentBody::List {
                list: stored,
                count: list.count(),
            }
        };
        let row = ContentRow {
            stamp: self.renew_parts(content, &body)?,
            len: list.total_len(),
            body,
        };
        let key = keys::content(content);
        batch.require_absent(&*key).put(&*key, row.encode());
        self.inner.contents.add(content);
        if !self.store().apply(batch)?.is_done() {
            // The id says what the pieces are, so what is there is the same.
            self.refuse_missing(self.missing(&[content])?)?;
        }
        Ok(())
    }

    /// Calls `each` with the pieces of a content that has them in pages. Returns false if there are no pages: an
    /// earlier program made none.
    pub(crate) fn for_pages_of(
        &self,
        content: ContentId,
        mut each: impl FnMut(&[Piece]) -> Result<()>,
    ) -> Result<bool> {
        let mut found = false;
        let pages = KeyRange::prefix(&keys::pieces_of(content));
        for row in self.store().scan_all(pages, 1) {
            let (key, value) = row?;
            each(&PiecesRow::decode(&key, &value)?.0)?;
            found = true;
        }
        Ok(found)
    }

    /// Renews the old stamps of what a large content is made of. Returns the oldest stamp of all; 0 if a part is
    /// missing.
    pub(super) fn renew_parts(&self, content: ContentId, body: &ContentBody) -> Result<u64> {
        match body {
            ContentBody::Place { .. } => Ok(self.stamp()),
            ContentBody::Pieces(list) => self.renew_pieces(list.pieces()),
            ContentBody::List { list, .. } => {
                let mut oldest = self.renew_one(*list)?;
                let found = self.for_pages_of(content, |pieces| {
                    oldest = oldest.min(self.renew_pieces(pieces)?);
                    Ok(())
                })?;
                Ok(if found { oldest } else { 0 })
            }
        }
    }

    /// As [`renew_parts`](Self::renew_parts), for a content with all of its parts.
    fn renew_one(&self, content: ContentId) -> Result<u64> {
        self.missing(&[content])?;
        Ok(self.content_row(content)?.map_or(0, |row| row.stamp))
    }

    fn renew_pieces(&self, pieces: &[Piece]) -> Result<u64> {
        let mut oldest = self.stamp();
        for group in pieces.chunks(ROWS_PER_READ) {
            let ids: Vec<_> = group.iter().map(|piece| piece.hash).collect();
            self.missing(&ids)?;
            self.for_content_rows(&ids, |_, rows| {
                for row in rows {
                    oldest = oldest.min(row.map_or(0, |(_, row)| row.stamp));
                }
                Ok(())
            })?;
        }
        Ok(oldest)
    }

    /// Writes the pieces of a content in pages. Returns the key of the last page.
    fn put_pages(&self, content: ContentId, list: &PieceList) -> Result<Vec<u8>> {
        let mut last = Vec::new();
        for (page, pieces) in (0_u64..).zip(list.pieces().chunks(PIECES_INLINE_MAX)) {
            last = keys::pieces(content, page);
            let mut batch = Batch::new();
            batch.put(&*last, PiecesRow(pieces.to_vec()).encode());
            self.store().write(batch)?;
        }
        Ok(last)
    }

    /// Fails unless each piece is stored in one place with its length.
    fn check_pieces(&self, content: ContentId, list: &PieceList) -> Result<()> {
        // A list may be so long that its pieces are looked at by groups.
        for group in list.pieces().chunks(ROWS_PER_READ) {
            self.check_some_pieces(content, group)?;
        }
        Ok(())
    }

    fn check_some_pieces(&self, content: ContentId, group: &[Piece]) -> Result<()> {
        let ids: Vec<_> = group.iter().map(|piece| piece.hash).collect();
        self.refuse_missing(self.missing(&ids)?)?;
        let mut pieces = group.iter();
        self.for_content_rows(&ids, |_, rows| {
            for (row, piece) in rows.into_iter().zip(pieces.by_ref()) {
                let fits = row.is_some_and(|(_, row)| {
                    row.len == u64::from(piece.len) && matches!(row.body, ContentBody::Place { .. })
                });
                if !fits {
                    return Err(MetadataError::InvalidPieces {
                        content,
                        problem: "a piece is stored with another length",
                    });
                }
            }
            Ok(())
        })
    }
}
