//! One part of a chunk on its way, and how a chunk is cut into such parts.

use bytes::Bytes;
use lfsfs_types::Sha256;
use lfsfs_types::limits::FRAME_LEN_MAX;
use sha2::{Digest as _, Sha256 as Hasher};

use crate::error::TransferError;

/// Part of a chunk, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where in the chunk the bytes start.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// True for the last frame of a transfer.
    pub is_final: bool,
    /// SHA-256 of `data`, as its sender computed it.
    pub checksum: Sha256,
}

impl Frame {
    /// Builds a frame to send.
    #[must_use]
    pub fn new(offset: u64, data: Bytes, is_final: bool) -> Self {
        let checksum = Sha256(Hasher::digest(&data).into());
        Self {
            offset,
            data,
            is_final,
            checksum,
        }
    }

    /// Checks size and checksum of a frame that the other end sent, and returns its end in the chunk.
    pub(crate) fn verify(&self) -> Result<u64, TransferError> {
        let Self {
            offset, ref data, ..
        } = *self;
        if data.is_empty() {
            return Err(TransferError::EmptyFrame { offset });
        }
        if data.len() > FRAME_LEN_MAX {
            return Err(TransferError::FrameTooLong {
                len: data.len(),
                max: FRAME_LEN_MAX,
            });
        }
        if Hasher::digest(data)[..] != self.checksum.0 {
            return Err(TransferError::Checksum { offset });
        }
        Ok(offset.saturating_add(data.len() as u64))
    }
}

/// Cuts bytes that start at `offset` of a chunk into frames of at most `frame_len` bytes.
///
/// `frame_len` is brought into the bounds of a frame; no bytes make no frame. Nothing is copied,
/// and each frame is hashed when it is asked for.
pub fn cut_frames(offset: u64, mut data: Bytes, frame_len: usize) -> impl Iterator<Item = Frame> {
    let frame_len = frame_len.clamp(1, FRAME_LEN_MAX);
    let mut next = offset;
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let part = data.split_to(frame_len.min(data.len()));
        let frame = Frame::new(next, part, data.is_empty());
        next += frame.data.len() as u64;
        Some(frame)
    })
}
