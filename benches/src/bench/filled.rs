//! The metadata of a coordinator that has many chunks, made by the library of the server: no datanode has them,
//! and no client sent them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use lfsfs_common::clock::SystemClock;
use lfsfs_common::durable::create_private_dir_durable;
use lfsfs_meta_store::{
    Batch, Engine, KeyRange, MemoryStore, MetaStore, MetaStoreExt as _, OpenOptions,
};
use lfsfs_metadata::{ChunkReceipt, Metadata, NodeFigures, ProjectSettings};
use lfsfs_types::{
    ChunkId, ChunkInfo, Content, ContentId, ContentPlace, Kind, NodeId, ProjectName, Sha256,
};

use crate::interrupt;

/// How many datanodes have the chunks, each of them a part. There is one copy of each chunk.
pub(super) const NODES: u8 = 8;
pub(super) const CONTENTS_PER_CHUNK: u64 = 2;

const CONTENT_LEN: u32 = 100_000;
const CHUNK_LEN: u64 = 200_000;
const FOOTER_LEN: u32 = 200;
/// Chunks whose rows are made in memory before they are written.
const PART: u64 = 50_000;
/// Memory for pages while the rows are written.
const PAGES: usize = 256 << 20;

/// So many chunks, and what is in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    pub(super) count: u64,
}

impl Chunks {
    /// Returns the id of a content. Ids come in the order of numbers, which fills a store much faster; but for that
    /// they are as random as those of real contents.
    pub(super) fn content(self, number: u64) -> ContentId {
        let contents = self.count * CONTENTS_PER_CHUNK;
        ContentId(ordered(number, contents))
    }

    /// Returns a file with that content.
    pub(super) fn file(self, number: u64) -> Kind {
        Kind::File {
            size: u64::from(CONTENT_LEN),
            content: self.content(number),
        }
    }

    /// Returns what a datanode says of a chunk.
    fn receipt(self, number: u64) -> ChunkReceipt {
        let chunk = ChunkId(ordered(number, self.count));
        let places = (0..CONTENTS_PER_CHUNK).map(|at| ContentPlace {
            content: self.content(number * CONTENTS_PER_CHUNK + at),
            chunk,
            block: u32::from(at != 0),
            offset: 0,
            len: CONTENT_LEN,
        });
        let [node, ..] = number.to_le_bytes();
        ChunkReceipt {
            node: node_id(node % NODES),
            info: ChunkInfo {
                id: chunk,
                len: CHUNK_LEN,
                footer_len: FOOTER_LEN,
                footer_sha256: Sha256([9; 32]),
            },
            places: places.collect(),
        }
    }

    /// Makes the metadata in the data directory of a coordinator that has never run, with empty projects.
    ///
    /// The rows are made in memory, part by part, and written many together: one batch for each chunk would take
    /// ten times as long.
    pub(super) fn fill(self, data: &Path, projects: &[String]) -> anyhow::Result<()> {
        let dir = data.join("meta");
        create_private_dir_durable(data).context("make a data directory")?;
        create_private_dir_durable(&dir).context("make a directory for metadata")?;
        let options = OpenOptions {
            cache_bytes: PAGES,
            ..OpenOptions::default()
        };
        let store = Engine::Redb.open_with(&dir, options)?;
        let first = first_rows(projects)?;
        copy(&*first, &*store)?;
        let mut begin = 0;
        while begin < self.count {
            interrupt::check()?;
            let end = self.count.min(begin + PART);
            let part = Arc::new(MemoryStore::new());
            copy(&*first, &*part)?;
            let metadata = open(&part)?;
            for number in begin..end {
                metadata.record_chunk(&self.receipt(number))?;
            }
            metadata.flush()?;
            copy(&*part, &*store)?;
            store.flush()?;
            begin = end;
        }
        Ok(())
    }
}

/// Returns the id of a datanode that has chunks.
pub(super) fn node_id(number: u8) -> NodeId {
    NodeId([number + 1; 16])
}

/// Returns an id that is about as large among all ids as its number is below `end`.
fn ordered(number: u64, end: u64) -> [u8; 32] {
    let ContentId(mut id) = Content::of_bytes(&number.to_be_bytes()).id;
    let first = number * (u64::MAX / end);
    id[..8].copy_from_slice(&first.to_be_bytes());
    id
}

fn open(store: &Arc<MemoryStore>) -> anyhow::Result<Metadata> {
    let store: Arc<dyn MetaStore> = store.clone();
    Ok(Metadata::open(store, Arc::new(SystemClock))?)
}

/// Returns what a coordinator has before the first chunk: datanodes and projects.
fn first_rows(projects: &[String]) -> anyhow::Result<Arc<MemoryStore>> {
    let rows = Arc::new(MemoryStore::new());
    let metadata = open(&rows)?;
    metadata.recover()?;
    for number in 0..NODES {
        let figures = NodeFigures::default();
        metadata.upsert_node(node_id(number), "127.0.0.1:1", figures)?;
    }
    for name in projects {
        metadata.new_project(&ProjectName::new(name)?, ProjectSettings::default())?;
    }
    metadata.flush()?;
    Ok(rows)
}

/// Writes the rows of one store to another one, which may have some of them.
fn copy(from: &dyn MetaStore, to: &dyn MetaStore) -> anyhow::Result<()> {
    let page = to.batch_ops_max();
    let mut batch = Batch::new();
    for row in from.scan_all(KeyRange::all(), page) {
        let (key, value) = row?;
        batch.put(key, value);
        if batch.len() == page {
            to.write(std::mem::take(&mut batch))?;
        }
    }
    if !batch.is_empty() {
        to.write(batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;

    #[test]
    fn each_content_has_its_place_and_each_node_its_chunks() {
        let dir = TempDir::new().unwrap();
        let chunks = Chunks { count: 20 };
        chunks.fill(dir.path(), &["one".to_owned()]).unwrap();
        let store = Engine::Redb.open(&dir.path().join("meta")).unwrap();
        let metadata = Metadata::open(store, Arc::new(SystemClock)).unwrap();
        assert!(metadata.project(&ProjectName::new("one").unwrap()).is_ok());
        let contents: Vec<_> = (0..40).map(|number| chunks.content(number)).collect();
        assert!(contents.is_sorted());
        assert_eq!(metadata.missing(&contents).unwrap(), []);
        let resolved = metadata.resolve_contents(&contents).unwrap();
        assert_eq!((resolved.chunks.len(), resolved.nodes.len()), (20, 8));
        let page = metadata.chunks_of_node(node_id(0), None, 100).unwrap();
        assert_eq!(page.items.len(), 3, "the chunks 0, 8 and 16");
    }
}
