//! What a store tells an operator of its work. Plain data, no I/O.
//!
//! All numbers count from the moment at which this process opened the store.

/// What a store holds and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineFigures {
    /// Bytes that the files of the engine have, with the room in them that is free.
    pub file_bytes: u64,
    /// The pages in memory; absent for an engine that does not tell.
    pub cache: Option<CacheFigures>,
    /// What went to the disk; absent for an engine that does not tell.
    pub device: Option<DeviceFigures>,
    /// The calls of the seam.
    pub calls: CallFigures,
}

/// The pages that an engine keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheFigures {
    /// Bytes of the pages that are there.
    pub bytes: u64,
    /// How many bytes there may be.
    pub bytes_max: u64,
    /// Reads of a page that was there.
    pub hits: u64,
    /// Reads of a page that came from the file.
    pub misses: u64,
    /// Pages that made room for others.
    pub evictions: u64,
}

/// What an engine gave the operating system for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFigures {
    /// Bytes that were written.
    pub bytes: u64,
    /// How often the engine waited until the disk had all of them.
    pub syncs: u64,
}

/// The calls of the seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallFigures {
    /// Batches that were made.
    pub batches: u64,
    /// Batches of which a precondition did not hold.
    pub conflicts: u64,
    /// Rows that the batches wrote or removed.
    pub rows_written: u64,
    /// Bytes of the keys and values of those rows.
    pub bytes_written: u64,
    /// Reads, each of one or more keys and ranges.
    pub reads: u64,
    /// Rows that they found.
    pub rows_read: u64,
    /// Flushes.
    pub flushes: u64,
    /// Calls that took longer than [`SLOW_CALL`](crate::SLOW_CALL).
    pub slow_calls: u64,
}
