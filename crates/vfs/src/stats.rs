//! What a mount did and holds, for people who look; nothing here decides anything.

use lfsfs_cache::CacheStats;
use lfsfs_reader::Counter;

/// What statfs tells: counted when the version was published, so asking costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statfs {
    /// Blocks of [`Self::block_len`] bytes that the files of the version fill.
    pub blocks: u64,
    /// Free blocks: none, nothing can be written.
    pub blocks_free: u64,
    /// Entries of the version and its root.
    pub files: u64,
    /// Free inodes: none.
    pub files_free: u64,
    /// Length of a block.
    pub block_len: u32,
    /// Longest name.
    pub name_len_max: u32,
}

/// What a mount did since it was opened, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VfsStats {
    /// Inodes that the kernel knows, the root included.
    pub inodes: u64,
    /// Those that are directories.
    pub directories: u64,
    /// Listings in memory.
    pub listings: u64,
    /// Bytes of them.
    pub listings_len: u64,
    /// Decoded blocks in memory.
    pub blocks: u64,
    /// Bytes of them.
    pub blocks_len: u64,
    /// Calls for listings: of one directory, or of many.
    pub remote_listings: u64,
    /// Calls to resolve contents.
    pub remote_resolves: u64,
    /// Calls to read from chunks.
    pub remote_reads: u64,
    /// Bytes that these brought.
    pub remote_bytes: u64,
    /// Answers of servers that were not what they should be; none was served.
    pub remote_damaged: u64,
    /// Reads that ended in an error.
    pub read_errors: u64,
    /// The disk cache.
    pub cache: CacheStats,
}

/// Counts what the reader of contents does not count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Calls for listings.
    pub(crate) listings: Counter,
    /// Listings that were not what they should be.
    pub(crate) damaged: Counter,
    pub(crate) read_errors: Counter,
}
