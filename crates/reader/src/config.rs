//! Budgets of a reader.

/// What a [`crate::ContentReader`] may use.
#[derive(Debug, Clone, Copy)]
pub struct ReaderConfig {
    /// Bytes of decoded blocks kept in memory.
    pub blocks_len_max: usize,
    /// Bytes of places of contents kept in memory.
    pub places_len_max: usize,
    /// Bytes of footers of chunks kept in memory.
    pub footers_len_max: usize,
    /// Bytes that may be on their way from datanodes at once.
    pub in_flight_len_max: u32,
    /// Fetches of one kind (places, footers, blocks) that may run at once.
    pub fetches_max: usize,
    /// Stored bytes fetched around the first block asked for in a chunk.
    pub window_len_first: u32,
    /// Stored bytes to which the window grows while blocks are asked for in order.
    pub window_len_max: u32,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            blocks_len_max: 64 << 20,
            places_len_max: 16 << 20,
            footers_len_max: 16 << 20,
            in_flight_len_max: 32 << 20,
            fetches_max: 128,
            window_len_first: 512 << 10,
            window_len_max: 1 << 20,
        }
    }
}
