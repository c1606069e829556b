//! Contents in real chunks, as datanodes would have them.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_types::chunk::{ChunkBuilder, VerifiedChunk, verify};
use lfsfs_types::content::PieceList;
use lfsfs_types::{ChunkId, ChunkInfo, Content, ContentId, ContentPlace};

use super::{MemoryTree, NODES};
use crate::{ChunkLocation, RemoteError, StoredList};

/// What is stored, and where.
#[derive(Debug, Default)]
pub(super) struct StoredContents {
    pub(super) places: HashMap<ContentId, Vec<ContentPlace>>,
    pub(super) lists: HashMap<ContentId, StoredList>,
    pub(super) chunks: HashMap<ChunkId, (Arc<ChunkLocation>, Bytes)>,
}

impl StoredContents {
    /// Stores what a tree names, in chunks of about `chunk_len` bytes.
    pub(super) fn store(&mut self, tree: &MemoryTree, chunk_len: u64) {
        let mut builder = ChunkBuilder::new(chunk_len);
        for record in tree.entries.values() {
            for id in record.contents() {
                for bytes in tree.stored_for(&id) {
                    for (piece, bytes) in pieces_of(bytes) {
                        if builder.is_full() {
                            let empty = ChunkBuilder::new(chunk_len);
                            self.store_chunk(std::mem::replace(&mut builder, empty));
                        }
                        builder.add(piece, bytes).expect("a piece fits");
                    }
                }
            }
        }
        if !builder.is_empty() {
            self.store_chunk(builder);
        }
        for (id, bytes) in tree.contents.iter().filter(|it| !it.1.is_empty()) {
            let places = pieces_of(bytes).into_iter();
            let places = places.filter_map(|(piece, _)| self.places.get(&piece)?.first().copied());
            let places: Vec<_> = places.collect();
            if !places.is_empty() {
                self.places.insert(*id, places);
            }
        }
        for (id, list) in &tree.lists {
            let content = Content::of_bytes(&list.encode()).id;
            let count = list.count();
            self.lists.insert(*id, StoredList { content, count });
        }
    }

    fn store_chunk(&mut self, builder: ChunkBuilder) {
        let chunk = builder.finish();
        self.take_chunk(chunk.id, chunk.bytes.into())
            .expect("a chunk that was just built");
    }

    /// Takes a chunk that a client sends, if it is whole. Returns how many bytes were needed.
    pub(super) fn take_chunk(&mut self, id: ChunkId, bytes: Bytes) -> Result<u64, RemoteError> {
        if self.chunks.contains_key(&id) {
            return Ok(0);
        }
        let len = bytes.len() as u64;
        let verified = verify(Cursor::new(&bytes), len);
        let verified = verified.map_err(|error| RemoteError::Corrupt(error.to_string()))?;
        if verified.id != id {
            return Err(RemoteError::Corrupt(format!("the chunk is not {id}")));
        }
        self.keep(&verified, bytes);
        Ok(len)
    }

    fn keep(&mut self, verified: &VerifiedChunk, bytes: Bytes) {
        for (entry, content) in verified.footer.contents().iter().zip(&verified.contents) {
            let place = ContentPlace {
                content: *content,
                chunk: verified.id,
                block: entry.first_block,
                offset: entry.offset,
                len: entry.len,
            };
            self.places.insert(*content, vec![place]);
        }
        let info = ChunkInfo {
            id: verified.id,
            len: bytes.len() as u64,
            footer_len: verified.footer_len,
            footer_sha256: verified.footer_sha256,
        };
        let nodes = NODES.map(str::to_owned).to_vec();
        let location = Arc::new(ChunkLocation { info, nodes });
        self.chunks.insert(verified.id, (location, bytes));
    }

    /// Returns true if a content is stored.
    pub(super) fn has(&self, id: &ContentId) -> bool {
        *id == ContentId::EMPTY || self.places.contains_key(id) || self.lists.contains_key(id)
    }

    /// Takes a large content whose pieces are stored.
    pub(super) fn register(
        &mut self,
        id: ContentId,
        pieces: &PieceList,
    ) -> Result<(), RemoteError> {
        let places = pieces.pieces().iter().map(|piece| {
            let found = self
                .places
                .get(&piece.hash)
                .and_then(|places| places.first());
            let missing = || RemoteError::NotFound(format!("piece {} is missing", piece.hash));
            found.copied().ok_or_else(missing)
        });
        let places = places.collect::<Result<Vec<_>, _>>()?;
        self.places.insert(id, places);
        Ok(())
    }
}

/// Returns what of a content is stored under which name.
fn pieces_of(bytes: &[u8]) -> Vec<(ContentId, &[u8])> {
    let content = Content::of_bytes(bytes);
    let Some(list) = content.pieces else {
        return vec![(content.id, bytes)];
    };
    let mut rest = bytes;
    let cut = |piece: &lfsfs_types::Piece| {
        let (bytes, left) = rest.split_at(piece.len as usize);
        rest = left;
        (piece.hash, bytes)
    };
    list.pieces().iter().map(cut).collect()
}
