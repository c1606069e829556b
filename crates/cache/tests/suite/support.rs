//! Chunks to put into a cache.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use lfsfs_cache::{CacheConfig, DiskCache, ListingKey};
use lfsfs_types::chunk::{ChunkBuilder, Footer, decode_block};
use lfsfs_types::content::small_content_id;
use lfsfs_types::{ChunkInfo, DirId, ProjectId, VersionId};

pub(crate) struct Sample {
    pub(crate) info: ChunkInfo,
    pub(crate) footer: Footer,
    pub(crate) encoded: Vec<u8>,
    bytes: Bytes,
}

impl Sample {
    /// A chunk of some blocks; equal seeds make equal chunks.
    pub(crate) fn new(seed: u64) -> Self {
        let mut builder = ChunkBuilder::new(1 << 20);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for _ in 0..6 {
            let next = |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_be_bytes()[3] & 0x3f
            };
            let bytes: Vec<u8> = (0..90_000).map(next).collect();
            builder.add(small_content_id(&bytes), &bytes).unwrap();
        }
        let chunk = builder.finish();
        let encoded = chunk.footer.encode();
        Self {
            info: ChunkInfo {
                id: chunk.id,
                len: chunk.bytes.len() as u64,
                footer_len: u32::try_from(encoded.len()).unwrap(),
                footer_sha256: chunk.footer_sha256,
            },
            footer: chunk.footer,
            encoded,
            bytes: chunk.bytes.into(),
        }
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.footer.blocks().len()).unwrap()
    }

    pub(crate) fn stored(&self, index: u32) -> Bytes {
        let range = self.footer.block_range(index).unwrap();
        let at = |offset| usize::try_from(offset).unwrap();
        self.bytes.slice(at(range.start)..at(range.end))
    }

    pub(crate) fn raw(&self, index: u32) -> Vec<u8> {
        let entry = &self.footer.blocks()[index as usize];
        decode_block(entry, &self.stored(index)).unwrap()
    }

    pub(crate) fn store_all(&self, cache: &DiskCache) {
        cache.store_footer(&self.info, &self.encoded);
        let blocks: Vec<_> = (0..self.count()).map(|it| (it, self.stored(it))).collect();
        cache.store_blocks(&self.info, &self.footer, &blocks);
    }

    /// Where the cache keeps this chunk.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        let id = self.info.id.to_string();
        dir.join("chunks").join(&id[..2]).join(id)
    }
}

pub(crate) fn open(dir: &Path, size_max: u64) -> DiskCache {
    DiskCache::open(dir, CacheConfig { size_max }).unwrap()
}

pub(crate) fn listing_key(number: u8) -> ListingKey {
    ListingKey {
        project: ProjectId([3; 16]),
        dir: DirId(u64::from(number)),
        version: VersionId([number; 16]),
    }
}

/// Bytes on disk below a directory.
pub(crate) fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
