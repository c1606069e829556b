//! How a queue behaves.

use std::time::Duration;

/// The rules of docs/upload-queue.md, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct QueueConfig {
    /// How long a file is left alone after a write.
    pub quiet: Duration,
    /// How long a file that is written to again and again is left alone at most.
    pub quiet_max: Duration,
    /// How long a batch waits until it is full.
    pub gather: Duration,
    /// Files of one batch.
    pub batch_files_max: usize,
    /// Bytes of one batch; one file may have more.
    pub batch_len_max: u64,
    /// Executors at once.
    pub executors_max: usize,
    /// The pause after the first failed attempt. It doubles.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// Bytes that are sent in a second, by all executors together; no limit if `None`.
    pub rate: Option<u64>,
    /// What each executor does first in its thread: it ranks itself below the programs that write.
    pub begin_thread: fn(),
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(1),
            quiet_max: Duration::from_secs(60),
            gather: Duration::from_secs(2),
            batch_files_max: 1000,
            batch_len_max: 8 * 1024 * 1024,
            executors_max: 10,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(60),
            rate: None,
            begin_thread: || {},
        }
    }
}
