//! Budgets and time limits of one mounted version.

use std::time::Duration;

/// What a mount may use: a [`crate::Vfs`] with all the base versions that it shows one after the other.
#[derive(Debug, Clone, Copy)]
pub struct VfsConfig {
    /// How long an operation waits without progress before it fails.
    pub timeout: Duration,
    /// How long opening waits for the root to answer.
    pub open_timeout: Duration,
    /// Bytes of decoded blocks kept in memory.
    pub blocks_len_max: usize,
    /// Bytes of listings kept in memory.
    pub listings_len_max: usize,
    /// Bytes of places of contents kept in memory.
    pub places_len_max: usize,
    /// Bytes of indexes of chunks kept in memory.
    pub footers_len_max: usize,
    /// Bytes that may be on their way from datanodes at once.
    pub in_flight_len_max: u32,
    /// Stored bytes fetched around the first block asked for in a chunk.
    pub window_len_first: u32,
    /// Stored bytes to which the window grows while blocks are asked for in order.
    pub window_len_max: u32,
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(5),
            blocks_len_max: 64 << 20,
            listings_len_max: 32 << 20,
            places_len_max: 16 << 20,
            footers_len_max: 16 << 20,
            in_flight_len_max: 32 << 20,
            window_len_first: 512 << 10,
            window_len_max: 1 << 20,
        }
    }
}
