//! Reading, hashing and cutting files, on the way to being sent.

use std::error::Error;

use lfsfs_types::ContentId;
use lfsfs_types::content::{Content, PieceList, PieceListError};
use lfsfs_types::limits::PIECES_MAX;
use thiserror::Error;

use crate::contents::{ContentBytes, ContentSender};
use crate::error::UploadError;
use crate::source::ContentSource;

/// Bytes that are offered at once: the server is asked for so many with one call.
pub const OFFER_LEN: u64 = 8 * 1024 * 1024;

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadContent {
    /// Names its bytes.
    pub id: ContentId,
    /// How many there are.
    pub size: u64,
    /// The bytes of a small content, for the caller to offer, many together. The pieces of a large one
    /// were offered already.
    pub bytes: Option<ContentBytes>,
}

/// Why a file did not become a content.
#[derive(Debug, Error)]
pub enum ReadError<E: Error + 'static> {
    /// It cannot be read.
    #[error(transparent)]
    Source(E),
    /// It has more pieces than a content can have, or changed while it was read.
    #[error(transparent)]
    Pieces(#[from] PieceListError),
    /// What is new of it could not be sent.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

impl ContentSender {
    /// Reads and hashes a file, at most [`OFFER_LEN`] bytes and one piece of it in memory.
    ///
    /// What is new of a large one is sent on the way; what is known of it is neither read nor offered.
    /// Bytes that were read are counted.
    pub fn read<S: ContentSource>(
        &self,
        mut source: S,
    ) -> Result<ReadContent, ReadError<S::Error>> {
        let Some(bytes) = source.read_small().map_err(ReadError::Source)? else {
            return self.read_large(source);
        };
        let size = bytes.len() as u64;
        self.progress().read(size);
        let bytes = ContentBytes::of(bytes);
        Ok(ReadContent {
            id: bytes.id,
            size,
            bytes: Some(bytes),
        })
    }

    fn read_large<S: ContentSource>(
        &self,
        mut source: S,
    ) -> Result<ReadContent, ReadError<S::Error>> {
        let (mut pieces, mut offer, mut offer_len) = (Vec::new(), Vec::new(), 0);
        while let Some(cut) = source.next_piece().map_err(ReadError::Source)? {
            let (piece, bytes) = cut.into_parts();
            pieces.push(piece);
            // A file without an end must not be read for ever.
            if pieces.len() > PIECES_MAX {
                let count = pieces.len();
                return Err(PieceListError::TooMany { count }.into());
            }
            if let Some(bytes) = bytes {
                self.progress().read(u64::from(piece.len));
                offer_len += u64::from(piece.len);
                offer.push(bytes);
            }
            if offer_len >= OFFER_LEN {
                self.offer(&std::mem::take(&mut offer))?;
                offer_len = 0;
            }
        }
        self.offer(&offer)?;
        let content = Content::large(PieceList::new(pieces)?);
        if let Some(list) = &content.pieces {
            self.register(content.id, list);
        }
        Ok(ReadContent {
            id: content.id,
            size: content.len,
            bytes: None,
        })
    }
}

#[cfg(test)]
mod tests;
