//! Contents in real chunks, as datanodes would have them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::{ChunkId, ChunkInfo, Content, ContentId, ContentPlace};

use super::{MemoryTree, NODES};
use crate::{ChunkLocation, StoredList};

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
        for entry in chunk.footer.contents() {
            let place = ContentPlace {
                content: entry.id,
                chunk: chunk.id,
                block: entry.first_block,
                offset: entry.offset,
                len: entry.len,
            };
            self.places.insert(entry.id, vec![place]);
        }
        let info = ChunkInfo {
            id: chunk.id,
            len: chunk.bytes.len() as u64,
            footer_len: u32::try_from(chunk.footer.encode().len()).expect("a footer is short"),
            footer_sha256: chunk.footer_sha256,
        };
        let nodes = NODES.map(str::to_owned).to_vec();
        let location = Arc::new(ChunkLocation { info, nodes });
        self.chunks.insert(chunk.id, (location, chunk.bytes.into()));
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
