//! Chunks, places and pieces.

use lfsfs_types::content::Piece;
use lfsfs_types::{ChunkId, ChunkInfo, ContentId, ContentPlace, Sha256};

use super::{ProtocolError, id};
use crate::v1;

impl From<&ChunkInfo> for v1::ChunkInfo {
    fn from(info: &ChunkInfo) -> Self {
        Self {
            id: info.id.as_bytes().to_vec(),
            len: info.len,
            footer_len: info.footer_len,
            footer_sha256: info.footer_sha256.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<v1::ChunkInfo> for ChunkInfo {
    type Error = ProtocolError;

    fn try_from(message: v1::ChunkInfo) -> Result<Self, ProtocolError> {
        Ok(Self {
            id: id("chunk id", &message.id, ChunkId::from_slice)?,
            len: message.len,
            footer_len: message.footer_len,
            footer_sha256: id("footer_sha256", &message.footer_sha256, Sha256::from_slice)?,
        })
    }
}

impl From<&ContentPlace> for v1::ContentPlace {
    fn from(place: &ContentPlace) -> Self {
        Self {
            content: place.content.as_bytes().to_vec(),
            chunk: place.chunk.as_bytes().to_vec(),
            block: place.block,
            offset: place.offset,
            len: place.len,
        }
    }
}

impl TryFrom<v1::ContentPlace> for ContentPlace {
    type Error = ProtocolError;

    fn try_from(message: v1::ContentPlace) -> Result<Self, ProtocolError> {
        Ok(Self {
            content: id("content", &message.content, ContentId::from_slice)?,
            chunk: id("chunk", &message.chunk, ChunkId::from_slice)?,
            block: message.block,
            offset: message.offset,
            len: message.len,
        })
    }
}

impl From<&Piece> for v1::Piece {
    fn from(piece: &Piece) -> Self {
        Self {
            hash: piece.hash.as_bytes().to_vec(),
            len: piece.len,
        }
    }
}

impl TryFrom<v1::Piece> for Piece {
    type Error = ProtocolError;

    fn try_from(message: v1::Piece) -> Result<Self, ProtocolError> {
        Ok(Self {
            hash: id("hash", &message.hash, ContentId::from_slice)?,
            len: message.len,
        })
    }
}
