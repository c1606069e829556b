//! Where contents lie: what a datanode's receipt says, and what the coordinator answers to Resolve.

use crate::id::{ChunkId, ContentId, Sha256};

/// What must be known of a chunk to read single blocks of it and trust them: the footer is checked
/// against its hash, each block against the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkInfo {
    /// Names it.
    pub id: ChunkId,
    /// Stored length in bytes.
    pub len: u64,
    /// Length of the footer, which ends where the trailer starts.
    pub footer_len: u32,
    /// SHA-256 of the footer.
    pub footer_sha256: Sha256,
}

/// Where the bytes of one small content or piece lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentPlace {
    /// Names the bytes.
    pub content: ContentId,
    /// The chunk that holds them.
    pub chunk: ChunkId,
    /// The first block that holds some of them.
    pub block: u32,
    /// Where in the raw bytes of that block they start.
    pub offset: u32,
    /// How many there are; they go on in the blocks that follow.
    pub len: u32,
}
