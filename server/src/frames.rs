//! Frames of a chunk as messages of the wire, in both directions.

use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::v1;
use lfsfs_transfer::Frame;
use lfsfs_types::{ChunkId, Sha256};

/// Returns the frame that a message has, not verified yet.
pub(crate) fn frame(message: v1::ChunkFrame) -> Result<Frame, ProtocolError> {
    let checksum = &message.partial_checksum;
    Ok(Frame {
        offset: message.offset,
        is_final: message.is_final,
        checksum: id("partial_checksum", checksum, Sha256::from_slice)?,
        data: message.data,
    })
}

/// Returns the message of a frame; a download by the id of its chunk has an empty session.
pub(crate) fn message(session: Vec<u8>, chunk: ChunkId, frame: Frame) -> v1::ChunkFrame {
    v1::ChunkFrame {
        session_id: session,
        chunk_id: chunk.as_bytes().to_vec(),
        data: frame.data,
        offset: frame.offset,
        is_final: frame.is_final,
        partial_checksum: frame.checksum.as_bytes().to_vec(),
    }
}
